import io
import logging
import re
from itertools import combinations
from types import SimpleNamespace

import pytest
from torch import nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments

from extrabert_hf.data.loading import load_task_data
from extrabert_hf.runs.gradient_conflicts import Conflict, summarize_conflicts
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.terminal import display_width
from extrabert_hf.training import run_output
from extrabert_hf.training.multitask_arguments import MultiTaskArguments
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.run_output import (
    OneBar,
    log_conflicts,
    log_loss_weights,
    log_rows,
    log_what_is_trained,
    one_bar,
)
from extrabert_hf.training.trainer import ExtraBertTrainer


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Runs the events of a training of 20 steps with two evaluations; returns what a log file gets."""

    def run(**arguments):
        file = io.StringIO()
        make = run_output.progress_bar
        monkeypatch.setattr(run_output, "progress_bar", lambda *words, **names: make(*words, **names, file=file))
        args = TrainingArguments(str(tmp_path), metric_for_best_model="accuracy", **arguments)
        state, control, bar = TrainerState(max_steps=20), TrainerControl(), OneBar()
        bar.on_train_begin(args, state, control)
        for step in range(1, 21):
            state.global_step = step
            bar.on_step_end(args, state, control)
            if step % 10 == 0:
                bar.on_log(args, state, control, logs={"loss": 1 / step, "total_flos": 1.0})
                bar.on_prediction_step(args, state, control, eval_dataloader=[1, 2])
                bar.on_evaluate(args, state, control, metrics={"eval_accuracy": step / 100})
        bar.on_train_end(args, state, control)
        assert bar.training_bar is None
        return file.getvalue()

    return run


def test_one_bar_shows_the_loss_and_the_last_dev_score(trained, caplog):
    lines = trained().splitlines()
    assert len(lines) == 10
    assert re.fullmatch(r"training +50 %, 10 of 20 steps, \d\d:\d\d", lines[4])
    assert lines[5].endswith(", loss 0.1, dev accuracy 0.1")
    assert caplog.messages == []


def test_details_have_what_the_trainer_logs(trained, caplog):
    with caplog.at_level(logging.DEBUG, logger="extrabert_hf"):
        trained()
    assert caplog.messages == ["loss 0.1", "loss 0.05"]


def test_disable_tqdm_shows_no_bar(trained):
    assert trained(disable_tqdm=True) == ""


@pytest.mark.parametrize("disable_tqdm", [False, True])
def test_the_trainers_own_progress_is_replaced_and_a_bar_that_is_interrupted_ends_its_line(disable_tqdm, tmp_path):
    trainer = Trainer(nn.Linear(1, 1), TrainingArguments(str(tmp_path), disable_tqdm=disable_tqdm))
    closed = []
    with pytest.raises(KeyboardInterrupt), one_bar(trainer):
        kinds = [type(callback) for callback in trainer.callback_handler.callbacks]
        assert OneBar in kinds and ProgressCallback not in kinds and PrinterCallback not in kinds
        trainer.callback_handler.callbacks[-1].training_bar = SimpleNamespace(close=lambda: closed.append(1))
        raise KeyboardInterrupt
    assert closed == [1]


def test_the_plan_names_columns_once_for_all_tasks(caplog):
    loaded = {name: load_task_data(task, "sample") for name, task in PAPER_TASKS.items()}
    loaded["感情分析の課題"] = loaded["sst"]
    with caplog.at_level("INFO"):
        log_rows(loaded)
    (table,) = caplog.messages
    lines = table.splitlines()
    assert lines[0].split() == ["rows", "train", "dev", "test", "sentence1", "sentence2", "label"]
    assert [line.split()[0] for line in lines[1:]] == list(loaded)
    assert re.search(r"^sst +260 +90 +40 unlabelled +sentence +- +sentiment$", table, flags=re.MULTILINE)
    assert max(map(display_width, lines)) <= 80


def test_columns_that_differ_between_splits_are_named(tmp_path, caplog):
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"a {n},{n % 2}\n" for n in range(9)))
    (tmp_path / "dev.csv").write_text("review,rating\n" + "".join(f"b {n},{n % 2}\n" for n in range(9)))
    task = PAPER_TASKS["sst"]
    loaded = load_task_data(task, str(tmp_path / "train.csv"), dev_data=str(tmp_path / "dev.csv"))
    with caplog.at_level("INFO"):
        log_rows({"sst": loaded})
    assert any(message.startswith("columns of dev.csv: ") for message in caplog.messages)


@pytest.mark.parametrize(
    ("multitask", "size"),
    [
        (None, "16 rows"),
        ({}, "16 rows of each task (aggregator: pcgrad)"),
        ({"aggregator": "mean", "examples_per_item": [1, 3]}, "16 rows of sst and 48 rows of sts (aggregator: mean)"),
        (
            {"aggregator": "sum", "loss_weighting": "famo"},
            "16 rows of each task (aggregator: sum, loss weighting: famo)",
        ),
        ({"mixing": "temperature"}, "16 rows of one task (mixing: temperature)"),
    ],
)
def test_the_plan_names_the_rows_of_a_step_and_the_aggregator(multitask, size, monkeypatch, caplog):
    kind = ExtraBertTrainer if multitask is None else MultiTaskTrainer
    trainer = kind.__new__(kind)
    trainer.model, trainer.state = nn.Linear(2, 2), SimpleNamespace(max_steps=8)
    trainer.args = SimpleNamespace(device="cpu", mixed_precision="no")
    trainer.multitask = MultiTaskArguments(tasks=["sst", "sts"], **(multitask or {}))
    monkeypatch.setattr(ExtraBertTrainer, "global_batch_size", 16)
    monkeypatch.setattr(ExtraBertTrainer, "why_padded", lambda self: None)
    with caplog.at_level("INFO"):
        log_what_is_trained(trainer)
    assert caplog.messages[-1].startswith(f"8 steps of {size}, float32, ")


def test_one_line_has_the_weights_of_the_losses(caplog):
    with caplog.at_level("INFO"):
        log_loss_weights({"sst": 0.25, "sts": 0.123456})
    assert caplog.messages == ["weights of the losses at the last step: sst 0.25, sts 0.123"]


def test_one_line_has_the_gradient_conflicts_of_a_run(caplog):
    cosines = {"sst_para": (-0.5, 0.25), "sst_my_task": (0.5, 0.75), "para_my_task": (-0.25, -0.75)}
    rows = [
        Conflict(step, *pair.split("_", 1), cosine)
        for pair, values in cosines.items()
        for step, cosine in enumerate(values, start=1)
    ]
    with caplog.at_level("INFO"):
        log_conflicts(summarize_conflicts(rows))
        log_conflicts(summarize_conflicts([]))  # a run with one task a step
    (message,) = caplog.messages
    assert message == (
        "gradients of two tasks conflict at 100 % of the steps; "
        "mean cosines: para_my_task -0.50, sst_para -0.12, sst_my_task 0.62"
    )


def test_the_line_on_gradient_conflicts_does_not_grow_with_the_tasks(caplog):
    names = [f"task{n}" for n in range(9)]
    rows = [Conflict(1, a, b, 0.5) for a, b in combinations(names, 2)]
    with caplog.at_level("INFO"):
        log_conflicts(summarize_conflicts(rows))
    assert caplog.messages[0].count("0.50") == run_output.MOST_PAIRS
    assert "lowest mean cosines: " in caplog.messages[0]
