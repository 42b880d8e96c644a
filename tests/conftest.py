import gc
import multiprocessing.process
import os
import re
import shlex
import shutil
import sys
import warnings
from functools import partial
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    set_seed,
)

from extrabert_hf.evaluation.metrics import ConstantInputWarning
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import run_finetuning

torch.set_num_threads(1)  # tiny matrices: more threads, or one set of them per test worker, only wait for each other

collect_ignore = ["fixtures/make_saved_models.py"]  # imports the modules of version 0.1.0

SAMPLES = files("extrabert_hf.data") / "samples"

SIZES = {
    "vocab_size": 99,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 48,
}

TINY_BACKBONES = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES, pad_token_id=1),
    "distilbert": DistilBertConfig(vocab_size=99, dim=16, n_layers=2, n_heads=2, hidden_dim=32),
    "mpnet": MPNetConfig(**SIZES, pad_token_id=1),
    "modernbert": ModernBertConfig(
        **SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2
    ),
}


def pytest_collection_finish():
    """Spares the garbage collection at the start of every training a walk through all that pytest has imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed():
    set_seed(0)


STARTS_OF_PROCESSES = {
    "subprocess.Popen",
    "os.posix_spawn",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.spawn",
    "os.system",
}
HARMLESS_PROGRAMS = {"uname", "lscpu", "ldconfig", "gcc", "cc", "ld", "objdump"}
"""Programs that the standard library runs to describe the machine: `platform.uname`, `ctypes.util.find_library`."""

may_start_processes = True
"""Whether the code that runs now belongs to no test, or to one with the mark `launch` or `slow`."""


def program_of(event, arguments):
    """Returns the name of the program that an audit event of `STARTS_OF_PROCESSES` is about, "" for a fork."""
    if event == "subprocess.Popen":
        program = arguments[0] or arguments[1]
    elif event in ("os.posix_spawn", "os.exec", "os.system"):
        program = arguments[0]
    else:
        program = arguments[1] if event == "os.spawn" else ""
    if not isinstance(program, (str, bytes, Path)):  # a list of words
        program = program[0]
    words = shlex.split(str(program.decode() if isinstance(program, bytes) else program))
    return Path(words[0]).name if words else ""


def refuse_processes(event, arguments):
    if not may_start_processes and event in STARTS_OF_PROCESSES:
        program = program_of(event, arguments)
        if program not in HARMLESS_PROGRAMS:
            pytest.fail(f"A test without the mark `launch` or `slow` starts a process: {event} {program}".rstrip())


sys.addaudithook(refuse_processes)  # sees every start, of libraries and of fixtures too; it cannot be removed


@pytest.fixture(autouse=True)
def _no_spawned_workers(monkeypatch):
    """Refuses `multiprocessing` with the start method spawn, which has no audit event."""
    start = multiprocessing.process.BaseProcess.start

    def refuse(self):
        refuse_processes("os.fork", ())
        start(self)

    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Lets a test, with its fixtures, start processes only if it has the mark `launch` or `slow`."""
    global may_start_processes
    may_start_processes = any(item.get_closest_marker(mark) is not None for mark in ("launch", "slow"))
    try:
        return (yield)
    finally:
        may_start_processes = True


@pytest.fixture
def tiny_bert():
    return TINY_BACKBONES["bert"].to_dict()


@pytest.fixture
def random_batch():
    """Makes token ids and a mask with padding: each sentence has a random length, the first one the longest."""

    def make(rows, seq=7, pair=True):
        shape = (rows, 2, seq) if pair else (rows, seq)
        lengths = torch.randint(2, seq + 1, shape[:-1])
        lengths[0] = seq
        attention_mask = (torch.arange(seq) < lengths.unsqueeze(-1)).long()
        return {"input_ids": torch.randint(5, 99, shape) * attention_mask, "attention_mask": attention_mask}

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """
    Makes a function that returns a folder of the session, filled by the first test that needs it.

    The workers of pytest-xdist share the folder: one fills it, and the others wait. No test writes to it.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # the parent folder of all pytest-xdist workers

    def folder_of(name, fill):
        folder, filled = root / "made_once" / name, root / "made_once" / f"{name}.filled"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not filled.exists():
                shutil.rmtree(folder, ignore_errors=True)
                fill(folder)
                filled.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny_encoder(made_once):
    """Saves a random BERT of 16 dimensions, without dropout, and a word-level tokenizer for the bundled sample."""
    return str(made_once("tiny_encoder", save_tiny_encoder))


def save_tiny_encoder(folder):
    words = sorted(
        set(
            re.findall(
                r"\w+|[^\w\s]",
                " ".join(p.read_text("utf-8").lower() for p in SAMPLES.iterdir() if p.name.endswith(".csv")),
            )
        )
    )
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=48,
    ).save_pretrained(folder)
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    BertModel(BertConfig(**{**SIZES, "vocab_size": len(vocabulary)}, **no_dropout)).save_pretrained(folder)


TINY_RUN = ("--max_length", "40", "--bf16", "false", "--disable_tqdm", "true")
"""Flags of every run of a test: short sentences, one precision everywhere, no progress bar."""


def tiny_run(encoder, output_dir, *flags, data="sample"):
    """Returns the flags of a run on the tiny encoder and the bundled sample; later flags win."""
    return ["--model_name_or_path", encoder, "--data", str(data), "--output_dir", str(output_dir), *TINY_RUN, *flags]


@pytest.fixture(scope="session")
def finished_run(tiny_encoder, made_once):
    """Trains a task with LoRA, or "multitask" without, once a session, for tests that only read the folder."""

    def train(task, folder):
        flags = ["--num_train_epochs", "2", "--learning_rate", "1e-3", "--logging_steps", "5"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConstantInputWarning)  # so short a run may predict one class for all rows
            if task == "multitask":
                run_finetuning(parse_multitask_run(tiny_run(tiny_encoder, folder, *flags)))
            else:
                lora = ("--lora", "true", "--lora_r", "4")
                run_finetuning(parse_run(task, tiny_run(tiny_encoder, folder, *flags, *lora)))

    return lambda task: made_once(task, partial(train, task))


@pytest.fixture
def run_of(finished_run, tmp_path):
    """Returns a copy of a finished run that a test may write to."""

    def copy(task):
        return shutil.copytree(finished_run(task), tmp_path / task, ignore=shutil.ignore_patterns("checkpoint-*"))

    return copy
