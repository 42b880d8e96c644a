import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset

from benchmarks.measures import (
    in_turn,
    longest_rows,
    measure_flops,
    measure_scaling,
    memory_in_own_process,
    rates_in_turn,
    with_words,
)
from benchmarks.surgery import mean_backward, surgery_trainer
from benchmarks.workloads import Setting


def test_every_contender_is_measured_once_a_round_in_the_same_order():
    order = []
    figures = in_turn(["ours", "peer", "plain"], lambda name: order.append(name) or len(order), rounds=2)
    assert order == ["ours", "peer", "plain"] * 2
    assert figures == {"ours": [1, 4], "peer": [2, 5], "plain": [3, 6]}


def test_only_training_is_timed_and_the_warm_up_is_not_counted():
    trained_on = []

    def contender(rows):
        time.sleep(0.1)  # loading a model
        return SimpleNamespace(
            remove_callback=lambda callback: None,
            train=lambda: trained_on.append(len(rows["sst"])) or time.sleep(0.02),
        )

    rows = {"sst": Dataset.from_dict({"sentence1": ["a"] * 30})}
    rates = rates_in_turn({"ours": contender, "peer": contender}, rows, rounds=2, batch_size=2)
    assert trained_on == [8, 8, 30, 30, 30, 30]
    assert [len(figures) for figures in rates.values()] == [2, 2]
    assert all(rate <= 1500 for figures in rates.values() for rate in figures)
    assert max(rates["ours"]) > 250  # with loading it would be 30 rows in 0.12 s, with the warm-up more


def test_a_step_of_several_tasks_counts_once_and_a_short_last_step_counts_too():
    def contender(rows):
        return SimpleNamespace(remove_callback=lambda callback: None, train=lambda: time.sleep(0.1))

    rows = {task: Dataset.from_dict({"sentence1": ["a"] * 7}) for task in ("sst", "sts")}
    rates = rates_in_turn({"ours": contender}, rows, rounds=1, batch_size=3, unit="steps/s")
    assert 10 < rates["ours"][0] <= 30  # 3 steps in 0.1 s or a little more


def test_sentences_are_cut_or_repeated_to_a_number_of_words():
    rows = Dataset.from_dict({"sentence1": ["a b c", "d"], "sentence2": ["e f", "g h i j k"], "label": [0, 1]})
    four = with_words(rows, 4)
    assert four["sentence1"][:] == ["a b c a", "d d d d"]
    assert four["sentence2"][:] == ["e f e f", "g h i j"]


def test_each_size_is_timed_for_each_contender():
    def contender(rows):
        words = sum(len(sentence.split()) for sentence in rows["sts"]["sentence1"])
        return lambda: time.sleep(words / 1e4)

    rows = Dataset.from_dict({"sentence1": ["a b"] * 40, "sentence2": ["c"] * 40})
    scaling = measure_scaling({"ours": contender, "peer": contender}, {"sts": rows})
    assert [times.rows for times in scaling.rows] == [10, 20, 40]
    assert [times.words for times in scaling.words] == [8, 16, 32, 64]
    for times, least in [(scaling.rows[2], 80 / 1e4), (scaling.words[3], 640 / 1e4)]:
        assert times.ours >= least and times.peer >= least


def test_operations_are_counted_a_row_and_compared_with_a_matrix_product():
    left, right = torch.ones(8, 500), torch.ones(500, 1000)
    rows = {"sst": Dataset.from_dict({"sentence1": ["a"] * 4})}
    flops = measure_flops(lambda rows: lambda: left @ right, rows, rate=100.0, bf16=False)
    assert flops.training == 2 * 8 * 500 * 1000 / 4 * 100 / 1e9
    assert flops.share == flops.training / flops.float32


ROWS = Dataset.from_dict({"sentence1": ["a", "a b c", "a b"], "sentence2": ["a", "a", "a b c d"], "label": [1, 2, 3]})


def test_the_longest_rows_by_either_sentence_are_repeated_for_every_step():
    assert longest_rows(ROWS, 2)["label"] == [3, 2] * 3
    assert longest_rows(ROWS.remove_columns("sentence2"), 1)["label"] == [2] * 3


def hungry_backward(extra_mib, model, losses):
    """The plain mean, with `extra_mib` MiB allocated beside it."""
    ballast = torch.ones(extra_mib * 2**18)
    mean_backward(model, losses)
    del ballast


@pytest.mark.slow
def test_memory_is_what_training_takes_above_the_loaded_model(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where the new process finds `hungry_backward`
    setting = Setting(tiny_encoder, batch_size=2, bf16=False, output_dir=str(tmp_path))

    def mib(extra_mib):
        build = partial(surgery_trainer, setting, backward=partial(hungry_backward, extra_mib))
        return memory_in_own_process(build, {"sts": ROWS.add_column("id", ["0", "1", "2"])}, batch_size=2)

    assert mib(extra_mib=400) - mib(extra_mib=0) == pytest.approx(400, abs=40)
