import sys

import pytest

from benchmarks.suite import BENCHMARKS
from benchmarks.workloads import Setting
from extrabert_hf.errors import InputError

SETTING = Setting("encoder", batch_size=4, bf16=False, output_dir="out")


def test_a_missing_peer_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"needs sentence-transformers: pip install 'extrabert_hf\[benchmark\]'$"):
        BENCHMARKS["train-sts"].peer_name()


def test_ours_and_the_peer_come_first():
    for benchmark in BENCHMARKS.values():
        assert list(benchmark.contenders(SETTING))[:2] == ["ours", "peer"]


def test_torchjd_is_left_out_with_a_line_where_it_is_not_installed(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    caplog.set_level("INFO", logger="extrabert_hf")
    assert list(BENCHMARKS["surgery"].contenders(SETTING))[2:] == [
        "mean, one backward a task",
        "PCGrad on whole vectors",
    ]
    assert caplog.messages == ["torchjd is not measured, it is not installed: pip install 'extrabert_hf[torchjd]'"]
