import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import softmax

from extrabert_hf.errors import InputError
from extrabert_hf.inference.calibration import calibrate_model
from extrabert_hf.inference.conformal import (
    calibrate_coverage,
    check_coverage,
    conformal_quantile,
    coverage_range,
    fit_intervals,
    fit_sets,
    rows_needed,
)
from extrabert_hf.inference.prediction_file import predict_file
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.models.conformal_extrabert import prediction_intervals, prediction_sets
from extrabert_hf.pretrained.building import build_model
from extrabert_hf.pretrained.loading import TrainedModel, load_model
from extrabert_hf.tasks import PAPER_TASKS

RANGE = (0.0, 5.0)


def draw_classes(draw, rows, classes=3):
    """Logits, and labels that are much less certain than their softmax: the guarantee holds for any model."""
    logits = draw.normal(scale=3.0, size=(rows, classes)).astype(np.float32)
    random = draw.random((rows, 1))
    labels = (softmax(0.4 * logits, axis=1).cumsum(axis=1) < random).sum(axis=1).clip(max=classes - 1)
    return logits, labels


def draw_scores(draw, rows):
    """Scores, and labels whose errors grow with the score."""
    scores = draw.uniform(0.5, 3.0, size=rows).astype(np.float32)
    return scores, scores + draw.normal(size=rows).clip(-3, 3) * 0.2 * scores


def covered_classes(logits, labels, conformal):
    return prediction_sets(torch.as_tensor(logits), conformal).numpy()[np.arange(len(labels)), labels]


def covered_scores(scores, labels, conformal):
    low, high = prediction_intervals(torch.as_tensor(scores), conformal, RANGE).numpy().T
    return (low <= labels) & (labels <= high)


def within(share, due, trials, errors=3.5):
    return abs(share - due) < errors * np.sqrt(due * (1 - due) / trials)


@pytest.mark.parametrize(("rows", "coverage"), [(10, 0.9), (20, 0.9), (9, 0.8), (25, 0.7)])
def test_the_coverage_over_many_draws_is_that_of_the_rank(rows, coverage):
    """With `n` rows and no equal values the coverage is exactly `ceil((n + 1) coverage) / (n + 1)`."""
    draw, trials = np.random.default_rng(0), 3000
    due = np.ceil(round((rows + 1) * coverage, 6)) / (rows + 1)
    sets, intervals = [], []
    for _ in range(trials):
        logits, labels = draw_classes(draw, rows + 1)
        sets.append(covered_classes(logits[-1:], labels[-1:], fit_sets(logits[:-1], labels[:-1], coverage))[0])
        scores, labels = draw_scores(draw, rows + 1)
        fitted = fit_intervals(scores[:-1], labels[:-1], coverage, RANGE)
        intervals.append(covered_scores(scores[-1:], labels[-1:], fitted)[0])
    assert within(np.mean(sets), due, trials), np.mean(sets)
    assert within(np.mean(intervals), due, trials), np.mean(intervals)


@pytest.mark.parametrize("method", ["lac", "aps", "class_conditional"])
def test_one_fit_to_many_rows_covers_new_rows(method):
    draw = np.random.default_rng(1)
    fitted = fit_sets(*draw_classes(draw, 4000), 0.8, method)
    logits, labels = draw_classes(draw, 20_000)
    low, high = coverage_range(4000, 0.8)
    assert low - 0.01 < covered_classes(logits, labels, fitted).mean() < high + 0.01
    sizes = prediction_sets(torch.as_tensor(logits), fitted).sum(dim=1)
    if method == "aps":
        assert sizes.min() == 1 and torch.as_tensor(logits).argmax(1).unique().numel() == 3


def test_only_class_conditional_sets_cover_a_class_that_the_model_neglects():
    draw = np.random.default_rng(2)
    logits, labels = draw_classes(draw, 40_000)
    logits[:, 2] -= 3.0
    by_method = {}
    for method in ("lac", "class_conditional"):
        hit = covered_classes(
            logits[20_000:], labels[20_000:], fit_sets(logits[:20_000], labels[:20_000], 0.9, method)
        )
        by_method[method] = [hit[labels[20_000:] == c].mean() for c in range(3)]
    assert by_method["lac"][2] < 0.85
    assert by_method["class_conditional"] == pytest.approx([0.9] * 3, abs=0.015)


def test_only_normalized_intervals_are_wide_where_errors_are_large():
    draw = np.random.default_rng(3)
    scores, labels = draw_scores(draw, 40_000)
    is_low = scores[20_000:] < 1.5
    found = {}
    for method in ("absolute", "normalized"):
        fitted = fit_intervals(scores[:20_000], labels[:20_000], 0.9, RANGE, method)
        hit = covered_scores(scores[20_000:], labels[20_000:], fitted)
        assert hit.mean() == pytest.approx(0.9, abs=0.01)
        found[method] = hit[is_low].mean() - hit[~is_low].mean()
    assert found["absolute"] > 0.08 and abs(found["normalized"]) < 0.03


