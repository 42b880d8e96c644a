"""Two processes train and predict as one does."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run
from tests.recipes.processes import ROOT, launch

pytestmark = [
    pytest.mark.launch,
    pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning"),
]

RUNS = {
    "separate": ("sft_sts", ()),
    "together": ("multitask", ("--head_dropout", "0")),
    "one task a step": ("multitask", ("--head_dropout", "0", "--mixing", "proportional", "--aggregator", "mean")),
    "LoRA": ("multitask", ("--head_dropout", "0", "--lora", "true", "--lora_dropout", "0")),
}
RESUMED = (
    *("--num_train_epochs", "2", "--learning_rate", "1e-3", "--per_device_train_batch_size", "8"),
    *("--max_steps", "24", "--load_best_model_at_end", "false"),
    *("--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", "20"),  # an epoch has 17 steps
)


def words_of(name, encoder, output_dir, rows_a_device):
    recipe, flags = RUNS[name]
    steps = ("--num_train_epochs", "2", "--max_steps", "16")  # the full batches of one epoch
    fixed = ("--learning_rate", "1e-3", "--use_cpu", "true", "--per_device_train_batch_size", str(rows_a_device))
    return recipe, tiny_run(encoder, output_dir, *fixed, *steps, *flags)


@pytest.fixture(scope="module")
def of_two_processes(tiny_encoder, tmp_path_factory):
    """The folders of all runs that two processes make, by name; "whole" has a checkpoint to resume."""
    root = tmp_path_factory.mktemp("two")
    commands = []
    for name in RUNS:
        recipe, words = words_of(name, tiny_encoder, root / name, rows_a_device=8)
        commands.append([f"recipes/{recipe}.py", *words])
    commands.append(["recipes/sft_sts.py", *tiny_run(tiny_encoder, root / "whole", *RESUMED)])
    launch(Path(__file__).with_name("several_runs.py"), json.dumps(commands), processes=2)
    return {name: root / name for name in (*RUNS, "whole")}


def processes_and_weights(folder):
    processes = json.loads((folder / "metrics.json").read_text())["training"]["processes"]
    return processes, load_file(folder / "model.safetensors")


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_of_eight_train_the_model_of_one_process_of_sixteen(
    name, of_two_processes, tiny_encoder, tmp_path
):
    recipe, words = words_of(name, tiny_encoder, tmp_path / "one", rows_a_device=16)
    run_finetuning(parse_multitask_run(words) if recipe == "multitask" else parse_run("sts", words))
    of_one, one = processes_and_weights(tmp_path / "one")
    of_two, two = processes_and_weights(of_two_processes[name])
    assert (of_one, of_two) == (1, 2)
    start = load_file(Path(tiny_encoder) / "model.safetensors")
    encoder = [name for name in start if "pooler" not in name]
    moved = torch.cat([(one[f"backbone.{name}"] - start[name]).flatten() for name in encoder]).norm()
    apart = torch.cat([(one[name] - two[name]).flatten() for name in one]).norm()
    assert apart < 0.001 * moved  # not number by number: AdamW makes full steps of gradients that are but rounding


def test_two_processes_resume_in_mid_epoch_to_the_same_weights(of_two_processes, tiny_encoder, tmp_path):
    (tmp_path / "resumed").mkdir()
    (of_two_processes["whole"] / "checkpoint-20").rename(tmp_path / "resumed" / "checkpoint-20")
    words = tiny_run(tiny_encoder, tmp_path / "resumed", *RESUMED, "--resume_from_checkpoint", "last")
    launch("recipes/sft_sts.py", *words, processes=2)
    whole, resumed = (load_file(f / "model.safetensors") for f in (of_two_processes["whole"], tmp_path / "resumed"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_processes_predict_what_one_does(of_two_processes, tmp_path, monkeypatch):
    lines = [f"A dog {n % 7} runs,cat number {n}" for n in range(12_000)]  # two parts
    (tmp_path / "in.csv").write_text("sentence1,sentence2\n" + "\n".join(lines) + "\n")
    words = [of_two_processes["separate"], tmp_path / "in.csv", "--output"]
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, words), str(tmp_path / "one.csv")])
    runpy.run_path(str(ROOT / "recipes" / "predict.py"), run_name="__main__")
    done = launch("recipes/predict.py", *words, tmp_path / "two.csv", processes=2)
    assert done.stderr.count("12,000 predictions in") == 1
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
