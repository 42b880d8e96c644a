"""Runs to share: really trained, with the tiny encoder on the bundled sample."""

import shutil

import pytest

from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import finetune


@pytest.fixture(scope="session")
def trained(tiny_encoder, tmp_path_factory):
    """Trains a task with LoRA, or several without, once, and gives the folder."""
    root = tmp_path_factory.mktemp("shared_runs")

    def folder_of(task):
        folder = root / task
        if not folder.is_dir():
            words = ["--model_name_or_path", tiny_encoder, "--data", "sample", "--output_dir", str(folder)]
            words += ["--num_train_epochs", "2", "--learning_rate", "1e-3", "--max_length", "40", "--bf16", "false"]
            words += ["--disable_tqdm", "true", "--logging_steps", "5"]
            if task == "multitask":
                finetune(parse_multitask_run(words))
            else:
                finetune(parse_run(task, [*words, "--lora", "true", "--lora_r", "4"]))
        return folder

    return folder_of


@pytest.fixture
def run_of(trained, tmp_path):
    """Gives a copy of a trained run that a test may write to."""

    def copy(task):
        return shutil.copytree(trained(task), tmp_path / task, ignore=shutil.ignore_patterns("checkpoint-*"))

    return copy
