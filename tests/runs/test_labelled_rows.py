import csv
import json
from pathlib import Path

import numpy as np
import pytest

from extrabert_hf.cli.evaluate import main as evaluate
from extrabert_hf.data.loading import load_split
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.selective import risk_coverage
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.labelled_rows import LabelledRows, calibrate_saved, evaluate_saved, example_sentences
from extrabert_hf.runs.train_rows import Overlap
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.finetune import run_finetuning

from ..conftest import tiny_run
from .finished_runs import write_finished_run

# a random encoder of 16 dimensions often predicts one class for every row
pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")

KEEP = {"adjust_task": lambda task: task}


@pytest.fixture(scope="module")
def stars(tiny_encoder, tmp_path_factory):
    """A run on a csv file with columns of other names, which cuts off 120 of 400 rows."""
    folder = tmp_path_factory.mktemp("stars")
    with (folder / "reviews.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "shop", "review", "stars"])
        writer.writerows([f"k{n}", "a, b", f"film number {n}", 1 + n % 5] for n in range(400))
    flags = ["--max_steps", "2", "--task_name", "stars", "--class_names", *"12345", "--dev_fraction", "0.3"]
    flags += ["--sentence1_column", "review", "--label_column", "stars", "--id_column", "key"]
    run_finetuning(parse_run("sst", tiny_run(tiny_encoder, folder / "run", *flags, data=folder / "reviews.csv")))
    return folder


def test_the_first_line_counts_the_train_rows(stars):
    run, data = stars / "run", stars / "reviews.csv"
    first, *others = evaluate_saved(str(run), LabelledRows(str(data)), output=stars / "all.json", **KEEP).splitlines()
    assert json.loads((stars / "all.json").read_text())["train_rows"] == [280]
    dev = RunFolder(run).split_file("stars", "dev")
    assert first.startswith(f"280 of 400 rows are train rows of {run}") and str(dev) in first
    assert any(line.startswith("stars, reviews.csv, 400 rows") for line in others)


def test_the_rows_that_were_set_aside_are_the_default_and_give_the_scores_of_the_run(stars):
    run = RunFolder(stars / "run")
    given = LabelledRows(str(run.split_file("stars", "dev")))
    for rows in (LabelledRows(), given):
        text = evaluate_saved(str(run.path), rows, output=stars / "scores.json", **KEEP)
        assert text.startswith("none of 120 rows is a train row of")
        assert json.loads((stars / "scores.json").read_text())["metrics"] == (
            run.read_metrics().tasks["stars"].scores["dev"].metrics
        )
    with run.split_file("stars", "dev").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["key", "shop", "review", "stars"] and {row["shop"] for row in rows} == {"a, b"}
    with run.scored_file("stars", "dev").open(newline="") as file:
        scored = list(csv.DictReader(file))
    assert [(row["id"], row["true_class"]) for row in scored] == [(row["key"], row["stars"]) for row in rows]


def test_evaluate_chooses_a_threshold_and_draws_the_curve(stars, tmp_path):
    run, rows, output, figure = str(stars / "run"), LabelledRows(), tmp_path / "scores.json", tmp_path / "curve.svg"
    *_, areas = evaluate_saved(run, rows, output=output, **KEEP).splitlines()
    plain = json.loads(output.read_text())
    assert areas == f"AURC {plain['aurc']:.3f}, excess AURC {plain['excess_aurc']:.3f}" and "threshold" not in plain
    accuracy = plain["metrics"]["accuracy"]
    text = evaluate_saved(run, rows, output=output, figure=figure, target_accuracy=accuracy, **KEEP)
    *lines, last = text.splitlines()
    assert last == f"figure in {figure}"
    found = json.loads(output.read_text())["threshold"]
    assert found == {**found, "abstain_below": 0.0, "answered": 120, "rows": 120, "accuracy": accuracy}
    assert lines[-2].startswith(f"answering all 120 rows gives an accuracy of {accuracy:.3f} [")
    assert lines[-2].endswith("extrabert predict --abstain_below 0.0") and "the same 120 rows" in lines[-1]
    assert areas in figure.read_text()
    *_, last = evaluate_saved(run, rows, output=output, target_accuracy=1.0, **KEEP).splitlines()
    assert last.startswith("no share of 30 rows or more reaches an accuracy of 1; the best is 0.")
    assert json.loads(output.read_text())["threshold"] is None


def test_the_threshold_of_bf16_is_of_the_predictions_in_bf16(stars, tmp_path, capsys):
    run, output = str(stars / "run"), tmp_path / "scores.json"
    words = [run, "--output", str(output), "--target_accuracy", "0.05"]
    found = {}
    for bf16 in (False, True):
        evaluate([*words, *["--bf16"] * bf16])
        command = "extrabert predict --bf16 --abstain_below" if bf16 else "extrabert predict --abstain_below"
        assert f"]: {command} " in capsys.readouterr().out
        found[bf16] = json.loads(output.read_text())
        predictor = Predictor.load(run, bf16=bf16)
        _, dataset, _ = LabelledRows().load(run, predictor.task)
        predictions = predictor.predict(dataset)
        curve = risk_coverage(predictions.confidences, predictions.values == predictions.labels)
        assert found[bf16]["aurc"] == pytest.approx(curve.aurc, abs=1e-12)
    assert found[True]["aurc"] != found[False]["aurc"]


def test_evaluate_abstains_for_classes_only(stars, tiny_encoder, tmp_path):
    for name, value in (("target_accuracy", 95.0), ("figure", tmp_path / "curve.xyz")):
        with pytest.raises(InputError, match=f"`{name}` must"):
            evaluate_saved(str(stars / "run"), LabelledRows(), **{name: value}, **KEEP)
    spec = PAPER_TASKS["sts"]
    model, tokenizer = build_model(tiny_encoder, spec)
    TrainedModel(model, tokenizer, spec).save_pretrained(tmp_path / "sts")
    for name, value in (("target_accuracy", 0.9), ("figure", tmp_path / "curve.svg")):
        with pytest.raises(InputError, match=f"`{name}` is for classes, but 'sts' has scores"):
            evaluate_saved(str(tmp_path / "sts"), LabelledRows("sample"), **{name: value}, **KEEP)
    assert "AURC" not in evaluate_saved(str(tmp_path / "sts"), LabelledRows("sample"), **KEEP)


def test_the_rows_that_were_set_aside_are_not_named_as_other_rows(stars, monkeypatch):
    overlap = Overlap("run", np.array([True] + [False] * 119), set_aside=Path("dev.csv"))
    monkeypatch.setattr("extrabert_hf.runs.labelled_rows.find_overlap", lambda *_: overlap)
    first = evaluate_saved(str(stars / "run"), LabelledRows(), **KEEP).splitlines()[0]
    assert first == "1 of 120 rows are train rows of run: new rows get worse scores"


def test_calibrate_does_not_propose_the_rows_that_it_has_got(stars, tmp_path, monkeypatch):
    overlap = Overlap("run", np.array([True] * 60 + [False] * 60), set_aside=Path("dev.csv"))
    monkeypatch.setattr("extrabert_hf.runs.labelled_rows.find_overlap", lambda *_: overlap)
    with pytest.raises(InputError, match="got 60 train rows of 120: give --allow_train_rows true"):
        calibrate_saved(str(stars / "run"), LabelledRows(), tmp_path / "new", **KEEP)


def test_each_model_of_an_ensemble_is_looked_up(stars):
    run = str(stars / "run")
    lines = evaluate_saved(f"{run},{run}", LabelledRows(str(stars / "reviews.csv")), **KEEP).splitlines()
    assert [line.startswith("280 of 400") for line in lines[:3]] == [True, True, False]


def test_a_model_is_not_calibrated_on_its_train_rows(stars, tmp_path, caplog):
    run, data = str(stars / "run"), stars / "reviews.csv"
    with pytest.raises(InputError, match=r"got 280 train rows of 400: give --data .*stars-dev.csv, or --allow_train"):
        calibrate_saved(run, LabelledRows(str(data)), tmp_path / "new", **KEEP)
    with pytest.raises(InputError, match="`split` must be 'dev' or 'test' to calibrate"):
        calibrate_saved(run, LabelledRows(str(data), split="train"), tmp_path / "new", **KEEP)
    assert calibrate_saved(run, LabelledRows(), tmp_path / "new", **KEEP).rows == 120
    everything = calibrate_saved(run, LabelledRows(str(data)), tmp_path / "all", allow_train_rows=True, **KEEP)
    assert everything.rows == 400
    dev, train = (Path(run) / "splits" / "stars-dev.csv").read_text(), data.read_text().splitlines()
    few = [line for line in train[1:] if line not in dev][:5]
    (tmp_path / "mixed.csv").write_text(dev + "\n".join(few))
    assert calibrate_saved(run, LabelledRows(str(tmp_path / "mixed.csv")), tmp_path / "few", **KEEP).rows == 120
    assert "5 of 125 rows are train rows" in caplog.text
    first = evaluate_saved(str(tmp_path / "few"), LabelledRows(str(data)), **KEEP).splitlines()[0]
    assert first.startswith("280 of 400 rows are train rows of")


def test_prediction_sets_are_fitted_to_rows_that_are_no_train_rows(stars, tmp_path):
    run, data, new = str(stars / "run"), stars / "reviews.csv", tmp_path / "new"
    with pytest.raises(InputError, match="`conformal_method` 'aps' needs --coverage"):
        calibrate_saved(run, LabelledRows(), new, conformal_method="aps", **KEEP)
    with pytest.raises(InputError, match="`coverage` must be above 0 and below 1"):
        calibrate_saved(run, LabelledRows("missing.csv"), new, coverage=9, **KEEP)  # before the rows are read
    with pytest.raises(InputError, match="got 280 train rows of 400"):
        calibrate_saved(run, LabelledRows(str(data)), new, coverage=0.9, **KEEP)
    assert not (new / "config.json").exists()
    assert calibrate_saved(run, LabelledRows(), new, coverage=0.9, conformal_method="aps", **KEEP) is None
    config = json.loads((new / "config.json").read_text())
    assert {name: config["conformal"][name] for name in ("method", "coverage", "rows")} == {
        "method": "aps",
        "coverage": 0.9,
        "rows": 120,
    }
    assert not RunFolder(new).calibration_file.exists()
    scores = [evaluate_saved(name, LabelledRows(str(data)), **KEEP).splitlines()[-2] for name in (run, str(new))]
    assert scores[0] == scores[1]  # the weights are the same


def test_scores_in_another_range_are_not_calibrated_on(tiny_encoder, tmp_path):
    spec = PAPER_TASKS["sts"]
    model, tokenizer = build_model(tiny_encoder, spec)
    TrainedModel(model, tokenizer, spec).save_pretrained(tmp_path / "sts")
    for rows, most in ((25, 1), (24, 1), (25, 4)):
        with (tmp_path / "pairs.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["sentence1", "sentence2", "score"])
            writer.writerows([f"one {n}", f"two {n}", most * n / (rows - 1)] for n in range(rows))
        words = str(tmp_path / "sts"), LabelledRows(str(tmp_path / "pairs.csv")), tmp_path / f"new{rows}{most}"
        if (rows, most) != (25, 1):
            calibrate_saved(*words, coverage=0.5, **KEEP)
            continue
        with pytest.raises(
            InputError, match=r"pairs.csv go from 0 to 1, .* from 0 to 5: .* train a model with `--label_max 1`"
        ):
            calibrate_saved(*words, coverage=0.5, **KEEP)
        assert not (words[-1] / "config.json").exists()


def test_rows_must_be_named_if_none_were_set_aside(stars, tmp_path):
    calibrate_saved(str(stars / "run"), LabelledRows(), tmp_path / "new", **KEEP)
    with pytest.raises(InputError, match=r"`data` must name labelled rows, got none, and .*new has set no dev rows"):
        evaluate_saved(str(tmp_path / "new"), LabelledRows(), **KEEP)
    with pytest.raises(InputError, match="`data` must be given for `split` 'test'"):
        evaluate_saved(str(stars / "run"), LabelledRows(split="test"), **KEEP)


def test_a_run_in_the_same_folder_with_dev_rows_of_its_own_leaves_no_rows_of_the_run_before(stars, tiny_encoder):
    run, dev = RunFolder(stars / "second"), stars / "dev.csv"
    flags = ["--max_steps", "1", "--overwrite_output_dir", "true", "--task_name", "stars", "--class_names", *"12345"]
    flags += ["--sentence1_column", "review", "--label_column", "stars"]
    for more in ([], ["--dev_data", str(dev)]):
        dev.write_text("review,stars\nother,1\nnew,2\n")
        run_finetuning(parse_run("sst", tiny_run(tiny_encoder, run.path, *flags, *more, data=stars / "reviews.csv")))
        assert run.split_file("stars", "dev").exists() == (not more)


def test_the_examples_of_a_demo_are_dev_rows_with_different_labels(tmp_path):
    run = write_finished_run(tmp_path / "run", "sst", ["a", "b"], [0, 1], [0, 1])
    assert example_sentences([str(run.path)]) == []  # its rows are in a file that does not exist
    record = json.loads(run.metrics_file.read_text())
    record["tasks"]["sst"]["data"]["data"] = "sample"
    run.metrics_file.write_text(json.dumps(record))
    found = example_sentences([f"a={run.path}", str(tmp_path), "someone/a-hub-id", str(run.path)])
    rows = load_split(PAPER_TASKS["sst"], "sample", "dev").splits["dev"]
    label_of = dict(zip(rows["sentence1"], rows["label"], strict=True))
    assert len({label_of[first] for first, _ in found}) == len(found) == 3
    assert all(second == "" and len(first) <= 200 for first, second in found)


def test_the_examples_of_a_demo_are_the_rows_that_the_run_cut_off(stars):
    with RunFolder(stars / "run").split_file("stars", "dev").open(newline="") as file:
        cut_off = {row["review"] for row in csv.DictReader(file)}
    found = {first for first, _ in example_sentences([str(stars / "run")])}
    assert len(found) == 3 and found <= cut_off
