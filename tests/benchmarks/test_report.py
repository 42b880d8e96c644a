import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measures import FlopRates, Scaling, TimesForRows, TimesForWords
from benchmarks.report import (
    BenchmarkResult,
    other_results,
    plot_ratios,
    plot_scaling,
    read_results,
    step_results,
    table,
    write_results,
)

RESULTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.json"))

SHARED = {
    "peer_name": "transformers 5.23.0, run_glue pattern",
    "rounds": 3,
    "rows": 1600,
    "batch_size": 16,
    "model": "minilm",
    "precision": "float32",
    "machine": {"cpu": "AMD EPYC", "threads": 2, "torch": "2.13.0"},
}


def result(name, ours, peer, unit="rows/s", **fields):
    return BenchmarkResult.of_rates(ours, peer, name=name, unit=unit, **{**SHARED, **fields})


def test_the_ratio_is_that_of_the_medians_and_each_round_has_its_own():
    measured = result("train-sts", ours=[90.0, 300.0, 120.0], peer=[30.0, 60.0, 80.0])
    assert measured.to_dict() == {
        "name": "train-sts",
        "ours": 120.0,
        "peer": 60.0,
        "ratio": 2.0,
        "unit": "rows/s",
        "ratios": [3.0, 5.0, 1.5],
        "setting": "guide",
        **SHARED,
    }


def test_gains_multiply_to_the_whole_way_from_plain_to_ours():
    steps = step_results({"plain": [10.0, 30.0, 20.0], "+ a": [25.0, 25.0, 99.0], "+ b": [60.0, 50.0, 40.0]})
    assert [step.name for step in steps] == ["plain", "+ a", "+ b"]
    assert [step.rate for step in steps] == [20.0, 25.0, 50.0]
    assert [step.gain for step in steps] == pytest.approx([1.0, 1.25, 2.0])


def test_the_table_shows_ratio_spread_and_steps():
    steps = step_results({"plain": [80.0], "+ length buckets": [100.0]})
    with_steps = result("train-sst", [100.0, 90.0, 110.0], [40.0, 45.0, 50.0], steps=steps)
    best = result("train-sst", [100.0], [80.0], setting="best", options="bfloat16, group_by_length")
    without = result("train-para", [1234.5], [1000.0])
    assert table([with_steps, best, without]).splitlines() == [
        "one epoch of 1,600 rows a task in batches of 16, minilm, ours in float32; median of 3 in turn",
        "cpu AMD EPYC, threads 2, torch 2.13.0",
        "",
        "rows/s      setting     ours     peer   ratio  min-max      peer",
        "train-sst   guide      100.0     45.0    2.22  2.00-2.50    transformers 5.23.0, run_glue pattern",
        "train-sst   best       100.0     80.0    1.25  1.25-1.25    transformers 5.23.0, run_glue pattern, "
        "at its best (bfloat16, group_by_length)",
        "train-para  guide     1234.5   1000.0    1.23  1.23-1.23    transformers 5.23.0, run_glue pattern",
        "",
        "train-sst, step by step                    rows/s    gain",
        "  plain                                      80.0",
        "  + length buckets                          100.0    1.25",
    ]


def test_each_unit_has_a_table_and_others_and_memory_are_below():
    flops = FlopRates(training=250.4, bfloat16=900.0, float32=1010.0, share=0.248)
    rows = result("train-sst", [100.0], [40.0], flops=flops)
    others = other_results({"by task": [2.2, 2.4, 2.0]}, peer=[2.0, 2.0, 2.5])
    details = {"others": others, "memory": {"ours": 512.4, "peer": 1700.0}, "peer_name": "plain mean"}
    steps = result("surgery", [1.9, 1.8, 2.1], [2.0, 2.0, 2.5], "steps/s", **details)
    assert table([rows, steps]).splitlines()[3:] == [
        "rows/s      setting     ours     peer   ratio  min-max      peer",
        "train-sst   guide      100.0     40.0    2.50  2.50-2.50    transformers 5.23.0, run_glue pattern",
        "",
        "steps/s     setting     ours     peer   ratio  min-max      peer",
        "surgery     guide      1.900    2.000    0.95  0.84-0.95    plain mean",
        "",
        "train-sst: 250 GFLOP/s, 25% of the rate of a matrix product in the same precision (bfloat16 900, "
        "float32 1,010)",
        "",
        "surgery, beside the same peer             steps/s   ratio  min-max",
        "  by task                                   2.200    1.10  0.80-1.20",
        "",
        "surgery, peak memory                          MiB",
        "  ours                                        512",
        "  peer                                      1,700",
    ]


