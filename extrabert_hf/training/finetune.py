"""A whole fine-tuning run, of one task or of several over one encoder: read it top to bottom."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    set_seed,
)

from extrabert_hf.data.audit_report import findings, write_audit
from extrabert_hf.data.auditing import audit
from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.data.tokenization import DEFAULT_MAX_LENGTH, tokenize_dataset
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError, need_folder
from extrabert_hf.evaluation.metrics import compute_metrics, predictions_from_logits
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.inference.calibration import MIN_ROWS, CalibrationReport, calibrate_model
from extrabert_hf.machine import PRECISIONS, keep_freed_memory
from extrabert_hf.pretrained.loading import build_model, build_multitask_model, models_by_task
from extrabert_hf.pretrained.lora import merge_lora, save_adapter, with_lora
from extrabert_hf.pretrained.names import lasting_model_name
from extrabert_hf.runs.folder import RunFolder, atomic_path
from extrabert_hf.runs.run_metrics import RunMetrics
from extrabert_hf.tasks import TaskSpec
from extrabert_hf.training.callbacks import KeepBestPerTask
from extrabert_hf.training.checkpoints import check_same_model, find_checkpoint
from extrabert_hf.training.command_line import Run
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.objectives import prepare_train_rows
from extrabert_hf.training.results import score_and_write
from extrabert_hf.training.trainer import ExtraBertTrainer, plain_model


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
) -> dict[str, CalibrationReport]:
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
        `dict[str, CalibrationReport]`: what calibration changed, by task.
    """
    batch_size, progress = run.training.eval_batch_size, not run.training.disable_tqdm
    reports = {}
    for name, trained in models_by_task(model, tokenizer, run.specs).items():  # they share the heads of `model`
        if not trained.task.is_regression:
            rows = loaded[name].splits["dev"]
            reports[name] = calibrate_model(trained, rows, batch_size=batch_size, progress=progress)
    model.save_pretrained(run.training.output_dir)
    return reports


logger = logging.getLogger(__name__)


def finetune(run: Run, callbacks: Sequence[TrainerCallback] = ()) -> RunMetrics | None:
    """
    Fine-tunes one model, and writes the model, its scores and its predictions to `run.training.output_dir`.

    [`RunFolder`] names the files. The model is that of the best checkpoint.

    Args:
        run ([`Run`]):
            What [`parse_run`] or [`parse_multitask_run`] gives.
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            For the trainer, beside those of the run.

    Returns:
        [`RunMetrics`]: the metrics of the run; `None` on all processes but the first.

    Raises:
        [`InputError`]: for anything in `run` that can't be used.
    """
    keep_freed_memory()
    checkpoint = find_checkpoint(run.training)
    set_seed(run.training.seed)
    loaded = load_rows(run)
    check_can_calibrate(run, loaded)
    model, tokenizer = make_model(run)
    limit_length(tokenizer, model, run.max_length)
    if run.training.process_index == 0:
        audit_rows(run, tokenizer, loaded)
    if run.lora.lora:
        model = with_lora(
            model,
            r=run.lora.lora_r,
            alpha=run.lora.lora_alpha,
            dropout=run.lora.lora_dropout,
            target_modules=run.lora.lora_target_modules,
        )
    if checkpoint is not None:
        check_same_model(model, checkpoint)
    trainer = build_trainer(run, model, tokenizer, loaded)
    for callback in callbacks:
        trainer.add_callback(callback)
    if checkpoint is None and trainer.is_world_process_zero():
        RunFolder(Path(run.training.output_dir)).clear_results()
    tell_what_is_trained(run, trainer)
    train_metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    model = save_model(run, trainer)
    trainer.save_state()
    if not trainer.is_world_process_zero():
        return None
    calibrations = calibrate_run(run, model, tokenizer, loaded) if run.training.calibrate else {}
    metrics = score_and_write(run, trainer, model, loaded, train_metrics, calibrations)
    if run.training.push_to_hub:
        trainer.push_output_dir()
    return metrics


def load_rows(run: Run) -> dict[str, LoadedData]:
    """Loads each task's splits, says in a line each what a user should know, and writes the rejected rows out."""
    loaded = {}
    for name, task_run in run.tasks.items():
        loaded[name] = task_run.data.load(task_run.task, run.training.seed)
        for notice in loaded[name].notices:
            logger.info(notice)
    if run.training.process_index == 0:
        folder = RunFolder(Path(run.training.output_dir))
        need_folder("output_dir", folder.path)
        rejected = [row for rows in loaded.values() for row in rows.rejected]
        with atomic_path(folder.rejected_rows_file) as path:
            write_rejected_rows(path, rejected)
    return loaded


def audit_rows(run: Run, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]) -> None:
    """Audits the rows of each task, logs the findings and writes the audit to the run's folder."""
    reports = {
        name: audit(rows, run.specs[name], tokenizer, majority_baseline=majority_baseline)
        for name, rows in loaded.items()
    }
    for report in reports.values():
        for finding in findings(report):
            logger.info(finding)
    with atomic_path(RunFolder(Path(run.training.output_dir)).audit_file) as path:
        write_audit(path, reports)


