"""The card that a run writes: its commands and its Python run as they stand, where this package can't be imported."""

import json
import logging
import shlex
from dataclasses import asdict
from functools import partial

import pytest

from extrabert_hf.files import write_json
from extrabert_hf.inference.calibration import Calibration, CalibrationReport, CalibrationScores
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.runs.folder import CARD_MARK
from extrabert_hf.sharing.model_card import HubArguments, render_card
from extrabert_hf.sharing.repository_files import described, write_card
from extrabert_hf.sharing.shared_run import SharedRun
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run
from tests.sharing.snippets import assert_prints_its_comments, python_blocks, run_without_the_package

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
WITH_PACKAGE = "import extrabert_hf"
REPORT = CalibrationReport(
    2.0, 0.5, 120, CalibrationScores(0.8, 0.1, 0.6), CalibrationScores(0.8, 0.1, 0.5), (0.0, 0.1)
)


@pytest.fixture(scope="session")
def cross_encoder_run(tiny_encoder, made_once):
    def train(folder):
        flags = ("--pair_encoding", "cross_encoder", "--max_steps", "2", "--max_length", "20")
        run_finetuning(parse_run("para", tiny_run(tiny_encoder, folder, *flags)))

    return made_once("cross_encoder_run", train)


@pytest.fixture(scope="session")
def calibrated_model(finished_run, made_once):
    def calibrate(source, folder):
        trained = load_model(str(source))
        Calibration(REPORT.temperature, REPORT.bias).write_into(trained.model.head.classifier)
        trained.save_pretrained(folder)
        write_json(folder / "calibration.json", asdict(REPORT))
        write_card(folder)

    return made_once("calibrated_model", partial(calibrate, finished_run("para")))


@pytest.fixture(scope="session")
def folders(finished_run, cross_encoder_run, calibrated_model):
    runs = {name: finished_run(name) for name in ("sst", "sts", "multitask")}  # "sst" and "sts" with merged LoRA
    return runs | {"cross-encoder": cross_encoder_run, "calibrated": calibrated_model}


@pytest.mark.launch
def test_the_card_of_a_finished_folder_runs_as_it_stands_without_the_package(folders, tmp_path):
    blocks = {
        name: [block for block in python_blocks((folder / "README.md").read_text()) if WITH_PACKAGE not in block]
        for name, folder in folders.items()
    }
    assert {name: len(of_card) for name, of_card in blocks.items()} == {
        **dict.fromkeys(("sst", "sts", "multitask", "calibrated"), 4),
        "cross-encoder": 3,  # no sentence vectors
    }
    flat = [(folders[name], block) for name, of_card in blocks.items() for block in of_card]
    moved = [f"import os\nos.chdir({str(folder)!r})\n{block}" for folder, block in flat]
    for (_, block), printed in zip(flat, run_without_the_package(moved, tmp_path, tmp_path / "hf"), strict=True):
        assert_prints_its_comments(block, printed)


@pytest.mark.parametrize("name", ["sst", "multitask"])
def test_the_card_runs_with_the_package_and_names_its_command(name, folders, monkeypatch):
    monkeypatch.chdir(folders[name])
    text = (folders[name] / "README.md").read_text()
    (block,) = [block for block in python_blocks(text) if WITH_PACKAGE in block]
    exec(compile(block, "README.md", "exec"), {})
    (command,) = [line for line in text.splitlines() if line.startswith("extrabert ")]
    assert shlex.split(command)[:3] == ["extrabert", "predict", "."]
    assert "recipes/" not in text


def test_the_card_is_the_rendered_template(folders):
    for folder in folders.values():
        assert (folder / "README.md").read_text() == render_card(SharedRun(folder), ".", HubArguments(), {})
    assert "The model is a cross-encoder: it reads both" in (folders["cross-encoder"] / "README.md").read_text()
    calibrated = (folders["calibrated"] / "README.md").read_text()
    assert "The probabilities of `para` are calibrated on labelled rows (temperature 2.00, bias 0.50)" in calibrated


def test_a_run_replaces_the_card_of_the_run_before_but_no_readme_of_the_user(tiny_encoder, tmp_path, caplog):
    def train(task):
        flags = ("--max_steps", "1", "--overwrite_output_dir", "true")
        run_finetuning(parse_run(task, tiny_run(tiny_encoder, tmp_path, *flags)))

    card, notes = tmp_path / "README.md", b"my notes, not UTF-8: \xe9\n"
    card.write_bytes(notes)
    with caplog.at_level(logging.INFO, "extrabert_hf"):
        train("sts")
    assert card.read_bytes() == notes and f"{card} was written by hand and stays as it is" in caplog.text
    card.unlink()
    write_card(tmp_path)
    assert "| sts dev |" in card.read_text()
    train("sst")
    assert "| sst dev |" in card.read_text() and "| sts dev |" not in card.read_text()
    edited = card.read_text().replace(CARD_MARK, "") + "\nMy words.\n"
    card.write_text(edited)
    train("sts")
    assert card.read_text() == edited


def test_a_push_puts_the_repository_into_the_card(run_of):
    folder = run_of("sts")
    write_card(folder)
    local = (folder / "README.md").read_text()
    assert str(folder) not in local and 'model="."' in local and "The examples run in this folder" in local
    described(SharedRun(folder), "me/shared", HubArguments(), None)
    pushed = (folder / "README.md").read_text()
    assert '"."' not in pushed and "this folder." not in pushed and str(folder) not in pushed
    assert 'model="me/shared"' in pushed and "extrabert predict me/shared" in pushed


def test_a_push_warns_of_a_card_by_hand_that_loads_the_folder(run_of, caplog):
    folder = run_of("sts")
    write_card(folder)
    text = (folder / "README.md").read_text().replace(CARD_MARK, "Mine.")
    (folder / "README.md").write_text(text)
    described(SharedRun(folder), "me/shared", HubArguments(), None)
    assert (folder / "README.md").read_text() == text
    assert 'README.md loads the folder ".": write "me/shared" there' in caplog.text
    (folder / "README.md").write_text(text.replace('"."', f'"{folder}"'))
    described(SharedRun(folder), "me/shared", HubArguments(), None)
    assert f'README.md loads the folder "{folder}": write "me/shared" there' in caplog.text


def test_a_card_of_a_folder_with_old_code_names_no_embed(run_of):
    folder = run_of("sts")
    (folder / "pipeline_names_extrabert.py").unlink()
    write_card(folder)
    text = (folder / "README.md").read_text()
    assert "embed" not in text and "feature-extraction" not in text and "cross-encoder" not in text


def test_a_name_cannot_end_a_string_of_the_card(run_of):
    name = 'a "quoted" \\ naïve `name`'
    text = render_card(SharedRun(run_of("sts")), name, HubArguments(), {})
    assert json.dumps(name, ensure_ascii=False) in text
    assert f"extrabert predict {shlex.quote(name)} pairs.csv" in text
    for block in python_blocks(text):
        compile(block, "README.md", "exec")
