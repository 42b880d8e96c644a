from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from benchmarks.measures import longest_rows, memory_in_own_process
from benchmarks.surgery import mean_backward, surgery_trainer
from benchmarks.workloads import Setting

ROWS = Dataset.from_dict({"sentence1": ["a", "a b c", "a b"], "sentence2": ["a", "a", "a b c d"], "label": [1, 2, 3]})


def test_the_longest_rows_by_either_sentence_come_again_every_step():
    assert longest_rows(ROWS, 2)["label"] == [3, 2] * 3
    assert longest_rows(ROWS.remove_columns("sentence2"), 1)["label"] == [2] * 3


def hungry_backward(held, model, losses):
    """The plain mean, and `held` MiB beside it."""
    ballast = torch.ones(held * 2**18)
    mean_backward(model, losses)
    del ballast


def test_memory_is_what_training_takes_above_the_loaded_model(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where the other process finds `hungry_backward`
    setting = Setting(tiny_encoder, batch_size=2, bf16=False, output_dir=str(tmp_path))

    def mib(held):
        build = partial(surgery_trainer, setting, backward=partial(hungry_backward, held))
        return memory_in_own_process(build, {"sts": ROWS.add_column("id", ["0", "1", "2"])}, batch_size=2)

    assert mib(held=400) - mib(held=0) == pytest.approx(400, abs=40)
