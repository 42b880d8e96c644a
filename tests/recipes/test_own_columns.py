import csv
import json
import runpy
import sys
from pathlib import Path

import pytest

from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run

RECIPES = Path(__file__).parents[2] / "recipes"

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


@pytest.fixture
def own_run(tiny_encoder, tmp_path):
    """A model of a csv file with other column names, and a file of the same form."""
    for name, rows in (("train", 24), ("new", 9)):
        lines = [f"a {name} film number {n},{1 + n % 3}" for n in range(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["review,stars", *lines]) + "\n")
    flags = ["--max_steps", "2", "--task_name", "stars", "--class_names", "1", "2", "3"]
    flags += ["--sentence1_column", "review", "--label_column", "stars"]
    run_finetuning(parse_run("sst", tiny_run(tiny_encoder, tmp_path / "run", *flags, data=tmp_path / "train.csv")))
    return tmp_path


@pytest.fixture
def recipe(monkeypatch):
    def run(name, *words):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, words)])
        runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")

    return run


def test_a_model_reads_files_like_its_own_without_column_flags(own_run, recipe, capsys):
    recipe("evaluate_model", own_run / "run", "--data", own_run / "new.csv", "--output", own_run / "scores.json")
    out = capsys.readouterr().out
    assert out.startswith("none of 9 rows is a train row of") and "stars, new.csv, 9 rows" in out
    scores = json.loads((own_run / "scores.json").read_text())
    names = ["rows", "metrics", "intervals", "majority_baseline", "train_rows", "aurc", "excess_aurc"]
    assert list(scores) == names and scores["rows"] == 9
    recipe("predict", own_run / "run", own_run / "new.csv", "--output", own_run / "out.csv")
    with (own_run / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["review"] for row in rows] == [f"a new film number {n}" for n in range(9)]


def test_flags_and_well_known_names_still_name_the_columns(own_run, recipe):
    (own_run / "named.csv").write_text("review,words\nold,new\n")
    recipe(
        "predict", own_run / "run", own_run / "named.csv", "--output", own_run / "a.csv", "--sentence1_column", "words"
    )
    assert "new" in (own_run / "a.csv").read_text()
    (own_run / "known.csv").write_text("text\nwell known\n")
    recipe("predict", own_run / "run", own_run / "known.csv", "--output", own_run / "b.csv")
    assert "well known" in (own_run / "b.csv").read_text()
    with pytest.raises(SystemExit):
        recipe("predict", own_run / "run", own_run / "known.csv", "--output", "c.csv", "--sentence1_column", "words")