def make_model(run: Run) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Builds the model of one task, or of several where the run has them."""
    name, attention = run.encoder.model_name_or_path, run.encoder.attn_implementation
    fields = {task: task_run.model.config_fields() for task, task_run in run.tasks.items()}
    if run.multitask is not None:
        return build_multitask_model(name, run.specs, attn_implementation=attention, config_fields=fields)
    ((task, spec),) = run.specs.items()
    return build_model(name, spec, attn_implementation=attention, **fields[task])


def limit_length(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, max_length: int | None) -> None:
    """Notes in the tokenizer, which is saved with the model, after how many tokens it cuts and what it gives."""
    positions = model.config.max_positions or DEFAULT_MAX_LENGTH
    is_cross_encoder = "cross_encoder" in model.config.pair_encodings
    # of each sentence; RoBERTa leaves two positions unused
    longest = min(tokenizer.model_max_length, positions // 2 - 1 if is_cross_encoder else positions)
    if is_cross_encoder and tokenizer("a")["input_ids"][0] not in (tokenizer.cls_token_id, tokenizer.bos_token_id):
        raise InputError(
            "`pair_encoding` 'cross_encoder' needs a tokenizer that starts a sentence with a special token."
        )
    if max_length is not None and max_length > longest:
        taken = "a joint pair has for each sentence" if is_cross_encoder else "the tokenizer takes"
        raise InputError(f"`max_length` must be at most {longest}, what {taken}, got {max_length}.")
    tokenizer.model_max_length = max_length or min(DEFAULT_MAX_LENGTH, longest)
    names = ["input_ids", "attention_mask"]  # what the model takes: `model(**tokenizer(...))`
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the latter are saved


def build_trainer(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]
) -> ExtraBertTrainer:
    """Joins model, tokenised rows and metrics in a trainer."""

    def tokenized(split: str) -> dict[str, Dataset]:
        return {name: tokenize_dataset(rows.splits[split], tokenizer) for name, rows in loaded.items()}

    train = tokenized("train")
    for name in list(run.tasks) if run.multitask is None else run.multitask.trained:
        rows = loaded[name].splits["train"]
        train[name] = prepare_train_rows(rows, train[name], run.specs[name], run.training)
    # like lengths stand together: little padding
    dev = {name: rows.select(np.argsort(rows["length"][:])[::-1]) for name, rows in tokenized("dev").items()}
    metrics_of = {name: partial(metrics_of_logits, task) for name, task in run.specs.items()}
    patience = run.training.early_stopping_patience
    on_gpu = run.training.device.type == "cuda"
    collator = DataCollatorForSentences(tokenizer.pad_token_id, pad_to_multiple_of=8 if on_gpu else None)
    shared = {
        "model": model,
        "args": run.training,
        "processing_class": tokenizer,
        "callbacks": [EarlyStoppingCallback(patience)] if patience is not None else [],
    }
    if run.multitask is None:
        ((name, rows),) = train.items()
        return ExtraBertTrainer(
            train_dataset=rows,
            eval_dataset=dev[name],
            data_collator=collator,
            compute_metrics=metrics_of[name],
            **shared,
        )
    if run.multitask.keep_best_per_task:
        shared["callbacks"].append(KeepBestPerTask(run.specs))
    return MultiTaskTrainer(
        tasks=run.specs,
        multitask=run.multitask,
        train_dataset=MultiTaskDataset({name: train[name] for name in run.multitask.trained}),
        eval_dataset=dev,
        data_collator=DataCollatorForMultiTask(collator),
        metrics_of=metrics_of,
        **shared,
    )


def metrics_of_logits(task: TaskSpec, evaluation: EvalPrediction) -> dict[str, float]:
    """Scores what the `Trainer` has predicted."""
    return compute_metrics(task, predictions_from_logits(task, evaluation.predictions), evaluation.label_ids)


def tell_what_is_trained(run: Run, trainer: ExtraBertTrainer) -> None:
    """Says the model, the device, the rows and the precision in one line."""
    model = trainer.model
    logger.info(
        "training %s on %s: %.1f of %.1f M parameters, %s rows, %s (%s), %s",
        type(plain_model(model)).__name__,
        trainer.args.device,
        sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) / 1e6,
        sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        f"{len(trainer.train_dataset):,}",
        PRECISIONS[run.training.mixed_precision],
        run.training.precision_reason,
        "without padding" if (reason := trainer.why_padded()) is None else f"padded ({reason})",
    )


def save_model(run: Run, trainer: ExtraBertTrainer) -> PreTrainedModel:
    """Saves the trained model, adapters merged into its weights and beside them on their own; gives it."""
    if not run.lora.lora:
        trainer.save_model(_internal_call=True)  # a call of ours, which pushes nothing yet
        return trainer.model
    merged = merge_lora(trainer.model)
    if trainer.args.should_save:
        output = RunFolder(Path(trainer.args.output_dir))
        save_adapter(trainer.model, output.adapter, encoder=lasting_model_name(run.encoder.model_name_or_path))
        merged.save_pretrained(output.path)
        for folder in (output.path, output.adapter):
            trainer.processing_class.save_pretrained(folder)
    return merged
