import numpy as np
import pytest

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.bootstrap import bootstrap_interval
from extrabert_hf.evaluation.formulas import accuracy
from extrabert_hf.paper.rows import TABLE1, row_results, run_folder
from extrabert_hf.tasks import PAPER_TASKS
from tests.runs.finished_runs import write_finished_run

RR, SFT = TABLE1["rr"], TABLE1["sft"]
LABELS = {"sst": [0, 1, 2, 3, 4, 4], "para": [0, 1, 1, 0, 1, 0], "sts": [0.0, 1.2, 2.4, 3.6, 4.8, 5.0]}
GOOD = {"sst": [0, 1, 2, 3, 4, 0], "para": [0, 1, 1, 0, 0, 1], "sts": [0.1, 1.0, 2.5, 3.0, 4.0, 5.2]}
MAJORITY = {"sst": {"accuracy": 0.25}, "para": {"accuracy": 0.6}, "sts": {"mse": 2.0}}


def write_run(root, row, seed, answers, labels=LABELS, first_id=0, majority=MAJORITY):
    """Leaves the files of finished runs: answers by task."""
    for name, predictions in answers.items():
        folder = run_folder(root, row, seed, name)
        ids = [f"id-{first_id + i}" for i in range(len(predictions))]
        write_finished_run(folder, name, ids, labels[name], np.array(predictions), tasks=answers, majority=majority)


def test_a_multitask_row_has_a_folder_a_seed_and_a_separate_row_one_a_task(tmp_path):
    assert run_folder(tmp_path, RR, 7, "sts") == tmp_path / "rr" / "seed-7"
    assert run_folder(tmp_path, SFT, 7, "sts") == tmp_path / "sft" / "seed-7" / "sts"


@pytest.mark.parametrize("row", [RR, SFT], ids=["multitask", "separate"])
def test_runs_are_gathered_by_task_and_seed(tmp_path, row):
    other = {**GOOD, "sst": [4, 1, 2, 3, 4, 0]}
    for seed, answers in ((10, GOOD), (9, other)):
        write_run(tmp_path, row, seed, answers)
    results = row_results(tmp_path, row)
    assert results.row is row
    assert results.unfinished == ()
    assert tuple(results.tasks) == tuple(PAPER_TASKS)
    sst = results.tasks["sst"]
    assert sst.seeds == (9, 10)
    assert sst.predictions.tolist() == [other["sst"], GOOD["sst"]]
    assert sst.labels.tolist() == LABELS["sst"]
    assert sst.runs[0].ids == tuple(f"id-{i}" for i in range(6))
    assert sst.scores.tolist() == pytest.approx([4 / 6, 5 / 6])
    assert sst.mean == pytest.approx(0.75)
    assert sst.sd == pytest.approx(np.std([4 / 6, 5 / 6], ddof=1))
    assert results.tasks["sts"].mean == pytest.approx(np.corrcoef(LABELS["sts"], GOOD["sts"])[0, 1])


def test_one_seed_has_its_own_interval_and_no_deviation(tmp_path):
    write_run(tmp_path, RR, 1, GOOD)
    sst = row_results(tmp_path, RR).tasks["sst"]
    assert sst.interval == bootstrap_interval(accuracy, GOOD["sst"], LABELS["sst"])
    assert sst.sd is None


def test_the_majority_baseline_is_that_of_the_main_metric(tmp_path):
    write_run(tmp_path, RR, 1, GOOD)
    tasks = row_results(tmp_path, RR).tasks
    assert [tasks[name].majority_baseline for name in PAPER_TASKS] == [0.25, 0.6, None]
    write_run(tmp_path, RR, 1, GOOD, majority=dict.fromkeys(PAPER_TASKS))
    assert row_results(tmp_path, RR).tasks["sst"].majority_baseline is None


def test_nothing_run_is_nothing_found(tmp_path):
    results = row_results(tmp_path, RR)
    assert (results.tasks, results.unfinished) == ({}, ())


