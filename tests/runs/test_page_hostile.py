"""Pages and figures of data that nobody expects: many classes, text that is a format elsewhere, one row."""

import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

from extrabert_hf.files import write_json
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.class_figures import MOST_CLASSES, class_table, plot_confusion, shown_classes
from extrabert_hf.runs.comparison import Comparison
from extrabert_hf.runs.error_table import ReportedPredictions
from extrabert_hf.runs.figure_text import figure_text
from extrabert_hf.runs.figures import MOST_DIFFERENCES, plot_conflicts, plot_curves, plot_differences, plot_scores
from extrabert_hf.runs.page import ReportedRun, TaskData, write_report
from extrabert_hf.tasks import TaskSpec

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
HOSTILE = (
    r"$\frac$",
    "a $ b",
    "<script>alert(1)</script>",
    "</script>",
    "日本語",
    "😀",
    "\u202egpj",
    "zero\u200bwidth",
)
HOSTILE += ("new\nline", "bell\x07", "\ud800", "' onload=x \"", "`|*", "", "x" * 10_000)


def predictions_of(class_names, rows, texts=("a b",)):
    generator, classes = np.random.default_rng(0), len(class_names)
    labels = generator.integers(classes, size=rows)
    logits = generator.normal(size=(rows, classes)).astype(np.float32)
    sentences = [(texts[row % len(texts)],) for row in range(rows)]
    task = TaskSpec("own", "sentiment", class_names=tuple(class_names))
    return Predictions(task, [str(row) for row in range(rows)], sentences, logits, labels)


def write_page(path, predictions, name="run", **fields):
    scores = predictions.score(train_labels=predictions.labels)
    run = ReportedRun(name, "", {"own": ReportedPredictions(predictions, {})}, {"own": scores}, **fields)
    write_report(path, [run], title=f"{name}, own")
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def test_no_text_of_the_data_becomes_html_or_a_formula_and_nothing_warns(tmp_path):
    predictions = predictions_of(HOSTILE, 60, HOSTILE)
    fields = {"data": [TaskData("own", "<b>.csv", {"train": 3}, 2)], "rejected": [("<i>", "</td><script>", 2)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = write_page(tmp_path / "report.html", predictions, r"$\frac$ <script>", warnings=["<script>"], **fields)
    tags = Tags()
    tags.feed(text)
    names = [tag for tag, _ in tags.seen]
    assert names.count("script") == 1 and "i" not in names and names.count("b") == 1  # "Warning:"
    assert not [names for _, names in tags.seen if "onload" in names]
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\ud800-\udfff]", text)
    assert len(text) < 2e6  # 10,000 characters of a name in each cell would be more


def test_a_page_of_a_thousand_classes_is_small_and_lists_them(tmp_path):
    predictions = predictions_of([f"class {n}" for n in range(1000)], 3000)
    text = write_page(tmp_path / "report.html", predictions)
    assert len(text) < 2e6 and text.count("of the 30 classes with the most errors, of 1,000 classes") == 6
    assert all(f'<td class="name">class {n}<td' in text for n in range(1000))


def test_the_figure_shows_the_most_confused_classes():
    labels, values = np.arange(100).repeat(3), np.arange(100).repeat(3)
    values[3 * 40 : 3 * 45] += 50  # wrong: the labels 40 to 44, which the model takes for 90 to 94
    assert set(shown_classes(labels, values, 100)) >= {*range(40, 45), *range(90, 95)}
    figure = plot_confusion(labels, values, [f"name {n}" for n in range(100)], "all")
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(names) == MOST_CLASSES and {"name 40", "name 94"} <= set(names)
    cells = {text.get_text() for text in figure.axes[0].texts}
    assert cells == {"3"}
    assert max(figure.get_size_inches()) < 20


def test_the_classes_are_counted_exactly():
    predictions = predictions_of([f"class {n}" for n in range(40)], 500)
    labels, values = predictions.labels, predictions.values
    lines = class_table({"run": predictions})
    assert [line.rows - line.correct for line in lines] == sorted(
        (line.rows - line.correct for line in lines), reverse=True
    )
    for line in lines:
        wrong = values[(labels == line.id) & (values != line.id)]
        assert (line.rows, line.predicted) == ((labels == line.id).sum(), (values == line.id).sum())
        assert line.correct == ((labels == line.id) & (values == line.id)).sum()
        name, rows = re.fullmatch(r"class (\d+) \((\d+)\)", line.confused_with).groups()
        assert int(rows) == (wrong == int(name)).sum() == np.bincount(wrong).max()


def test_few_classes_with_plain_names_need_no_table():
    assert class_table({"run": predictions_of(["bad", "good"], 9)}) == []
    assert len(class_table({"run": predictions_of(["bad", "日本語"], 9)})) == 2  # the figure cannot name it


def test_a_page_of_one_row_is_written(tmp_path):
    text = write_page(tmp_path / "report.html", predictions_of(["a", "b", "c"], 1))  # two classes have no row
    assert "Confusion matrix" in text


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_a_figure_is_short_printable_and_no_formula(text):
    shown = figure_text(text)
    assert shown.replace(r"\$", "").count("$") == 0 and shown.isprintable() and len(shown.replace(r"\$", "$")) <= 28


def test_other_figures_have_a_fixed_size_too():
    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 5, 30_000)
    figure = plot_scores(scores, scores, (0, 5), "scores, 30,000 rows")
    assert len(figure.axes[0].collections[0].get_offsets()) == 20_000
    assert figure.axes[1].get_title().endswith("20,000 of them drawn")
    tasks = [f"task{n}" for n in range(20)]
    conflicts = [(step, a, b, 0.1) for step in range(3) for a in tasks for b in tasks if a < b]
    assert len(plot_conflicts(conflicts).axes[0].get_legend().get_texts()) == 12
    history = [{"step": 1, "loss": 1.0}, {"step": 1} | {f"eval_{task}_accuracy": 0.5 for task in tasks}]
    assert len(plot_curves(history, dict.fromkeys(tasks, "accuracy")).axes[1].get_legend().get_texts()) == 12


def test_differences_of_many_runs_fit_into_a_figure():
    values = (0, 0, 0.1, 0, 0.2, 1, 1)
    name = r"$\frac$" + "a" * 500
    lines = [Comparison("own", "f1", name, f"b{n}", *values, n / 1000, None, 1, "level") for n in range(1000)]
    figure = plot_differences(lines)
    assert figure.get_size_inches()[1] < 30 and len(figure.axes[0].get_yticklabels()) == MOST_DIFFERENCES
    assert figure.axes[0].get_title() == "The 60 of 1,000 comparisons with the smallest p"
    figure.canvas.draw()  # a formula would raise


def test_a_number_that_json_does_not_have_is_null(tmp_path):
    write_json(tmp_path / "it.json", {"loss": [float("nan"), float("inf"), 1.5, {"x": -float("inf")}]})
    assert json.loads((tmp_path / "it.json").read_text(), parse_constant=pytest.fail) == {
        "loss": [None, None, 1.5, {"x": None}]
    }
