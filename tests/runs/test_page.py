import dataclasses
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from extrabert_hf.files import recorded, write_text
from extrabert_hf.inference.explanation import Explanation, to_html
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
    assert text.count("data:image/png;base64,") == 6 + 3 + 2  # classes, scores, training
    low, high = scores["sst"].intervals["accuracy"]
    expected = [f"{value:.3f}".replace("0.", ".", 1) for value in (scores["sst"].metrics["accuracy"], low, high)]
    assert f'{expected[0]}<td class="interval">[{expected[1]}, {expected[2]}]' in text
    for name, task in predictions.items():
        kind, what = ("most confident", "wrong predictions") if name == "sst" else ("largest", "errors")
        assert f"The {len(task.worst)} {kind} of {len(task.worst)} {what}" in text
        table = text.split(f'<table class="errors" id="errors-{name}">')[1].split("</table>")[0]
        assert table.count("<tr data-text=") == len(task.worst)
    assert len(text) < 5e6


def test_the_figures_stand_beside_the_page(page):
    path, *_ = page
    kinds = ["sst-by_label", "sst-by_length", "sst-confusion", "sst-label_counts"]
    kinds += ["sst-reliability", "sst-risk_coverage"]
    kinds += ["similar-2-by_label", "similar-2-by_length", "similar-2-scores", "training", "gradient_conflicts"]
    drawn = {file.name for file in (path.parent / "report_figures").iterdir()}
    assert drawn == {f"{kind}.{form}" for kind in kinds for form in ("png", "svg")} | {"notes.txt", "mine.svg"}


def css_of(text):
    """The rules of a page outside and inside of its `@media` blocks: a dictionary from condition to text."""
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    media = re.findall(r"@media ([^{]+?) \{((?:[^{}]|\{[^{}]*\})*)\}", style)
    outside = re.sub(r"@media [^{]+?\{(?:[^{}]|\{[^{}]*\})*\}", "", style)
    conditions = dict.fromkeys(["", *(condition for condition, _ in media)], "")
    for condition, rules in [("", outside), *media]:
        conditions[condition] += rules
    return conditions


def luminance(colour):
    digits = colour.lstrip("#") if len(colour) == 7 else "".join(2 * digit for digit in colour.lstrip("#"))
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


def contrast(first, second):
    light, dark = sorted([luminance(first), luminance(second)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def both_pages(page):
    words = [["a", "w" * 200], ["c"]]
    parts, probabilities = {"u": 0.5, "v" * 80: -1.0}, {"k" * 99: 0.9, "n": 0.1}
    explained = Explanation("x" * 90, words, [[0.25, 0.75], [1.0]], parts, probabilities)
    (page[0].parent / "explained.html").write_text(to_html(explained), encoding="utf-8")
    return {path: path.read_text(encoding="utf-8") for path in (page[0], page[0].parent / "explained.html")}


def test_pages_fit_a_phone_a_dark_system_and_paper(both_pages):
    for text in both_pages.values():
        css = css_of(text)
        assert '<html lang="en">' in text and '<meta name="viewport" content="width=device-width' in text
        assert '<meta name="color-scheme" content="light dark">' in text
        assert "print" in css and "screen and (prefers-color-scheme: dark)" in css
        for rules in css.values():  # a width that a small screen cannot have stands in min() or clamp(), or scrolls
            rules = re.sub(r"td\.text \{[^}]*\}", "", rules)
            for size, unit in re.findall(r"(?:(?<!max-)width: |minmax\()(\d+)(em|px)", rules):
                assert float(size) * (15 if unit == "em" else 1) <= 360, rules
        both = css[""], css["screen and (prefers-color-scheme: dark)"]
        colours = [dict(re.findall(r"--(\w+): (#\w+)", rules)) for rules in both]
        assert colours[0].keys() == colours[1].keys() and colours[0] != colours[1]
        for each in colours:
            assert min(contrast(each[name], each["page"]) for name in ("text", "soft", "link", "good", "bad")) >= 4.5
            assert contrast(each["text"], each["alert"]) >= 4.5


def test_tables_scroll_in_a_box_of_their_own_and_are_whole_on_paper(page):
    text, css = page[0].read_text(encoding="utf-8"), css_of(page[0].read_text(encoding="utf-8"))
    boxes = re.findall(r'<div class="wide[^"]*" role="region" aria-label="[^"]+" tabindex="0"><table', text)
    assert text.count("<table") == len(boxes) >= 3
    assert ".wide { overflow-x: auto }" in css[""]
    assert ".wide, .tall { overflow: visible; max-height: none }" in css["print"]
    assert not re.findall(r"<img(?![^>]* alt=\"[^\"]+\")", text)
    errors = re.search(r'<table class="errors" id="errors-similar-2">.*?</table>', text, re.DOTALL)[0]
    headings = re.findall(r"<th[^>]*>([^<]+)", errors)
    labels = re.findall(r'data-label="([^"]+)"', errors.split("</tr>")[1])
    assert [*labels, "text"] == headings  # what a phone shows beside each value


@pytest.mark.launch
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_no_page_scrolls_sideways_and_the_dark_one_is_dark(both_pages):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for path in both_pages:
            for width, scheme in ((390, "light"), (390, "dark"), (820, "dark"), (1400, "light")):
                shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                shown.goto(path.as_uri())
                assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path.name, width)
                back = shown.evaluate("getComputedStyle(document.body).backgroundColor")
                assert back == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(255, 255, 255)")
                shown.emulate_media(media="print", color_scheme=scheme)
                assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
                shown.close()
        browser.close()


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
