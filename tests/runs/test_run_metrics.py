import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from extrabert_hf.data.sources import SourceDescription
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import score
from extrabert_hf.inference.calibration import CalibrationReport, CalibrationScores
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.gradient_conflicts import summarize_conflicts
from extrabert_hf.runs.records import BestScore, DataRecord, ModelRecord, TrainingRecord
from extrabert_hf.runs.run_metrics import VERSION, RunMetrics, TaskMetrics
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.arguments import DataArguments


def some_metrics(seed, several=True):
    """Metrics with random numbers in every field, of a multitask run or of a run on one task."""
    generator = np.random.default_rng(seed)

    def number():
        return float(generator.normal())

    tasks = {}
    for name in ("sst", "sts") if several else ("sst",):
        task = PAPER_TASKS[name]
        labels = generator.uniform(0, 5, 30) if task.is_regression else generator.integers(5, size=30)
        before, after = (CalibrationScores(number(), number(), number()) for _ in range(2))
        report = CalibrationReport(2.5, number(), 30, before, after, (number(), number()))
        tasks[name] = TaskMetrics(
            task=dataclasses.replace(task, id_column="key"),
            scores={
                "dev": score(task, labels[::-1], labels, train_labels=labels),
                "test": score(task, labels, labels),
            },
            rows={"train": 7, "dev": 30, "test": 30},
            rejected_rows=int(generator.integers(9)),
            model=ModelRecord("me/encoder", True, {"pooling": "mean", "pair_features": ["u", "v"]}, "models/mine"),
            dataset=SourceDescription("me/data (a)", "me/data", "a"),
            calibration=None if task.is_regression else report,
            data=DataRecord(dev_fraction=number(), others={"drop_leaked": True}),
        )
    conflicts = [(step, "sst", "sts", number()) for step in range(5)]
    multitask = {
        "aggregate": {"mean": number()},
        "multitask": {"aggregator": "sum", "loss_weighting": ("famo", "none")[seed % 2], "tasks": list(tasks)},
        "best_per_task": {"sst": BestScore(3, "accuracy", number())},
        "gradient_conflicts": summarize_conflicts(conflicts[: seed % 5]),
        "loss_weights": {"sst": number(), "sts": number()},
    }
    return RunMetrics(
        tasks=tasks,
        **(multitask if several else {}),
        training=TrainingRecord(9, None if seed % 2 else 8, None, 2, "bf16", {"train_loss": number()}),
        lora={"lora": True, "lora_target_modules": None},
        arguments={"seed": seed, "learning_rate": number(), "output_dir": "/home/jane/runs", "teachers": ["/a", "/b"]},
        machine={"cpu": "x", "threads": 2},
        versions={"torch": "2"},
    )


@pytest.mark.parametrize("several", [True, False], ids=["multitask", "one task"])
def test_what_is_written_is_read_exactly(several, tmp_path):
    run = RunFolder(tmp_path)
    for seed in range(6):
        metrics = some_metrics(seed, several)
        assert RunMetrics.from_dict(json.loads(json.dumps(metrics.to_dict()))) == metrics
        run.write_metrics(metrics)
        assert run.read_metrics() == metrics
        for shared in (metrics.shared(), run.read_metrics().shared()):
            assert RunMetrics.from_dict(json.loads(json.dumps(shared.to_dict()))) == shared == metrics.shared()
    composed = dataclasses.replace(metrics, training=None)
    assert RunMetrics.from_dict(json.loads(json.dumps(composed.to_dict()))) == composed


def test_the_file_has_a_version_and_the_keys_of_earlier_files():
    one, several = (json.loads(json.dumps(some_metrics(0, several).to_dict())) for several in (False, True))
    assert one["version"] == VERSION
    assert set(one) == {"version", "tasks", "training", "lora", "arguments", "machine", "versions"}
    of_several = {"aggregate", "multitask", "best_per_task", "gradient_conflicts", "loss_weights"}
    assert set(several) - set(one) == of_several
    entry = several["tasks"]["sst"]
    assert list(entry) == [
        *("task", "scores", "calibration", "rows", "rejected_rows", "model", "data", "dataset"),
    ]
    assert list(entry["scores"]["dev"]) == ["rows", "metrics", "intervals", "majority_baseline"]
    assert list(entry["model"]) == ["model_name_or_path", "encoder", "encoder_is_on_hub", "pooling", "pair_features"]
    assert list(several["training"]) == [
        *("steps", "global_batch_size", "best_step", "processes", "precision", "train_loss"),
    ]
    assert several["tasks"]["sts"]["calibration"] is None
    assert list(several["gradient_conflicts"]) == ["steps", "conflicting_steps", "pairs"]