def test_normalized_intervals_of_few_rows_cover_too():
    draw, trials = np.random.default_rng(4), 600
    hits = []
    for _ in range(trials):
        scores, labels = draw_scores(draw, 81)
        fitted = fit_intervals(scores[:-1], labels[:-1], 0.9, RANGE, "normalized")
        hits.append(covered_scores(scores[-1:], labels[-1:], fitted)[0])
    assert within(np.mean(hits), 37 / 41, trials), np.mean(hits)  # the quantile is of 40 rows


def test_scores_outside_of_the_range_count_as_its_ends():
    labels = np.linspace(0, 1, 20)
    fitted = fit_intervals(np.full(20, -9.0), labels, 0.9, RANGE)
    assert fitted["quantiles"] == pytest.approx([labels[18]])
    ends = prediction_intervals(torch.tensor([-9.0, 9.0]), fitted, RANGE)
    torch.testing.assert_close(ends, torch.tensor([[0.0, labels[18]], [5 - labels[18], 5.0]], dtype=torch.float32))


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99, 1 / 3])
def test_the_needed_rows_are_enough_and_one_row_less_is_not(coverage):
    needed = rows_needed(coverage)
    assert conformal_quantile(np.arange(needed), coverage) == needed - 1
    with pytest.raises(InputError, match=rf"needs {needed} rows or more, got {needed - 1}"):
        conformal_quantile(np.arange(needed - 1), coverage)


def test_rounding_does_not_move_the_rank():
    for percent in (55, 90, 95):  # 100 * 0.55 is 55.00000000000001 in floating point
        for rows in range(99, 2000, 100):
            assert conformal_quantile(np.arange(1, rows + 1), percent / 100) == (rows + 1) * percent // 100


@pytest.mark.parametrize(
    ("coverage", "method", "task", "message"),
    [
        (1.0, None, "sst", r"`coverage` must be above 0 and below 1, such as 0.9, got 1\."),
        (90, None, "sst", r"below 1, such as 0.9, got 90\."),
        (float("nan"), None, "sst", "got nan"),
        (
            0.9,
            "absolute",
            "sst",
            "one of 'lac', 'aps', 'class_conditional' for 'sst', which has classes, got 'absolute'",
        ),
        (0.9, "aps", "sts", "one of 'absolute', 'normalized' for 'sts', which has scores, got 'aps'"),
    ],
)
def test_wrong_arguments_are_named(coverage, method, task, message):
    with pytest.raises(InputError, match=message):
        check_coverage(coverage, method, PAPER_TASKS[task])


