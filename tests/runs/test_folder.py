import json

import numpy as np
import pytest

from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError
from extrabert_hf.files import write_text
from extrabert_hf.manifest import STATE, manifest_names
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import LAYOUT, hold_run
from extrabert_hf.runs.records import BestScore
from extrabert_hf.runs.scored import write_scored
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_multitask_run
from extrabert_hf.training.finetune import run_finetuning
from tests.conftest import tiny_run

from .finished_runs import predictions_of_values, write_finished_run

LABELS, PREDICTIONS = [0, 1, 1], [0, 1, 0]


@pytest.fixture
def finished(tmp_path):
    return write_finished_run(tmp_path / "run", "para", list("abc"), LABELS, np.array(PREDICTIONS))


def test_a_run_is_finished_once_its_metrics_are_written(finished, tmp_path):
    assert finished.is_finished and finished.has_results
    unfinished = RunFolder(tmp_path / "other")
    assert not unfinished.is_finished and not unfinished.has_results
    (tmp_path / "other" / "checkpoint-3").mkdir(parents=True)
    assert not unfinished.has_results
    (tmp_path / "other" / "checkpoint-3" / "complete").touch()
    assert unfinished.has_results and not unfinished.is_finished


def test_a_checkpoint_and_the_adapter_know_the_run_that_contains_them(tmp_path):
    for name in ("checkpoint-17", "adapter", "best"):
        (tmp_path / name).mkdir()
    assert RunFolder(tmp_path / "adapter").containing_run is None  # without a model it is no run
    (tmp_path / "config.json").touch()
    assert RunFolder(tmp_path / "adapter").containing_run == tmp_path.resolve()
    assert RunFolder(tmp_path / "checkpoint-17").containing_run == tmp_path.resolve()
    assert RunFolder(tmp_path / "best").containing_run is None and RunFolder(tmp_path).containing_run is None


def test_checkpoints_are_sorted_by_step_and_removed_alone(tmp_path):
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-notes"):
        (tmp_path / name).mkdir()
    run = RunFolder(tmp_path)
    assert [path.name for path in run.checkpoints] == ["checkpoint-9", "checkpoint-10"]
    run.remove_checkpoints()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-notes"]


def test_weights_are_removed_and_scores_stay(finished):
    with hold_run("output_dir", finished.path):
        for path in (finished.weights_file, finished.adapter / "config.json"):
            write_text(path, "")
        finished.write_best_score("para", BestScore(3, "accuracy", 0.5))
    assert json.loads(finished.best_score_file("para").read_text()) == {"step": 3, "accuracy": 0.5}
    assert finished.read_best_score("para") == BestScore(3, "accuracy", 0.5)
    assert finished.read_best_score("sts") is None
    finished.remove_weights()
    assert sorted(path.name for path in finished.path.iterdir()) == [STATE, "metrics.json", "scored"]


def test_rejected_rows_are_read_as_they_were_written(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_rejected_rows() == []
    rejected = [
        RejectedRow("a.csv", line, "no label", {"text": text}) for line, text in enumerate(["a\nb", "a\u2028b", "é"])
    ]
    write_rejected_rows(run.rejected_rows_file, rejected)
    assert run.read_rejected_rows() == rejected


def test_scored_files_are_those_of_the_task(tmp_path):
    run = RunFolder(tmp_path)
    assert run.scored_files("sst") == []
    for task, split in (("sst", "test"), ("sst", "dev"), ("sst2", "dev")):
        write_scored(run.scored_file(task, split), predictions_of_values(PAPER_TASKS["sst"], ["a"], [1], [1]))
    assert run.scored_files("sst") == [run.scored_file("sst", "dev"), run.scored_file("sst", "test")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must hold the metrics of a run, got JSONDecodeError"),
        ("[]", "must hold the metrics of a run, got AttributeError"),
        ("{}", "must hold the metrics of a run, got KeyError: 'tasks'"),
        ('{"tasks": {"para": {}}}', "must hold the metrics of a run, got KeyError"),
        ('{"version": 2, "tasks": {}}', "version 2 of a run's metrics needs a newer extrabert_hf"),
        ('{"version": "one", "tasks": {}}', "`version` must be a whole number, got 'one'"),
        (
            '{"version": 1, "tasks": {"para": {"task": {"name": "a b", "head": "sentiment"}}}}',
            "`name` of a task (`--task_name`) must be at most 64 letters",
        ),
    ],
)
def test_metrics_that_cannot_be_read_are_one_line_that_names_the_file(text, message, finished):
    finished.metrics_file.write_text(text)
    with pytest.raises(InputError) as error:
        finished.read_metrics()
    assert message in str(error.value) and str(finished.metrics_file) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_metrics_are_named(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.json must hold the metrics of a run, got FileNotFoundError"):
        RunFolder(tmp_path).read_metrics()


@pytest.mark.filterwarnings("ignore::extrabert_hf.evaluation.metrics.ConstantInputWarning")
def test_every_name_is_what_a_run_leaves(tiny_encoder, tmp_path):
    run = RunFolder(tmp_path / "run")
    flags = ["--tasks", "sst", "sts", "--max_steps", "2", "--keep_best_per_task", "true", "--lora", "true"]
    flags += ["--eval_strategy", "steps", "--eval_steps", "2", "--save_strategy", "steps", "--save_steps", "2"]
    metrics = run_finetuning(parse_multitask_run(tiny_run(tiny_encoder, run.path, *flags)))
    left = [run.metrics_file, run.report_file, run.audit_file, run.rejected_rows_file, run.trainer_state_file]
    left += [run.train_rows_file, run.conflicts_file, run.config_file, run.weights_file, run.tokenizer_config_file]
    left += [run.last_checkpoint / RunFolder.TRAINER_STATE, run.card_file]
    for task in ("sst", "sts"):
        left += [run.scored_file(task, "dev"), run.best_score_file(task), RunFolder(run.best_of(task)).weights_file]
        left += [run.predictions_file(task, split) for split in ("dev", "test")]
    assert [path for path in left if not path.is_file()] == []
    assert (run.adapter / RunFolder.CONFIG).is_file() and run.is_finished
    assert run.read_metrics() == metrics and len(run.read_conflicts()) == 2
    assert run.read_best_score("sts") == metrics.best_per_task["sts"]
    assert any("loss" in entry or "train_loss" in entry for entry in run.read_history())
    written = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert {name for name in written if not name.startswith(STATE)} == manifest_names(run.path)
    (tmp_path / "any").touch()
    modes = {path.stat().st_mode for path in run.path.rglob("*") if path.is_file() and STATE not in path.parts}
    assert modes == {(tmp_path / "any").stat().st_mode}
    assert [name for name in manifest_names(run.path) if not LAYOUT.fullmatch(name)] == []
    known = {STATE} | {path.relative_to(run.path).parts[0] for path in left} | {run.adapter.name, "report_figures"}
    others = {path.name for path in run.path.iterdir()} - known
    assert not {name for name in others if not name.endswith(".py") and "token" not in name} - {"training_args.bin"}
    run.clear_results()
    assert not run.has_results and run.config_file.is_file()