@pytest.mark.parametrize(("old", "new"), [("separate", "bi_encoder"), ("joint", "cross_encoder")])
def test_a_file_without_a_version_still_reads(old, new, tmp_path):
    metrics = some_metrics(1)
    record = json.loads(json.dumps(metrics.to_dict()))
    del record["version"]
    record["tasks"]["sts"]["model"]["pair_encoding"] = old
    record["arguments"]["padding_free"] = False
    run = RunFolder(tmp_path)
    run.metrics_file.write_text(json.dumps(record))
    read = run.read_metrics()
    assert read.tasks["sts"].model.config_fields["pair_encoding"] == new
    assert read.arguments == metrics.arguments | {"unpad": False}
    assert read.tasks["sst"] == metrics.tasks["sst"] and read.gradient_conflicts == metrics.gradient_conflicts
    run.write_metrics(read)
    assert run.read_metrics() == read and json.loads(run.metrics_file.read_text())["version"] == VERSION


def test_a_file_of_a_newer_version_is_refused():
    record = some_metrics(0).to_dict() | {"version": VERSION + 1}
    with pytest.raises(InputError, match=f"version {VERSION + 1} .* needs a newer extrabert_hf, .* up to {VERSION}"):
        RunMetrics.from_dict(record)


def test_shared_metrics_have_no_paths():
    shared = some_metrics(0).shared()
    text = json.dumps(shared.to_dict())
    assert "jane" not in text and "models/mine" not in text and '"data"' not in text
    assert shared.arguments["teachers"] == 2 and shared.arguments["seed"] == 0


def test_the_record_of_the_data_has_the_keys_of_the_arguments():
    arguments = dataclasses.asdict(DataArguments(data="rows.csv", max_length=9, strict_data=True))
    record = DataRecord.from_dict(arguments)
    assert (record.data, record.strict_data, record.others["max_length"]) == ("rows.csv", True, 9)
    assert record.to_dict() == arguments


def test_a_weighting_of_the_losses_is_named_where_there_is_one():
    runs = some_metrics(0), some_metrics(1), some_metrics(0, several=False)
    assert [run.loss_weighting for run in runs] == ["famo", None, None]
    assert dataclasses.replace(runs[0], multitask={"aggregator": "sum"}).loss_weighting is None  # an earlier version


def test_settings_that_composed_runs_do_not_share_are_left_out():
    metrics = some_metrics(0, several=False)
    lora = {"lora": True, "lora_r": 4, "lora_dropout": 0.1}  # another alpha in each run
    composed = dataclasses.replace(metrics, lora=lora, arguments={}, machine={"threads": 2}, training=None)
    assert composed.adapter_settings == {"r": 4, "dropout": 0.1}
    assert (composed.seed, composed.processor, composed.aggregator, composed.is_selected_on_dev) == (
        *(None, None, None, False),
    )
    assert dataclasses.replace(metrics, lora=lora | {"lora": False}).adapter_settings == {}


@pytest.mark.parametrize(
    ("arguments", "selected"),
    [({}, False), ({"eval_strategy": "epoch"}, True), ({"eval_strategy": "no"}, False)],
)
def test_a_model_is_selected_on_dev_only_by_evaluations(arguments, selected):
    arguments = {"load_best_model_at_end": bool(arguments), **arguments}
    metrics = dataclasses.replace(some_metrics(0), arguments=arguments)
    assert metrics.is_selected_on_dev == selected


def test_the_metrics_of_a_run_before_versions_are_kept_but_for_renamed_values(tmp_path):
    text = (Path(__file__).parent / "data" / "metrics_version_0.json").read_text()  # of a run of the code before them
    run, record = RunFolder(tmp_path), json.loads(text)
    run.metrics_file.write_text(text)
    written = json.loads(json.dumps(run.read_metrics().to_dict()))
    assert written.pop("version") == VERSION
    for name, entry in record["tasks"].items():
        assert entry["model"]["pair_encoding"] == ("joint" if name == "sts" else "separate")
        entry["task"]["remembered_columns"], entry["data"]["dev_seed"] = [], None  # fields of later versions
        entry["model"]["pair_encoding"] = "cross_encoder" if name == "sts" else "bi_encoder"
    record["arguments"]["unpad"] = record["arguments"].pop("padding_free")
    assert written == record
