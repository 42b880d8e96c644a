import json
import re

import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.runs.comparison import compare_all, comparison_cells
from extrabert_hf.runs.report import report_finished
from extrabert_hf.runs.sides import read_sides
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run

pytestmark = pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")


@pytest.mark.parametrize("task", ["sts", "multitask"])
def test_a_run_leaves_its_report_and_a_finished_one_gets_the_same(task, finished_run, tmp_path):
    folder = finished_run(task)
    first = (folder / "report.html").read_text()
    output = report_finished([str(folder)], tmp_path / "again.html")

    def without_pictures(text):
        return re.sub(r"data:image/png;base64,[^\"]+", "", text)

    assert without_pictures(output.read_text()) == without_pictures(first)
    metrics = json.loads((folder / "metrics.json").read_text())["tasks"]
    for name in ("sst", "para", "sts") if task == "multitask" else ("sts",):
        assert f'<h2 id="{name}">' in first
        for value in metrics[name]["scores"]["dev"]["metrics"].values():
            assert f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1) in first
    assert ("encoder gradients" in first) == (task == "multitask")


def test_an_unfinished_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"must be folders of finished runs, .* has no metrics\.json"):
        report_finished([str(tmp_path)])


def test_a_page_has_a_limited_number_of_runs(tmp_path):
    words = [f"r{n}={tmp_path}" for n in range(21)]
    with pytest.raises(InputError, match=r"`runs` must be at most 20 for a page, got 21: use `extrabert compare`"):
        report_finished(words, tmp_path / "all.html")


def test_a_run_without_a_seed_is_named(run_of):
    folder = run_of("sts")
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["arguments"]["seed"]  # as of a model that was composed of runs with different seeds
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"must be folders of training runs, .* has no record of its seed"):
        report_finished([str(folder)])


def test_two_runs_stand_side_by_side_with_their_differences(tiny_encoder, tmp_path):
    flags = ["--max_steps", "20", "--learning_rate", "1e-2", "--logging_steps", "5", "--seed"]
    for name, seed in (("first", "1"), ("second", "2")):
        run_finetuning(parse_run("sts", tiny_run(tiny_encoder, tmp_path / name, *flags, seed)))
    words = [str(tmp_path / "first"), f"other={tmp_path / 'second'}"]
    page = report_finished(words, tmp_path / "pages" / "both.html")
    text = page.read_text()
    line = comparison_cells(compare_all(read_sides(words)))[0]
    verdict = line.pop("verdict")
    assert "".join(f"<td>{cell}" for cell in line.values()) + f'<td class="{verdict}">{verdict}</tr>' in text
    table = re.search(r'<table class="errors" id="errors-sts">.*?</table>', text, re.DOTALL)[0]
    assert "prediction of first" in table and "prediction of other" in table
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert [caption.split(": ")[0] for caption in captions] == ["first", "other"] * 4
    drawn = sorted(path.name for path in (tmp_path / "pages" / "both_figures").iterdir())
    kinds = ["sts-by_label", "sts-by_length", "sts-scores", "training"]
    expected = [f"{run}-{kind}.{form}" for run in ("first", "other") for kind in kinds for form in ("png", "svg")]
    assert drawn == sorted([*expected, "differences.png", "differences.svg"])
    with pytest.raises(InputError, match=r"`output` must name the page of several runs"):
        report_finished(words)
    with pytest.raises(InputError, match=r"`runs` must be one folder each, got b, c"):
        report_finished(["a=b,c"])
    with pytest.raises(InputError, match=r"`runs` must have names that can be part of a file name, got '\.\./a'"):
        report_finished([f"../a={tmp_path / 'first'}"])
    assert "<title>first and other, sts</title>" in text


def test_runs_whose_tasks_are_not_the_same_say_whose_each_is_and_what_is_not_compared(tiny_encoder, tmp_path):
    steps = ["--max_steps", "4"]
    run_finetuning(parse_run("sts", tiny_run(tiny_encoder, tmp_path / "one", *steps)))
    run_finetuning(parse_multitask_run(tiny_run(tiny_encoder, tmp_path / "two", *steps, "--tasks", "sst", "sts")))
    page = report_finished([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "both.html").read_text()
    assert "Not compared, because at least one run does not have the task: sst." in page
    assert "prediction of two" in re.search(r'<table class="errors" id="errors-sst">.*?</table>', page, re.DOTALL)[0]
    assert "two: Confusion matrix" in page


@pytest.mark.parametrize("file", ["a run's", "the data's"])
def test_other_rows_than_the_run_was_scored_on_are_refused(file, tiny_encoder, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "dev"):
        rows = [f"{n},a man plays {n},a woman plays {n},{n % 6}" for n in range(12)]
        (data / f"sts-{split}.csv").write_text("id,sentence1,sentence2,similarity\n" + "\n".join(rows) + "\n")
    for name in ("one", "two"):
        run_finetuning(parse_run("sts", tiny_run(tiny_encoder, tmp_path / name, "--max_steps", "2", data=data)))
    changed = tmp_path / "one" / "scored" / "sts-dev.csv" if file == "a run's" else data / "sts-dev.csv"
    changed.write_text(changed.read_text().replace("\n3,", "\n33,"))
    message = "must have the same ids and labels" if file == "a run's" else "`runs` must have unchanged dev rows"
    with pytest.raises(InputError, match=message):
        report_finished([str(tmp_path / "one"), str(tmp_path / "two")], tmp_path / "both.html")
