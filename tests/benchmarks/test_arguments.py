import pytest

from benchmarks.runner import BenchmarkArguments
from extrabert_hf.errors import InputError


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"only": ["train-sts", "fly"]},
            "`only` must be of 'train-sts', 'train-sst', 'train-para', 'score-pairs', 'surgery', got 'fly'",
        ),
        ({"rounds": 0}, "`rounds` must be 1 or more, got 0"),
        ({"rows": -5}, "`rows` must be 1 or more, got -5"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
        (
            {"json": "nowhere/figures"},
            "`json` must be a file ending in .json, got 'nowhere/figures'",
        ),
    ],
)
def test_what_cannot_be_measured_is_named_in_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        BenchmarkArguments(**arguments)
    assert "\n" not in str(caught.value)


def test_every_comparison_is_run_unless_told_otherwise():
    assert BenchmarkArguments().only == ["train-sts", "train-sst", "train-para", "score-pairs", "surgery"]


def test_memory_is_refused_where_nothing_counts_it(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.measures.STATUS", tmp_path / "status")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="`memory` must be false without CUDA or Linux"):
        BenchmarkArguments(memory=True)
