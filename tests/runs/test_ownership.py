import shutil
from pathlib import Path

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.files import write_text
from extrabert_hf.manifest import STATE, is_own, manifest_names
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import LAYOUT, check_room, hold_run

SAVED_BY_0_1 = Path(__file__).parents[1] / "fixtures" / "saved_by_0_1" / "run"
NAMES = [
    "metrics.json",
    "report.html",
    "config.json",
    "model.safetensors",
    "trainer_state.json",
    "adapter/config.json",
]
NAMES += ["predictions/sst-dev.csv", "scored/my task-test.csv", "figures/training.png", "best/sts/best.json"]
NAMES += ["checkpoint-7/optimizer.pt", "checkpoint-7/anything.txt", "report_figures/sst-by_label.svg"]
OTHERS = [
    "thesis.pdf",
    "figures/plot.pdf",
    "scored/notes.csv",
    "best/notes/a.txt",
    "adapter/thesis.txt",
    "checkpoint-a/x",
]


def files_of(folder):
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return {path.as_posix() for path in paths if STATE not in path.parts}


@pytest.mark.parametrize("name", NAMES)
def test_a_run_does_not_start_beside_a_file_of_the_user_that_it_would_replace(name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with hold_run("output_dir", tmp_path):
        with pytest.raises(InputError, match="which no run has written and a run would replace") as error:
            check_room("output_dir", tmp_path)
        RunFolder(tmp_path).clear_results()
    assert name in str(error.value) and (tmp_path / name).read_text() == "mine"


def test_a_run_starts_beside_other_files_of_the_user(tmp_path):
    for name in OTHERS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    with hold_run("output_dir", tmp_path):
        check_room("output_dir", tmp_path)
        for name in NAMES:
            write_text(tmp_path / name, "ours")
    with hold_run("output_dir", tmp_path):
        check_room("output_dir", tmp_path)
        RunFolder(tmp_path).clear_results()
    assert files_of(tmp_path) >= set(OTHERS)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tasks": {}}', '{"accuracy": 0.5}'])
def test_a_metrics_file_of_another_program_makes_no_run(text, tmp_path):
    (tmp_path / "metrics.json").write_text(text)
    (tmp_path / "config.json").write_text("mine")
    with hold_run("output_dir", tmp_path):
        assert manifest_names(tmp_path) == set()


def test_a_run_of_an_earlier_version_is_recognised_and_other_files_in_it_are_not(tmp_path):
    run = RunFolder(Path(shutil.copytree(SAVED_BY_0_1, tmp_path / "run")))
    written = files_of(run.path)
    for name in OTHERS:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("mine")
    with hold_run("output_dir", run.path):
        check_room("output_dir", run.path)
        assert manifest_names(run.path) == written and all(LAYOUT.fullmatch(name) for name in written)
        run.clear_results()
    assert not run.is_finished and files_of(run.path) >= set(OTHERS)
    assert not list(run.path.glob("scored/*-dev.csv"))


def test_checkpoints_of_an_earlier_version_are_recognised(tmp_path):
    for name in ("trainer_state.json", "complete", "model.safetensors", "notes.txt"):
        (tmp_path / "checkpoint-3").mkdir(exist_ok=True)
        (tmp_path / "checkpoint-3" / name).touch()
    with hold_run("output_dir", tmp_path):
        assert is_own(tmp_path / "checkpoint-3" / "complete") and not is_own(tmp_path / "checkpoint-3" / "notes.txt")
        with pytest.raises(InputError, match=r"holds checkpoint-3/notes\.txt, which"):
            check_room("output_dir", tmp_path)
