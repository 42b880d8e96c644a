import sys
from itertools import pairwise

import pytest

from benchmarks.suite import BENCHMARKS, OPTIMIZATIONS, ablation
from benchmarks.workloads import Setting
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

SETTING = Setting("encoder", batch_size=4, bf16=False, output_dir="out")


def test_a_missing_peer_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"needs sentence-transformers: pip install 'extrabert_hf\[benchmark\]'$"):
        BENCHMARKS["train-sts"].peer_name()


def test_ours_and_the_peer_come_first():
    for benchmark in BENCHMARKS.values():
        assert list(benchmark.contenders(SETTING))[:2] == ["ours", "peer"]


def test_torchjd_is_left_out_with_a_message_where_it_is_not_installed(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    caplog.set_level("INFO", logger="extrabert_hf")
    assert list(BENCHMARKS["surgery"].contenders(SETTING))[2:] == [
        "mean, one backward a task",
        "PCGrad on whole vectors",
    ]
    assert caplog.messages == ["torchjd is not measured, it is not installed: pip install 'extrabert_hf[torchjd]'"]


@pytest.mark.parametrize("task", PAPER_TASKS.values(), ids=lambda task: task.name)
@pytest.mark.parametrize("bf16", [True, False])
def test_each_step_of_the_ablation_turns_one_optimization_on_and_the_last_is_the_default(task, bf16):
    steps = list(ablation(task, bf16).values())
    for before, after in pairwise(steps):
        assert after.items() < before.items()
        assert len(before) - len(after) == 1
    assert steps[-1] == {}


def test_plain_is_without_every_optimization():
    plain = ablation(PAPER_TASKS["sts"], bf16=True)["plain"]
    fields = {"two_forwards": True, "length_buckets": False, "unpad": False}
    assert plain == {**fields, "bf16": False, "optim": "adamw_torch"}
    assert len(plain) == len(OPTIMIZATIONS)


def test_an_optimization_that_does_not_apply_is_left_out():
    assert "two_forwards" not in ablation(PAPER_TASKS["sst"], bf16=True)["plain"]
    assert "bf16" not in ablation(PAPER_TASKS["sts"], bf16=False)["plain"]
