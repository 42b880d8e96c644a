import json

import pytest
import torch
from transformers import AutoModel, TrainerState, TrainingArguments

from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.callbacks import ContinueCheckpoint, KeepBestPerTask, StopAtNaN
from tests.training.multitask_runs import make_trainer

KEYS = {"sst": "eval_sst_accuracy", "para": "eval_para_accuracy", "sts": "eval_sts_pearson"}


class NoTokenizer:
    def save_pretrained(self, folder):
        (folder / "tokenizer.json").touch()


@pytest.fixture
def evaluated(tmp_path):
    """Gives what to call with an evaluation's step and scores; the model's heads say the step in their biases."""
    trainer = make_trainer(tmp_path)
    callback = KeepBestPerTask({task: PAPER_TASKS[task] for task in KEYS})

    def evaluate(step, **scores):
        metrics = {KEYS[task]: score for task, score in scores.items()}
        trainer.state.global_step = step
        trainer.state.log_history.append({**metrics, "step": step})
        with torch.no_grad():
            trainer.model.heads["sst"].classifier.bias.fill_(step)
        state = {"model": trainer.model, "metrics": metrics, "processing_class": NoTokenizer()}
        callback.on_evaluate(trainer.args, trainer.state, trainer.control, **state)

    trainer.state.is_world_process_zero = True
    return evaluate


def best(folder, task):
    return json.loads((folder / "best" / task / "best.json").read_text())


def test_each_task_keeps_its_own_best(evaluated, tmp_path):
    evaluated(1, sst=0.3, para=0.6, sts=0.1)
    evaluated(2, sst=0.4, para=0.5, sts=-0.2)
    evaluated(3, sst=0.4, para=0.7, sts=0.0)
    assert best(tmp_path, "sst") == {"step": 2, "accuracy": 0.4}  # the first of equals
    assert best(tmp_path, "para") == {"step": 3, "accuracy": 0.7}
    assert best(tmp_path, "sts") == {"step": 1, "pearson": 0.1}
    model = AutoModel.from_pretrained(tmp_path / "best" / "sst")
    assert type(model).__name__ == "ExtraBertForSentiment"
    assert model.head.classifier.bias.tolist() == [2.0] * 5
    assert (tmp_path / "best" / "sst" / "tokenizer.json").is_file()


def begin(folder, *, is_fixed=True, output="run", **state):
    """Begins the training of a run that resumes from step 4 of 8 in the folder `run`."""
    checkpoint = folder / "run" / "checkpoint-4"
    checkpoint.mkdir(parents=True, exist_ok=True)
    args = TrainingArguments(str(folder / output), load_best_model_at_end=True, eval_strategy="steps", use_cpu=True)
    state = TrainerState(**{"global_step": 4, "max_steps": 8} | state)
    ContinueCheckpoint(checkpoint, 8, is_fixed=is_fixed).on_train_begin(args, state, None)
    return state


def test_a_resumed_run_has_the_steps_of_its_checkpoint(tmp_path):
    begin(tmp_path)
    begin(tmp_path, max_steps=9, is_fixed=False)
    for steps, is_fixed, words in ((9, True, "8 steps, as"), (7, True, "8 steps, as"), (7, False, "8 steps or more")):
        with pytest.raises(InputError, match=f"must have {words}.* got {steps}: give the same data, batch size"):
            begin(tmp_path, max_steps=steps, is_fixed=is_fixed)


def test_a_resumed_run_with_nothing_left_to_train_is_logged(tmp_path, caplog):
    begin(tmp_path)
    assert caplog.text == ""
    begin(tmp_path, global_step=8)
    assert "all 8 steps of the run are done in " in caplog.text


@pytest.mark.parametrize("output", ["run", "elsewhere"])
def test_the_best_checkpoint_is_found_in_a_folder_that_was_moved(output, tmp_path, caplog):
    best_checkpoint = tmp_path / "run" / "checkpoint-2"
    best_checkpoint.mkdir(parents=True)
    state = begin(tmp_path, output=output, best_global_step=2, best_metric=0.9)
    assert (state.best_model_checkpoint, state.best_metric) == (str(best_checkpoint), 0.9)
    best_checkpoint.rmdir()
    state = begin(tmp_path, output=output, best_global_step=2, best_metric=0.9)
    assert (state.best_model_checkpoint, state.best_metric, state.best_global_step) == (None, None, None)
    assert "the best model so far, checkpoint-2, is missing" in caplog.text


@pytest.mark.parametrize(
    ("logs", "fp16", "stops"),
    [
        ({"loss": 0.5, "grad_norm": torch.tensor(2.0)}, False, False),
        ({"loss": float("nan")}, False, True),
        ({"eval_loss": float("inf")}, True, True),
        ({"loss": 0.5, "grad_norm": torch.tensor(float("nan"))}, False, True),
        ({"loss": 0.5, "grad_norm": float("inf")}, True, False),  # the step is skipped, and the scale made smaller
    ],
)
def test_training_stops_at_a_number_that_is_not_finite(logs, fp16, stops, tmp_path):
    args = TrainingArguments(str(tmp_path), use_cpu=True)
    args.fp16 = fp16
    if stops:
        with pytest.raises(InputError, match=f"training has failed: `{list(logs)[-1]}` is (nan|inf) at step 3"):
            StopAtNaN().on_log(args, TrainerState(global_step=3), None, logs=logs)
    else:
        StopAtNaN().on_log(args, TrainerState(global_step=3), None, logs=logs)