def trained_on(encoder, task):
    model, tokenizer = build_model(encoder, task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return TrainedModel(model, tokenizer, task)


def rows_of(task, count, labels):
    columns = {name: [f"{name} number {n}" for n in range(count)] for name in task.sentence_columns}
    return Dataset.from_dict(columns | {"label": [labels[n % len(labels)] for n in range(count)]})


def test_too_few_rows_are_counted_by_class(tiny_encoder):
    task = PAPER_TASKS["sst"]
    trained = trained_on(tiny_encoder, task)
    few = rows_of(task, 44, [0, 1, 2, 3, 4, 0, 1, 2, 3])
    with pytest.raises(
        InputError, match=r"needs 9 rows or more of each class for 'class_conditional', got 5 of 'very po"
    ):
        calibrate_coverage(trained, few, 0.9, "class_conditional")
    with pytest.raises(InputError, match=r"`coverage` 0.99 needs 99 rows or more, got 44"):
        calibrate_coverage(trained, few, 0.99)
    assert trained.model.config.conformal is None
    sts = PAPER_TASKS["sts"]
    with pytest.raises(
        InputError, match=r"needs 80 rows or more for 'normalized', got 44: .*--conformal_method absolute"
    ):
        calibrate_coverage(trained_on(tiny_encoder, sts), rows_of(sts, 44, [1.0, 2.0]), 0.9, "normalized")


@pytest.mark.parametrize("method", ["lac", "aps", "class_conditional"])
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl"])
def test_sets_are_predicted_by_the_saved_model(tiny_encoder, tmp_path, method, output):
    task = replace(PAPER_TASKS["sst"], class_names=("=a", 'b "c"', "d, e"))
    trained = trained_on(tiny_encoder, task)
    rows = rows_of(task, 120, [0, 1, 2])
    fitted = calibrate_coverage(trained, rows, 0.9, method)
    trained.save_pretrained(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.model.config.conformal == fitted
    predictor = Predictor((loaded,))
    (tmp_path / "in.csv").write_text("text\n" + "".join(f"{text}\n" for text in rows["sentence1"]))
    predict_file(predictor, str(tmp_path / "in.csv"), str(tmp_path / output))
    if output.endswith(".csv"):
        with (tmp_path / output).open(newline="") as file:
            found = [json.loads(row["prediction_set"]) for row in csv.DictReader(file)]
    else:
        found = [json.loads(line)["prediction_set"] for line in (tmp_path / output).read_text().splitlines()]
    logits = torch.as_tensor(predictor.predict(rows).logits)
    due = loaded.model.conformal_predictions(logits).tolist()
    assert found == [[name for name, is_in in zip(task.class_names, row, strict=True) if is_in] for row in due]
    hits = [task.class_names[label] in names for label, names in zip(rows["label"], found, strict=True)]
    assert np.mean(hits) >= 0.9 and {len(names) for names in found} != {3}


@pytest.mark.parametrize("method", ["absolute", "normalized"])
def test_intervals_are_predicted_by_the_saved_model(tiny_encoder, tmp_path, method):
    task = PAPER_TASKS["sts"]
    trained = trained_on(tiny_encoder, task)
    rows = rows_of(task, 120, [2.0, 3.5, 4.0, 5.0])
    calibrate_coverage(trained, rows, 0.8, method)
    trained.save_pretrained(tmp_path / "model")
    pairs = zip(rows["sentence1"], rows["sentence2"], strict=True)
    (tmp_path / "in.csv").write_text("sentence1,sentence2\n" + "".join(f"{a},{b}\n" for a, b in pairs))
    predict_file(Predictor.load(tmp_path / "model"), str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0])[-3:] == ["predicted_score", "lower", "upper"]
    ends = np.array([[float(row["lower"]), float(row["upper"])] for row in found])
    labels = np.array(rows["label"][:])
    assert ((ends[:, 0] - 1e-4 <= labels) & (labels <= ends[:, 1] + 1e-4)).mean() >= 0.7
    assert (ends[:, 1] > ends[:, 0]).all() and ends.min() >= 0 and ends.max() <= 5


def test_an_interrupted_prediction_with_other_quantiles_is_not_continued(tiny_encoder, tmp_path):
    task = PAPER_TASKS["sts"]
    trained = trained_on(tiny_encoder, task)
    (tmp_path / "in.csv").write_text("sentence1,sentence2\nA dog,A cat\n")
    widths = []
    for quantile in (0.25, 0.5):
        trained.model.config.conformal = {"method": "absolute", "coverage": 0.9, "rows": 9, "quantiles": [quantile]}
        with pytest.MonkeyPatch.context() as patch:
            if quantile == 0.25:
                patch.setattr("extrabert_hf.inference.prediction_parts.PredictionParts.join", _interrupt)
                with pytest.raises(KeyboardInterrupt):
                    predict_file(Predictor((trained,)), str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
                continue
            predict_file(Predictor((trained,)), str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
        with (tmp_path / "out.csv").open(newline="") as file:
            (row,) = csv.DictReader(file)
        score = min(max(float(row["predicted_score"]), 0), 5)
        widths = [score - float(row["lower"]), float(row["upper"]) - score]
    assert max(widths) == pytest.approx(0.5, abs=1e-3)


def _interrupt(*_):
    raise KeyboardInterrupt


def test_an_ensemble_has_no_sets_and_says_so(tiny_encoder, tmp_path, caplog):
    task = PAPER_TASKS["sst"]
    trained = trained_on(tiny_encoder, task)
    calibrate_coverage(trained, rows_of(task, 40, [0, 1, 2, 3, 4]), 0.9)
    (tmp_path / "in.csv").write_text("text\nA warm film\n")
    predict_file(Predictor((trained, trained)), str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert "prediction_set" not in (tmp_path / "out.csv").read_text()
    assert "the ensemble has no prediction sets or intervals" in caplog.text


def test_quantiles_do_not_outlive_the_weights(tiny_encoder, tmp_path, caplog):
    task = PAPER_TASKS["para"]
    trained = trained_on(tiny_encoder, task)
    rows = rows_of(task, 120, [0, 1, 1])
    calibrate_coverage(trained, rows, 0.9)
    trained.save_pretrained(tmp_path / "model")
    continued, _ = build_model(str(tmp_path / "model"), task)
    assert continued.config.conformal is None
    calibrate_model(trained, rows)
    assert trained.model.config.conformal is None
    assert "the prediction sets of para are removed" in caplog.text
