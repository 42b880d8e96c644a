import json
from pathlib import Path

import numpy as np
import pytest

from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.inference.calibration import Calibration
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import run_finetuning

from ..conftest import SAMPLES, tiny_run

# a random encoder of 16 dimensions often predicts one class for every row
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")

CALIBRATED = ("--calibrate", "true")


@pytest.fixture
def train(tiny_encoder, tmp_path):
    def run(task, *argv, output="run"):
        flags = ["--max_steps", "20", "--learning_rate", "1e-3", *argv]
        argv = tiny_run(tiny_encoder, tmp_path / output, *flags)
        run_finetuning(parse_multitask_run(argv) if task == "multitask" else parse_run(task, argv))
        return tmp_path / output

    return run


@pytest.fixture
def many_dev_rows(tmp_path):
    """A folder of the bundled sample whose dev rows are enough: those of train, each with one word more."""
    folder = tmp_path / "data"
    folder.mkdir()
    for stem in ("ids-sst", "quora", "sts"):
        text = (SAMPLES / f"{stem}-train.csv").read_text(encoding="utf-8")
        (folder / f"{stem}-train.csv").write_text(text, encoding="utf-8")
        header, *rows = (line.split("\t") for line in text.splitlines())
        first = min(header.index(name) for name in ("sentence", "sentence1") if name in header)
        lines = ["\t".join([*row[:first], f"{row[first]} indeed", *row[first + 1 :]]) for row in rows]
        (folder / f"{stem}-dev.csv").write_text("\n".join(["\t".join(header), *lines]), encoding="utf-8")
    return str(folder)


def logits_of(folder, task, data):
    trained = load_model(str(folder), task)
    rows = load_split(trained.task, data, "dev").splits["dev"]
    return Predictor((trained,)).predict(rows).logits, trained.task, rows


@pytest.mark.parametrize(
    ("recipe", "task"), [("sst", None), ("para", None), ("multitask", "para"), ("multitask", "sts")]
)
def test_the_saved_model_is_calibrated(recipe, task, train, many_dev_rows):
    plain = train(recipe, "--data", many_dev_rows, output="plain")
    folder = train(recipe, "--data", many_dev_rows, *CALIBRATED, output="calibrated")
    entry = json.loads((folder / "metrics.json").read_text())["tasks"][task or recipe]
    expected, spec, rows = logits_of(plain, task, many_dev_rows)
    logits, _, _ = logits_of(folder, task, many_dev_rows)
    report = entry["calibration"]
    if spec.is_regression:
        assert report is None
    else:
        assert (report["rows"], report["temperature"] == 1.0) == (260, False)
        expected = Calibration(report["temperature"], report["bias"]).apply(expected)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    scores = Predictor.load(str(folder), task).predict(rows).score()
    assert scores.metrics == entry["scores"]["dev"]["metrics"]


@pytest.mark.parametrize(
    ("recipe", "argv", "message"),
    [
        ("para", ("--lora", "true"), "`calibrate` can't be combined with `lora`"),
        ("sts", (), "`calibrate` is for classes, but 'sts' has scores"),
        ("para", (), "`calibrate` needs 100 dev rows or more, 'para' has 90"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_training(recipe, argv, message, train):
    with pytest.raises(InputError, match=message):
        train(recipe, "--data", "sample", *CALIBRATED, *argv)


def test_dev_rows_of_one_class_are_refused_before_training(train, many_dev_rows):
    dev = Path(many_dev_rows) / "quora-dev.csv"
    head, *rows = dev.read_text().splitlines(keepends=True)
    dev.write_text("".join([head, *[row for row in rows if row.rstrip().endswith("1.0")]]))
    with pytest.raises(InputError, match="`calibrate` needs dev rows of two classes or more, those of 'para' are"):
        train("para", "--data", many_dev_rows, *CALIBRATED)


def test_train_rows_among_the_dev_rows_are_refused_before_training(train, many_dev_rows):
    rows = Path(many_dev_rows) / "quora-train.csv"
    (Path(many_dev_rows) / "quora-dev.csv").write_bytes(rows.read_bytes())
    with pytest.raises(InputError, match=r"`calibrate` needs dev rows that are no train rows, 260 of 260 .*'para'"):
        train("para", "--data", many_dev_rows, *CALIBRATED)