def test_results_are_named_after_the_machine_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    machine = {"cpu": "AMD EPYC (x)", "threads": 2, "torch": "2.13"}
    first = result("train-sst", [100.0], [40.0], machine=machine)
    path = Path("benchmarks/amd-epyc-x-2-threads.json")
    assert write_results([first]) == path
    assert json.loads((tmp_path / path).read_text()) == [first.to_dict()]
    assert (tmp_path / "benchmarks" / "amd-epyc-x-2-threads.png").is_file()
    faster = result("train-sst", [120.0], [40.0], machine=machine)
    larger = result("train-sst", [150.0], [40.0], machine=machine, batch_size=64)
    best = result("train-sst", [120.0], [60.0], machine=machine, setting="best", options="bfloat16")
    write_results([larger, faster])  # the same comparison is measured again, another is added
    write_results([best])  # and another setting
    assert json.loads((tmp_path / path).read_text()) == [row.to_dict() for row in (larger, faster, best)]


def test_a_file_without_settings_has_the_peers_as_their_guides_have_them(tmp_path):
    row = result("train-sst", [100.0], [40.0]).to_dict()
    del row["setting"]
    (tmp_path / "results.json").write_text(json.dumps([row]))
    (read,) = read_results(tmp_path / "results.json")
    assert (read.setting, read.options) == ("guide", None)


SCALING = Scaling(rows=[TimesForRows(10, ours=1.0, peer=2.0)], words=[TimesForWords(8, ours=3.0, peer=4.0)])
TWO_RESULTS = [
    replace(result("train-a", [2.0], [1.0], scaling=SCALING), peer_name="x 1.0", ratio=2.0, ratios=[1.5, 2.5]),
    replace(result("b", [1.0], [2.0]), peer_name="y", ratio=0.5, ratios=[0.6, 0.7]),
]


def test_each_ratio_is_a_bar_the_first_on_top():
    axes = plot_ratios(TWO_RESULTS).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b\ny", "train-a, batch 16\nx 1.0"]


def test_both_settings_are_bars_of_two_colours_and_the_peer_at_its_best_has_its_options():
    best = replace(TWO_RESULTS[0], setting="best", options="bfloat16")
    axes = plot_ratios([TWO_RESULTS[0], best]).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "train-a, batch 16\nx 1.0, at its best (bfloat16)"
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()


def test_seconds_are_lines_over_rows_and_over_words():
    rows, words = plot_scaling(TWO_RESULTS[:1]).axes
    assert [list(line.get_ydata()) for line in rows.lines + words.lines] == [[1.0], [2.0], [3.0], [4.0]]
    assert [list(line.get_xdata()) for line in rows.lines + words.lines] == [[10], [10], [8], [8]]


def test_a_result_with_every_part_is_read_as_it_was_written(tmp_path):
    parts = {
        "others": other_results({"by task": [2.2]}, peer=[2.0]),
        "steps": step_results({"plain": [80.0], "+ a": [100.0]}),
        "flops": FlopRates(training=250.4, bfloat16=900.0, float32=1010.0, share=0.248),
        "scaling": SCALING,
        "memory": {"ours": 512.4},
    }
    whole = result("train-sst", [100.0], [40.0], **parts)
    path = write_results([whole, TWO_RESULTS[1]], tmp_path / "results.json")
    assert read_results(path) == [whole, TWO_RESULTS[1]]
    assert (tmp_path / "results-scaling.png").is_file()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_published_results_can_be_read_and_drawn(path):
    results = read_results(path)
    assert [result.to_dict() for result in results] == json.loads(path.read_text())
    assert table(results)
    assert plot_ratios(results).axes
    scaled = [result for result in results if result.scaling is not None]  # as in write_results
    assert not scaled or plot_scaling(scaled).axes
