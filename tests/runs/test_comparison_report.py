import csv
import re
from pathlib import Path

import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.runs.comparison import compare_all, compare_runs, write_comparison
from extrabert_hf.runs.sides import read_sides, split_sides
from tests.runs.finished_runs import write_finished_run

LABELS = np.random.default_rng(0).integers(2, size=150)


@pytest.fixture
def run(tmp_path):
    """Leaves the files of a finished paraphrase run that knows a share of the rows."""

    def write(name, share, seed=1):
        folder = tmp_path / name
        predictions = np.where(np.arange(len(LABELS)) < share * len(LABELS), LABELS, 1 - LABELS)
        majority = {"para": {"accuracy": 0.6}}
        write_finished_run(
            folder, "para", range(len(LABELS)), LABELS.tolist(), predictions, majority=majority, seed=seed
        )
        return str(folder)

    return write


def test_sides_are_folders_or_named_runs_of_several_seeds(run):
    words = [run("one", 0.5), f"two={run('s1', 0.7, seed=1)},{run('s2', 0.9, seed=2)}"]
    sides = read_sides(words)
    assert list(sides) == ["one", "two"]
    assert sides["two"]["para"].seeds == (1, 2) and sides["two"]["para"].mean == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["lr=1e-5", "a,b"])
def test_a_folder_that_is_there_is_taken_whole(name, run, tmp_path, monkeypatch):
    folder = run(name, 0.5)
    assert split_sides([folder, f"best={folder}"]) == {name: [Path(folder)], "best": [Path(folder)]}
    monkeypatch.chdir(folder)
    assert split_sides(["."]) == {name: [Path()]}


def test_folders_of_one_name_are_called_by_what_differs():
    assert list(split_sides(["runs/sft/seed-42/sts", "runs/rr/seed-42/sts", "own=x"])) == ["sft", "rr", "own"]
    assert list(split_sides(["runs/sft/sts"])) == ["sts"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["=a"], "must be FOLDER, or NAME=.* got '=a'"),
        (["one=a,"], "got 'one=a,'"),
        (["one=a,b/../a"], "must be folders that differ, got one twice in 'one=a,b/../a'"),
        (["a=b", "a=c"], "must have names that differ, got 'a' twice"),
        (["b", "./b"], "must have names that differ, got 'b' twice"),
    ],
)
def test_sides_that_are_none_are_named(words, message):
    with pytest.raises(InputError, match=message):
        split_sides(words)


def test_a_file_in_place_of_the_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="`output_dir` must be a folder, got the file"):
        compare_runs(["nowhere", "nor here"], tmp_path / "file")


def test_tables_and_figure_are_written_into_a_folder_that_is_named(run, tmp_path, caplog):
    caplog.set_level("INFO", logger="extrabert_hf")
    folder = tmp_path / "compared"
    markdown = compare_runs([run("worse", 0.5), run("better", 0.8), run("same", 0.8)], folder, against="worse")
    assert caplog.messages[-1] == f"comparison.md, .csv, .tex and .png are in {folder}"
    assert (folder / "comparison.md").read_text() == markdown
    assert "| para (accuracy) | worse | better | .500 | .800 | +.300 [" in re.sub(" +", " ", markdown)
    assert re.sub(" +", " ", markdown).count("| up |") == 2 and "Holm's correction: 2." in markdown
    with (folder / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [float(line["difference"]) for line in lines] == pytest.approx([0.3, 0.3])
    assert (folder / "comparison.tex").read_text().startswith(r"\begin{table*}")
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_coverage_is_in_all_files(run, tmp_path):
    markdown = compare_runs([run("worse", 0.5), run("better", 0.8)], tmp_path / "compared", coverages=[0.5])
    assert "| para (accuracy at coverage 0.5) | worse | better | .500 | .800 | +.300 [" in re.sub(" +", " ", markdown)
    assert "Holm's correction: 3." in markdown and "aurc: area under the risk-coverage curve" in markdown
    with (tmp_path / "compared" / "comparison.csv").open(newline="") as file:
        metrics = [line["metric"] for line in csv.DictReader(file)]
    assert metrics == ["accuracy", "accuracy at coverage 0.5", "aurc"]
    assert "para (accuracy at coverage 0.5)" in (tmp_path / "compared" / "comparison.tex").read_text()
    with pytest.raises(InputError, match=r"`coverage` must be shares above 0 and up to 1, .* got 50"):
        compare_runs(["nowhere"], tmp_path / "compared", coverages=[50])


def test_a_line_of_each_verdict_is_drawn(run, tmp_path):
    sides = read_sides([run("a", 0.5), run("b", 0.8), run("c", 0.51)])
    lines = compare_all(sides)
    assert {line.verdict for line in lines} == {"up", "down", "level"}
    write_comparison(lines, tmp_path / "all")


def test_runs_that_cannot_be_read_are_named(run, tmp_path):
    folder = run("one", 0.5)
    with pytest.raises(InputError, match=r"must be folders of finished runs, .*gone has no metrics\.json"):
        read_sides([str(tmp_path / "gone"), folder])
    with pytest.raises(InputError, match="must have names that differ, got 'one' twice"):
        read_sides([folder, folder])
    with pytest.raises(InputError, match=r"`task` must be one of \['para'\], the tasks of .*, got 'sts'"):
        read_sides([folder], task="sts")
