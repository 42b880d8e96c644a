import json
from pathlib import Path

import pytest

from benchmarks.report import entry, other_entries, step_entries, table, write_figures

DETAILS = {
    "peer_name": "transformers 5.23.0, run_glue pattern",
    "rounds": 3,
    "rows": 1600,
    "batch_size": 16,
    "model": "minilm",
    "precision": "float32",
    "machine": {"cpu": "AMD EPYC", "threads": 2, "torch": "2.13.0"},
}


def test_the_ratio_is_that_of_the_medians_and_each_round_has_its_own():
    measured = entry("train-sts", ours=[90.0, 300.0, 120.0], peer=[30.0, 60.0, 80.0])
    assert measured == {
        "name": "train-sts",
        "ours": 120.0,
        "peer": 60.0,
        "ratio": 2.0,
        "unit": "rows/s",
        "ratios": [3.0, 5.0, 1.5],
    }


def test_gains_multiply_to_the_whole_way_from_plain_to_ours():
    steps = step_entries({"plain": [10.0, 30.0, 20.0], "+ a": [25.0, 25.0, 99.0], "+ b": [60.0, 50.0, 40.0]})
    assert [step["name"] for step in steps] == ["plain", "+ a", "+ b"]
    assert [step["rate"] for step in steps] == [20.0, 25.0, 50.0]
    assert [step["gain"] for step in steps] == pytest.approx([1.0, 1.25, 2.0])


def test_the_table_shows_ratio_spread_and_steps():
    steps = step_entries({"plain": [80.0], "+ length buckets": [100.0]})
    with_steps = entry("train-sst", [100.0, 90.0, 110.0], [40.0, 45.0, 50.0], steps=steps, **DETAILS)
    without = entry("train-para", [1234.5], [1000.0], **DETAILS)
    assert table([with_steps, without]).splitlines() == [
        "one epoch of 1,600 rows a task in batches of 16, minilm, ours in float32; median of 3 in turn",
        "cpu AMD EPYC, threads 2, torch 2.13.0",
        "",
        "rows/s           ours     peer   ratio  min-max      peer",
        "train-sst       100.0     45.0    2.22  2.00-2.50    transformers 5.23.0, run_glue pattern",
        "train-para     1234.5   1000.0    1.23  1.23-1.23    transformers 5.23.0, run_glue pattern",
        "",
        "train-sst, step by step                    rows/s    gain",
        "  plain                                      80.0",
        "  + length buckets                          100.0    1.25",
    ]


def test_steps_have_a_table_of_their_own_and_others_and_memory_stand_below():
    flops = {"training": 250.4, "bfloat16": 900.0, "float32": 1010.0, "share": 0.248}
    rows = entry("train-sst", [100.0], [40.0], flops=flops, **DETAILS)
    others = other_entries({"by task": [2.2, 2.4, 2.0]}, peer=[2.0, 2.0, 2.5])
    memory = {"ours": 512.4, "peer": 1700.0}
    details = {**DETAILS, "peer_name": "plain mean"}
    steps = entry("surgery", [1.9, 1.8, 2.1], [2.0, 2.0, 2.5], "steps/s", others=others, memory=memory, **details)
    assert table([rows, steps]).splitlines()[3:] == [
        "rows/s           ours     peer   ratio  min-max      peer",
        "train-sst       100.0     40.0    2.50  2.50-2.50    transformers 5.23.0, run_glue pattern",
        "",
        "steps/s          ours     peer   ratio  min-max      peer",
        "surgery         1.900    2.000    0.95  0.84-0.95    plain mean",
        "",
        "train-sst: 250 GFLOP/s, 25% of what a matrix product alone reaches in its precision (bfloat16 900, "
        "float32 1,010)",
        "",
        "surgery, beside the same peer             steps/s   ratio  min-max",
        "  by task                                   2.200    1.10  0.80-1.20",
        "",
        "surgery, most memory                          MiB",
        "  ours                                        512",
        "  peer                                      1,700",
    ]


def test_the_figures_are_named_after_the_machine_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    machine = {"cpu": "AMD EPYC (x)", "threads": 2, "torch": "2.13"}
    entries = [entry("train-sst", [100.0], [40.0], **{**DETAILS, "machine": machine})]
    assert write_figures(entries) == Path("benchmarks/amd-epyc-x-2-threads.json")
    assert json.loads((tmp_path / "benchmarks" / "amd-epyc-x-2-threads.json").read_text()) == entries
    assert (tmp_path / "benchmarks" / "amd-epyc-x-2-threads.png").is_file()
    faster = entry("train-sst", [120.0], [40.0], **{**DETAILS, "machine": machine})
    larger = entry("train-sst", [150.0], [40.0], **{**DETAILS, "machine": machine, "batch_size": 64})
    write_figures([larger, faster])  # the same comparison is measured again, another is added
    assert json.loads((tmp_path / "benchmarks" / "amd-epyc-x-2-threads.json").read_text()) == [larger, faster]
