import csv
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import bootstrap_interval, paired_bootstrap
from extrabert_hf.evaluation.formulas import accuracy, pearson
from extrabert_hf.evaluation.significance import holm_adjusted, mcnemar_test, williams_test
from extrabert_hf.paper.rows import TABLE1, run_folder
from extrabert_hf.paper.table1 import ladder, score_cells, table1, write_tables
from extrabert_hf.runs.tables import to_latex
from extrabert_hf.tasks import PAPER_TASKS
from tests.runs.finished_runs import write_finished_run

ROWS = 80
SETTINGS = "MiniLM-L6, 50 % of 1_000 steps, seeds 1 & 2"
MAJORITY = {"sst": {"accuracy": 0.25}, "para": {"accuracy": 0.625}, "sts": {"mse": 2.0}}
GENERATOR = np.random.default_rng(0)
LABELS = {
    "sst": GENERATOR.integers(5, size=ROWS),
    "para": GENERATOR.integers(2, size=ROWS),
    "sts": GENERATOR.uniform(0, 5, size=ROWS).round(1),
}


def answers(right):
    """Predictions by task of a model that knows the first share `right` of the rows, and is wrong on the others."""
    known = np.arange(ROWS) < round(right * ROWS)
    return {
        "sst": np.where(known, LABELS["sst"], (LABELS["sst"] + 1) % 5),
        "para": np.where(known, LABELS["para"], 1 - LABELS["para"]),
        "sts": np.where(known, LABELS["sts"], LABELS["sts"][::-1]) + 0.01,
    }


