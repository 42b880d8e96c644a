"""The heads of a finished run, calibrated on its dev rows."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from extrabert_hf.data.loading import LoadedData
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.calibrating import MIN_ROWS, calibrate_model
from extrabert_hf.training.command_line import Run


def check_can_calibrate(run: Run, loaded: dict[str, LoadedData]) -> None:
    """Refuses, before it is trained, a run that is told to `calibrate` what it can't."""
    if not run.training.calibrate:
        return
    if run.lora.lora:
        raise InputError("`calibrate` can't be joined with `lora`: recipes/calibrate.py takes the merged model.")
    if run.multitask is not None and run.multitask.keep_best_per_task:
        raise InputError(
            "`calibrate` can't be joined with `keep_best_per_task`, whose models it would leave as they are."
        )
    labels = {name: loaded[name].splits["dev"]["label"][:] for name, its in run.specs.items() if not its.is_regression}
    if not labels:
        raise InputError(f"`calibrate` is for classes, {', '.join(map(repr, run.tasks))} has scores.")
    for name, its in labels.items():
        if len(its) < MIN_ROWS:
            raise InputError(f"`calibrate` needs {MIN_ROWS} dev rows or more, {name!r} has {len(its)}.")
        if len(set(its)) < 2:
            raise InputError(f"`calibrate` needs dev rows of two classes or more, those of {name!r} are of one.")


def calibrate_run(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]
) -> dict[str, dict[str, Any]]:
    """
    Calibrates the head of each task that has classes, and saves the model anew.

    Args:
        run ([`Run`]):
            What the run was told.
        model (`PreTrainedModel`):
            The trained model.
        tokenizer (`PreTrainedTokenizerBase`):
            Its tokenizer.
        loaded (`dict[str, LoadedData]`):
            Each task's rows.

    Returns:
        `dict`: by task what [`calibrate`] says.
    """
    options = {"batch_size": run.training.eval_batch_size, "progress": not run.training.disable_tqdm}
    reports = {}
    for name, task in run.specs.items():
        if not task.is_regression:
            task_model = model if run.multitask is None else model.extract(name)  # which shares the head
            reports[name] = calibrate_model(task_model, tokenizer, task, loaded[name].splits["dev"], **options)
    model.save_pretrained(run.training.output_dir)
    return reports