def test_an_unfinished_run_is_named_and_left_out(tmp_path):
    write_run(tmp_path, SFT, 1, GOOD)
    write_run(tmp_path, SFT, 2, {"sst": GOOD["sst"], "para": GOOD["para"]})
    (tmp_path / "sft" / "seed-2" / "para" / "metrics.json").unlink()  # the last file that a run writes
    results = row_results(tmp_path, SFT)
    assert {name: task.seeds for name, task in results.tasks.items()} == {"sst": (1, 2), "para": (1,), "sts": (1,)}
    assert results.unfinished == ("sft/seed-2/para", "sft/seed-2/sts")
    (tmp_path / "rr" / "seed-3").mkdir(parents=True)
    results = row_results(tmp_path, RR)
    assert (results.tasks, results.unfinished) == ({}, ("rr/seed-3",))


def test_constant_answers_correlate_by_zero_without_a_warning(tmp_path, recwarn):
    write_run(tmp_path, RR, 1, {**GOOD, "sts": [2.5] * 6})
    sts = row_results(tmp_path, RR).tasks["sts"]
    assert (sts.mean, sts.interval) == (0.0, (0.0, 0.0))
    assert not recwarn.list


@pytest.mark.parametrize("other", [{"labels": {**LABELS, "para": [1, 1, 1, 0, 1, 0]}}, {"first_id": 1}], ids=str)
def test_runs_over_other_rows_are_refused(tmp_path, other):
    write_run(tmp_path, RR, 1, GOOD)
    write_run(tmp_path, RR, 2, GOOD, **other)
    with pytest.raises(InputError, match=r"must have the same ids and labels.* in \S+seed-2\S+ than in \S+seed-1\S+$"):
        row_results(tmp_path, RR)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.json", "{", "metrics.json must hold the metrics of a run, got JSONDecodeError"),
        ("metrics.json", '{"tasks": {}}', r"metrics\.json: `tasks` must have one task or more, got none"),
        ("scored/para-dev.csv", "id,label,prediction\n", "must hold `id,line,true_class,predicted_class,...`"),
        ("scored/para-dev.csv", "id,label\n1,0\n", "must hold `id,line,true_class,predicted_class,...`"),
        ("scored/sts-dev.csv", "id,line,true_score,predicted_score\n1,2,4\n", "sts-dev.csv must hold"),
        ("scored/sts-dev.csv", "id,line,true_score,predicted_score\n1,2,4,x\n", "sts-dev.csv must hold .*'x'"),
        ("scored/para-dev.csv", "id,line,true_class,predicted_class\n", "para-dev.csv must hold .*got: header"),
        ("scored/para-dev.csv", "id,prediction,label\n1,0,1\n", "para-dev.csv must hold .*got: header"),
        ("scored/para-dev.csv", "id,label,prediction\n1,0,yes\n", "para-dev.csv must hold .*'yes'"),
        ("scored/para-dev.csv", "id,label,prediction\n1,0,2\n", "`prediction of .*para-dev.csv` must be class ids"),
        ("scored/sts-dev.csv", "id,label,prediction\n1,0,nan\n", "`prediction of .*sts-dev.csv` must be finite, got"),
    ],
)
def test_a_finished_run_with_broken_files_is_an_error_of_one_line(tmp_path, file, text, message):
    write_run(tmp_path, RR, 1, GOOD)
    (tmp_path / "rr" / "seed-1" / file).write_text(text)
    with pytest.raises(InputError, match=message) as error:
        row_results(tmp_path, RR)
    assert "\n" not in str(error.value)


def test_a_finished_run_without_its_answers_is_an_error(tmp_path):
    write_run(tmp_path, RR, 1, GOOD)
    (tmp_path / "rr" / "seed-1" / "scored" / "sts-dev.csv").unlink()
    with pytest.raises(InputError, match=r"sts-dev.csv must hold .*No such file"):
        row_results(tmp_path, RR)


def test_a_root_or_a_seed_that_is_none_is_named(tmp_path):
    with pytest.raises(InputError, match=r"`root` must be a folder of runs, got '.*nowhere'"):
        row_results(tmp_path / "nowhere", RR)
    (tmp_path / "rr" / "seed-best").mkdir(parents=True)
    with pytest.raises(InputError, match=r"must be named seed-<number>, got '.*seed-best'"):
        row_results(tmp_path, RR)
