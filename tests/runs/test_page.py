import dataclasses
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from extrabert_hf.files import recorded, write_text
from extrabert_hf.runs.page import ReportedRun, write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HISTORY = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5, "eval_sst_accuracy": 0.4}]
CLICKS = """
<script>
const rows = () => [...document.querySelectorAll("#errors-similar-2 tbody tr")].filter(row => !row.hidden)
const cells = column => rows().map(row => row.cells[column].textContent)
const heads = document.querySelectorAll("#errors-similar-2 th")
const shown = {before: cells(0)}
heads[0].click()
shown.ascending = cells(0)
heads[0].click()
shown.descending = cells(0)
heads[2].click()
shown.predictions = cells(2)
const input = document.querySelector("input[data-filter=errors-similar-2]")
input.value = "a GUITAR in"
input.dispatchEvent(new Event("input"))
shown.filtered = rows().map(row => row.dataset.text)
document.title = JSON.stringify(shown)
</script>
"""


@pytest.fixture
def page(reported, tmp_path):
    sst, sts = reported("sst"), reported("sts")
    # predictions sort by sign too
    logits = sts.predictions.logits - 10 * (np.arange(24) < 4)[:, np.newaxis]
    tasks = {
        "sst": dataclasses.replace(sst, explanations={}),  # as for small errors: plain text
        "similar-2": dataclasses.replace(sts, predictions=dataclasses.replace(sts.predictions, logits=logits)),
    }
    predictions = {name: task.predictions for name, task in tasks.items()}
    scores = {name: task.score(train_labels=task.labels) for name, task in predictions.items()}
    path = tmp_path / "report.html"
    with recorded(tmp_path):
        write_text(tmp_path / "report_figures" / "earlier.svg", "")
    for name in ("notes.txt", "mine.svg"):
        (tmp_path / "report_figures" / name).touch()
    conflicts = [(step, "sst", "similar-2", -0.5) for step in (1, 2)]
    write_report(path, [ReportedRun("run", "seed 1", tasks, scores, HISTORY, conflicts)], title="a & b")
    return path, predictions, scores


def test_a_page_holds_scores_figures_and_errors_and_needs_nothing_else(page):
    path, predictions, scores = page
    text = path.read_text(encoding="utf-8")
    assert "<title>a &amp; b</title>" in text and "&lt;b&gt;not&lt;/b&gt; &amp; dull" in text
    assert not re.findall(r"https?://|src=\"(?!data:)|@import|<link", text)
    assert text.count("data:image/png;base64,") == 5 + 3 + 2  # classes, scores, training
    low, high = scores["sst"].intervals["accuracy"]
    expected = [f"{value:.3f}".replace("0.", ".", 1) for value in (scores["sst"].metrics["accuracy"], low, high)]
    assert f"{expected[0]}<td>[{expected[1]}, {expected[2]}]" in text
    for name, task in predictions.items():
        kind, what = ("most confident", "wrong predictions") if name == "sst" else ("largest", "errors")
        assert f"The {len(task.worst)} {kind} of {len(task.worst)} {what}" in text
        table = text.split(f'<table id="errors-{name}">')[1].split("</table>")[0]
        assert table.count("<tr data-text=") == len(task.worst)
    assert len(text) < 5e6


def test_the_figures_stand_beside_the_page(page):
    path, *_ = page
    kinds = ["sst-by_label", "sst-by_length", "sst-confusion", "sst-label_counts", "sst-reliability"]
    kinds += ["similar-2-by_label", "similar-2-by_length", "similar-2-scores", "training", "gradient_conflicts"]
    drawn = {file.name for file in (path.parent / "report_figures").iterdir()}
    assert drawn == {f"{kind}.{form}" for kind in kinds for form in ("png", "svg")} | {"notes.txt", "mine.svg"}


@pytest.mark.launch
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_the_errors_sort_and_filter_without_an_error_on_the_console(page, tmp_path):
    path, predictions, _ = page
    clicked = tmp_path / "clicked.html"
    clicked.write_text(path.read_text(encoding="utf-8") + CLICKS, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *flags, clicked.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    shown = json.loads(html.unescape(re.search(r"<title>(.+)</title>", done.stdout)[1]))
    task = predictions["similar-2"]
    sizes = [f"{task.errors[row]:.3f}" for row in task.worst]
    assert shown["before"] == shown["descending"] == sizes and shown["ascending"] == sizes[::-1]
    assert shown["predictions"] == sorted(shown["predictions"], key=float) and float(shown["predictions"][0]) < -1
    due = [row for row in task.worst if "guitar" in " ".join(task.sentences[row])]
    assert len(shown["filtered"]) == len(due) > 0 and all("guitar" in text for text in shown["filtered"])