def write_run(root, name, seed, predictions, labels=LABELS):
    """Leaves the files of finished runs of a row: predictions by task."""
    for task, column in predictions.items():
        folder = run_folder(root, TABLE1[name], seed, task)
        rows = range(ROWS), labels[task].tolist(), column
        write_finished_run(folder, task, *rows, tasks=predictions, majority=MAJORITY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Runs of five rows: one step up, one level, one down, one of several seeds; the others not run."""
    root = tmp_path_factory.mktemp("table1")
    write_run(root, "baseline", 1, answers(0.4))
    write_run(root, "rr", 1, answers(0.9))
    write_run(root, "rr_cs", 1, answers(0.9))
    write_run(root, "rr_cs_gs", 1, answers(0.5))
    write_run(root, "sft", 1, answers(0.90))
    write_run(root, "sft", 2, answers(0.95))
    (root / "sft_cs" / "seed-1" / "sst").mkdir(parents=True)
    return root


@pytest.fixture(scope="module")
def scores(root):
    return {row.row.name: row.columns() for row in table1(root)}


@pytest.fixture(scope="module")
def steps(root):
    return {(step.row, step.task): asdict(step) for step in ladder(root)}


@pytest.fixture(scope="module")
def written(root):
    markdown = write_tables(root, SETTINGS)
    return markdown, {path.name: path.read_text(encoding="utf-8") for path in root.glob("table1*")}


def test_scores_stand_in_the_papers_order_beside_the_papers(scores):
    assert list(scores) == list(TABLE1)
    for name, line in scores.items():
        assert {task: line[f"{task}_paper"] for task in PAPER_TASKS} == TABLE1[name].scores
    assert scores["sft_ma_cs"]["overall_2023_paper"] == pytest.approx((0.526 + 0.880 + 0.873) / 3)
    assert scores["sft_ma_cs"]["overall_2024_paper"] == pytest.approx((0.526 + 0.880 + 1.873 / 2) / 3)


def test_a_score_is_the_mean_over_seeds_with_its_interval(scores):
    one, two = scores["rr_cs_gs"], scores["sft"]
    assert (one["sst_ours"], one["sst_sd"], one["sst_seeds"]) == (0.5, None, 1)
    assert (one["sst_low"], one["sst_high"]) == bootstrap_interval(accuracy, answers(0.5)["sst"], LABELS["sst"])
    assert (two["sst_ours"], two["sst_sd"]) == pytest.approx((0.925, 0.05 / 2**0.5))
    assert two["sst_seeds"] == 2
    assert two["sst_low"] < 0.925 < two["sst_high"]
    assert one["overall_2023_ours"] == pytest.approx(np.mean([one[f"{task}_ours"] for task in PAPER_TASKS]))
    assert one["overall_2024_ours"] == pytest.approx((1 + (one["sts_ours"] + 1) / 2) / 3)


def test_a_row_without_runs_has_no_figure_of_ours(scores):
    for name in ("sft_cs", "sft_dpa_cs", "sft_ma_cs"):
        ours = {key: value for key, value in scores[name].items() if not key.endswith("_paper")}
        assert set(ours.values()) <= {name, TABLE1[name].label, None, "", scores[name]["unfinished"]}
    assert scores["sft_cs"]["unfinished"].split() == [f"sft_cs/seed-1/{task}" for task in PAPER_TASKS]


def test_a_row_that_lacks_a_task_has_no_overall_score(tmp_path):
    write_run(tmp_path, "sft", 1, {name: answers(0.9)[name] for name in ("sst", "sts")})
    line = next(row.columns() for row in table1(tmp_path) if row.row.name == "sft")
    assert line["sst_ours"] == 0.9
    assert (line["para_ours"], line["overall_2023_ours"], line["overall_2024_ours"]) == (None, None, None)
    assert line["unfinished"] == "sft/seed-1/para"


@pytest.mark.parametrize("task", PAPER_TASKS)
def test_the_verdict_is_as_the_runs_were_made(steps, task):
    assert steps["rr", task]["verdict"] == "up"
    assert steps["rr_cs", task]["verdict"] == "level"
    assert steps["rr_cs_gs", task]["verdict"] == "down"
    assert steps["sft_cs", task]["verdict"] == "not run"


def test_each_step_is_against_the_row_it_builds_on(steps):
    assert len(steps) == 7 * 3
    assert steps["sft", "sst"]["against"] == "rr"
    assert steps["rr", "sts"]["paper"] == 0.483
    assert steps["rr", "sst"]["ours"] == pytest.approx(0.5)
    assert steps["sft", "sst"]["ours"] == pytest.approx(0.025)
    expected = paired_bootstrap(pearson, answers(0.4)["sts"], answers(0.9)["sts"], LABELS["sts"])
    step = steps["rr", "sts"]
    assert (step["ours"], step["low"], step["high"]) == (expected.difference, expected.low, expected.high)
    assert step["bootstrap_p"] == expected.p_value


def test_identical_runs_differ_by_nothing(steps):
    for task in PAPER_TASKS:
        step = steps["rr_cs", task]
        assert (step["ours"], step["low"], step["high"], step["bootstrap_p"], step["holm_p"]) == (0, 0, 0, 1, 1)


def test_holm_is_over_all_steps_that_were_run(steps):
    tested = [step for step in steps.values() if step["bootstrap_p"] is not None]
    assert len(tested) == 4 * 3
    expected = holm_adjusted([step["bootstrap_p"] for step in tested])
    assert [step["holm_p"] for step in tested] == expected.tolist()


def test_the_second_test_fits_the_metric_and_single_runs_only(steps):
    worse, better = answers(0.4), answers(0.9)
    right = [one["sst"] == LABELS["sst"] for one in (worse, better)]
    assert steps["rr", "sst"]["second_p"] == mcnemar_test(*right)
    pairs = ((worse["sts"], LABELS["sts"]), (better["sts"], LABELS["sts"]), (worse["sts"], better["sts"]))
    assert steps["rr", "sts"]["second_p"] == williams_test(*(float(pearson(*pair)) for pair in pairs), rows=ROWS)[1]
    assert all(steps["sft", task]["second_p"] is None for task in PAPER_TASKS)
    assert (steps["sft", "sts"]["runs"], steps["sft", "sts"]["runs_against"]) == (2, 1)


def test_rows_that_were_scored_on_other_data_are_not_compared(tmp_path):
    write_run(tmp_path, "baseline", 1, answers(0.4))
    write_run(tmp_path, "rr", 1, answers(0.9), labels={**LABELS, "sts": LABELS["sts"][::-1]})
    with pytest.raises(InputError, match="must have the same ids and labels"):
        ladder(tmp_path)


def test_all_files_are_written_and_the_markdown_is_given(written):
    markdown, files = written
    assert set(files) == {"table1.md", "table1.tex", "table1.csv", "table1-steps.csv"}
    assert files["table1.md"] == markdown


def test_the_markdown_says_what_was_run_how_and_what_was_not(written, scores):
    lines = re.sub(" +", " ", written[0]).splitlines()
    assert SETTINGS in lines
    cells = {line.split(" | ")[0]: line for line in lines if line.startswith("| ")}
    low, high = (f"{scores['rr']['sst_' + bound]:.3f}".lstrip("0") for bound in ("low", "high"))
    assert f"| RR | .482 | .900 [{low}, {high}] | .686 | " in cells["| RR"]
    assert "| -.103 | " in cells["| Baseline"]
    assert "| .522 | .925 ± .035 [" in cells["| SFT"]
    assert cells["| SFT"].endswith("| 2 |")
    assert cells["| SFT + CS"].count("not run") == 3
    assert any(line.startswith("| RR against Baseline | SST | +.173 | +.500 [+.3") for line in lines)
    assert "Majority baseline, the most frequent training class: SST .250, Para .625, STS -." in lines
    assert "Not finished and left out: sft_cs/seed-1/sst, sft_cs/seed-1/para, sft_cs/seed-1/sts." in lines
    assert any("compare single runs only" in line for line in lines)


def test_the_markdown_tables_are_rectangular(written):
    widths = {line.count("|") for line in written[0].splitlines() if line.startswith("|")}
    assert widths == {12 + 1, 8 + 1}


def test_the_csv_holds_the_same_lines_with_all_digits(written, scores, steps):
    for name, lines in (("table1.csv", scores), ("table1-steps.csv", steps)):
        read = list(csv.DictReader(written[1][name].splitlines()))
        expected = [{key: "" if v is None else str(v) for key, v in line.items()} for line in lines.values()]
        assert read == expected


def test_latex_escapes_what_it_would_take_as_its_own():
    text = r"50 % of $5 & a_b #1 {x} ~ ^ \ <.001 ± -.103 seed-42"
    latex = to_latex([{"a": text}], caption=text, notes=[text])
    escaped = (
        r"50 \% of \$5 \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} $<$.001 $\pm$ $-$.103 "
        "seed-42"
    )
    assert latex.count(escaped) == 3


def test_the_latex_is_balanced_with_booktabs_rules_and_equally_many_cells(written):
    latex = written[1]["table1.tex"]
    assert "MiniLM-L6, 50 \\% of 1\\_000 steps, seeds 1 \\& 2" in latex
    for rule in ("toprule", "midrule", "bottomrule"):
        assert latex.count(f"\\{rule}") == 2
    bare = re.sub(r"\\.", "", latex)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    begun, ended = (sorted(re.findall(rf"\\{word}{{(.*?)}}", latex)) for word in ("begin", "end"))
    assert begun == ended
    for columns, body in re.findall(r"\\begin{tabular}{(l+)}(.*?)\\end{tabular}", latex, flags=re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


def test_a_figure_that_is_none_is_a_hyphen_and_no_zero_is_negative(root):
    row, paper = table1(root)[1], {"sst": float("nan"), "para": -0.0004, "sts": 1.0}
    tasks = {name: replace(row.tasks[name], paper=value) for name, value in paper.items()}
    (cells,) = score_cells([replace(row, tasks=tasks)])
    assert [cells[f"{label} paper"] for label in ("SST", "Para", "STS")] == ["-", ".000", "1.000"]


def test_an_empty_root_is_a_table_of_the_paper_alone(tmp_path):
    markdown = write_tables(tmp_path, SETTINGS)
    assert markdown.count("not run") == 8 * 3 + 7 * 3 * 2
    assert "Majority baseline, the most frequent training class: SST -, Para -, STS -." in markdown
