"""A whole fine-tuning run, of one task or of several over one encoder. Read this module from top to bottom."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    set_seed,
)

from extrabert_hf.data.audit_report import findings, write_audit
from extrabert_hf.data.auditing import audit, text_keys
from extrabert_hf.data.collators import DataCollatorForMultiTask, DataCollatorForSentences
from extrabert_hf.data.in_memory import write_rows
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.data.originals import copy_rows
from extrabert_hf.data.tokenization import tokenize_dataset
from extrabert_hf.data.validation import write_rejected_rows
from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.scores import majority_baseline
from extrabert_hf.files import atomic_folder, atomic_path
from extrabert_hf.inference.calibration import MIN_ROWS, CalibrationReport, calibrate_model
from extrabert_hf.machine import keep_freed_memory
from extrabert_hf.manifest import remove_own
from extrabert_hf.pretrained.building import need_model_without_adapters
from extrabert_hf.pretrained.loading import models_by_task
from extrabert_hf.pretrained.lora import merge_lora, save_adapter, with_lora
from extrabert_hf.pretrained.names import public_model_name, remember_encoder
from extrabert_hf.pretrained.remote_code import pickles_in_one_line, trusted_code
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.labelled_rows import MOST_LEFT_OUT
from extrabert_hf.runs.ownership import check_room, hold_run
from extrabert_hf.runs.run_metrics import RunMetrics
from extrabert_hf.runs.train_rows import remember_train_rows
from extrabert_hf.training.callbacks import BeforeFirstStep, KeepBestPerTask
from extrabert_hf.training.checkpoints import (
    check_same_model,
    check_same_run,
    find_checkpoint,
    keep_record,
    with_saved_precision,
)
from extrabert_hf.training.multitask_trainer import MultiTaskTrainer
from extrabert_hf.training.objectives import prepare_train_rows
from extrabert_hf.training.results import score_and_write
from extrabert_hf.training.run import Run
from extrabert_hf.training.run_output import log_results, log_what_is_trained, one_bar
from extrabert_hf.training.run_plan import plan_run
from extrabert_hf.training.run_record import RunRecord
from extrabert_hf.training.setup import prepare_process
from extrabert_hf.training.trainer import ExtraBertTrainer, check_finite
from extrabert_hf.training.trainer_parts import metrics_for, prepare_model

logger = logging.getLogger(__name__)


def check_can_calibrate(run: Run, loaded: dict[str, LoadedData]) -> None:
    """Raises [`InputError`] before training for a run with `calibrate` that cannot be calibrated."""
    if not run.training.calibrate:
        return
    if run.lora.lora:
        raise InputError("`calibrate` can't be combined with `lora`: use `extrabert calibrate` on the merged model.")
    if run.multitask is not None and run.multitask.keep_best_per_task:
        raise InputError(
            "`calibrate` can't be combined with `keep_best_per_task`: the models in best/ would not be calibrated."
        )
    labels = {
        name: loaded[name].splits["dev"]["label"][:] for name, task in run.specs.items() if not task.is_regression
    }
    if not labels:
        raise InputError(f"`calibrate` is for classes, but {', '.join(map(repr, run.tasks))} has scores.")
    for name, of_rows in labels.items():
        if len(of_rows) < MIN_ROWS:
            raise InputError(f"`calibrate` needs {MIN_ROWS} dev rows or more, {name!r} has {len(of_rows)}.")
        if len(set(of_rows)) < 2:
            raise InputError(f"`calibrate` needs dev rows of two classes or more, those of {name!r} are of one.")
        in_train = set(text_keys(loaded[name].splits["train"]))
        leaked = sum(key in in_train for key in text_keys(loaded[name].splits["dev"]))
        if leaked > MOST_LEFT_OUT * len(of_rows):
            raise InputError(
                f"`calibrate` needs dev rows that are no train rows, {leaked:,} of {len(of_rows):,} dev rows of "
                f"{name!r} are train rows: give other --dev_data, or --drop_leaked true."
            )


def calibrate_run(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]
) -> dict[str, CalibrationReport]:
    """
    Calibrates the head of each task with classes, and saves the model again.

    Args:
        run ([`Run`]):
            The arguments of the run.
        model (`PreTrainedModel`):
            The trained model.
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer.
        loaded (`dict[str, LoadedData]`):
            The rows of each task.

    Returns:
        `dict[str, CalibrationReport]`: the result of [`calibrate_model`] by task.
    """
    batch_size, progress = run.training.eval_batch_size, not run.training.disable_tqdm
    reports = {}
    for name, trained in models_by_task(model, tokenizer, run.specs).items():  # these models share heads with `model`
        if not trained.task.is_regression:
            rows = loaded[name].splits["dev"]
            reports[name] = calibrate_model(trained, rows, batch_size=batch_size, progress=progress)
    with atomic_folder(Path(run.training.output_dir)) as folder:
        model.save_pretrained(folder)
    return reports


def run_finetuning(run: Run, callbacks: Sequence[TrainerCallback] = ()) -> RunMetrics | None:
    """
    Fine-tunes one model and writes the model, its scores and its predictions to `run.training.output_dir`.

    [`RunFolder`] names the files. The model is that of the best checkpoint.

    Args:
        run ([`Run`]):
            The arguments of the run, from [`parse_run`] or [`parse_multitask_run`].
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Further callbacks for the trainer.

    Returns:
        [`RunMetrics`]: the metrics of the run; `None` on all processes but the first, and of a run with `dry_run`.

    Raises:
        [`InputError`]: for arguments or data that cannot be used.
    """
    if not isinstance(run, Run):
        raise InputError(
            f"`run` must be a Run, as from `parse_run`, got a {type(run).__name__}: `finetune` takes data."
        )
    if run.dry_run:
        with trusted_code(run.trust_remote_code):
            plan_run(run, read_tasks(run))
        return None
    keep_freed_memory()
    with (
        trusted_code(run.trust_remote_code),
        pickles_in_one_line("`resume_from_checkpoint`"),
        hold_run("output_dir", Path(run.training.output_dir)),
    ):
        return _run_finetuning(run, callbacks)


def _run_finetuning(run: Run, callbacks: Sequence[TrainerCallback]) -> RunMetrics | None:
    checkpoint = find_checkpoint(run.training)
    run = replace(run, training=prepare_process(with_saved_precision(run.training, checkpoint)))
    saved = None if checkpoint is None else RunRecord.read(checkpoint)
    if checkpoint is not None:
        check_same_run(RunRecord.of_run(run), checkpoint)
    if run.training.process_index == 0:
        check_room("output_dir", Path(run.training.output_dir))
    set_seed(run.training.seed)
    if run.rows is not None:
        save_rows(run)
    loaded = load_rows(run)
    has_rules = run.rules is not None
    run = plan_run(run, loaded, None if saved is None else saved.encoder)
    record = RunRecord.of_run(run)
    if has_rules and checkpoint is not None:
        check_same_run(record, checkpoint)
    check_can_calibrate(run, loaded)
    model, tokenizer = make_model(run)
    if model.config.encode_by_length and run.training.torch_compile:
        raise InputError("`torch_compile` pads sentences, which changes the output of this encoder: pass false.")
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
    keep_record(trainer, record, checkpoint)
    for callback in callbacks:
        trainer.add_callback(callback)
    if trainer.is_world_process_zero():  # an earlier run in the folder stays if the trainer refuses this one
        plan = partial(log_what_is_trained, trainer)
        first = BeforeFirstStep(partial(start_folder, run, loaded, is_new=checkpoint is None), plan)
        trainer.callback_handler.callbacks.insert(0, first)  # before the callbacks that write to the folder
    with one_bar(trainer):
        train_metrics = trainer.train(resume_from_checkpoint=checkpoint).metrics
    model = save_model(run, trainer)
    if trainer.state.best_model_checkpoint is not None:  # without the folders of this machine
        trainer.state.best_model_checkpoint = Path(trainer.state.best_model_checkpoint).name
    trainer.save_state()
    if not trainer.is_world_process_zero():
        return None
    calibrations = calibrate_run(run, model, tokenizer, loaded) if run.training.calibrate else {}
    metrics = score_and_write(run, trainer, model, loaded, train_metrics, calibrations)
    trainer.write_card()
    log_results(RunFolder(Path(run.training.output_dir)))
    if run.training.push_to_hub:
        trainer.push_output_dir()
    return metrics


def save_rows(run: Run) -> None:
    """Writes rows that a user passed in memory to the run's folder, where all processes read them."""
    folder = RunFolder(Path(run.training.output_dir))
    with run.training.main_process_first(desc="writing the rows"):
        if run.training.local_process_index == 0:
            remove_own(folder.rows)
            for split, source in run.rows.splits.items():
                with atomic_path(folder.rows_file(split)) as path:
                    write_rows(source, path)


def read_tasks(run: Run) -> dict[str, LoadedData]:
    """Loads the splits of each task. Rows in memory that are not in the run's folder yet are read from memory."""
    rows = run.rows if run.dry_run else None
    return {name: each.data.load(each.task, run.training.seed, rows) for name, each in run.tasks.items()}


def load_rows(run: Run) -> dict[str, LoadedData]:
    """Loads the splits of each task, and writes the rejected rows to a file."""
    loaded = read_tasks(run)
    if run.training.process_index == 0:
        folder = RunFolder(Path(run.training.output_dir))
        rejected = [row for rows in loaded.values() for row in rows.rejected]
        with atomic_path(folder.rejected_rows_file) as path:
            write_rejected_rows(path, rejected)
    return loaded


def start_folder(run: Run, loaded: dict[str, LoadedData], *, is_new: bool) -> None:
    """
    Removes the results of an earlier run from the folder of a new run; writes the dev rows that were cut off the train
    rows, and hashes of the train rows.
    """
    folder = RunFolder(Path(run.training.output_dir))
    if is_new:
        folder.clear_results()
    for name, rows in loaded.items():
        if rows.dev_cut_off is not None:
            with atomic_path(folder.split_file(name, "dev")) as path:
                copy_rows(path, rows.dev_cut_off, rows.splits["dev"]["line"][:])
            logger.info("the dev rows of %s are in %s", name, folder.split_file(name, "dev"))
    remember_train_rows(folder, {name: loaded[name] for name in run.trained}, run.encoder.model_name_or_path)


def audit_rows(run: Run, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]) -> None:
    """Audits the rows of each task, logs the findings and writes the audit to the run's folder."""
    reports = {
        name: audit(rows, run.specs[name], tokenizer, majority_baseline=majority_baseline)
        for name, rows in loaded.items()
    }
    for report in reports.values():
        severe = findings(report, severe=True)
        for finding in findings(report):
            logger.log(logging.INFO if finding in severe else logging.DEBUG, finding)
    write_audit(RunFolder(Path(run.training.output_dir)).audit_file, reports)


def make_model(run: Run) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Builds the model of a run and its tokenizer."""
    (spec, *_) = run.specs.values()
    if run.lora.lora:
        need_model_without_adapters(run.encoder.model_name_or_path)
    return prepare_model(
        run.encoder.model_name_or_path,
        spec if run.multitask is None else run.specs,
        max_length=run.max_length,
        attn_implementation=run.encoder.attn_implementation,
        fields_of={task: task_run.model.config_fields() for task, task_run in run.tasks.items()},
    )


def build_trainer(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, loaded: dict[str, LoadedData]
) -> ExtraBertTrainer:
    """Builds the trainer of a run from the model, the rows of each task and their metrics."""
    train, dev = {}, {}
    for name in run.trained:
        rows = loaded[name].splits["train"]
        train[name] = prepare_train_rows(rows, tokenize_dataset(rows, tokenizer), run.specs[name], run.training)
    for name in run.tasks:
        rows = tokenize_dataset(loaded[name].splits["dev"], tokenizer)
        dev[name] = rows.select(np.argsort(rows["length"][:])[::-1])  # sorted by length: little padding
    metrics_of = {name: metrics_for(task) for name, task in run.specs.items()}
    multiple = 8 if run.training.device.type == "cuda" else None  # for tensor cores
    collator = DataCollatorForSentences(tokenizer.pad_token_id, pad_to_multiple_of=multiple)
    callbacks: list[TrainerCallback] = []
    if run.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(run.training.early_stopping_patience))
    # a separate run needs no gradient per task: the plain trainer takes one backward pass for the whole model
    if run.multitask is None:
        (name,) = run.tasks
        return ExtraBertTrainer(
            model,
            run.training,
            collator,
            train[name],
            dev[name],
            tokenizer,
            compute_metrics=metrics_of[name],
            callbacks=callbacks,
        )
    if run.multitask.keep_best_per_task:
        callbacks.append(KeepBestPerTask(run.specs))
    return MultiTaskTrainer(
        model,
        run.training,
        DataCollatorForMultiTask(collator),
        MultiTaskDataset(train),
        dev,
        tokenizer,
        callbacks=callbacks,
        tasks=run.specs,
        multitask=run.multitask,
        metrics_of=metrics_of,
    )


def save_model(run: Run, trainer: ExtraBertTrainer) -> PreTrainedModel:
    """Saves the trained model and returns it; LoRA adapters are merged into the weights and also saved alone."""
    check_finite(trainer.model, trainer.state.global_step)
    if not run.lora.lora:
        trainer.save_model()
        return trainer.model
    merged = merge_lora(trainer.model)
    if trainer.args.should_save:
        output = RunFolder(Path(trainer.args.output_dir))
        remember_encoder(run.encoder.model_name_or_path, output.path)
        with atomic_folder(output.adapter) as folder:
            save_adapter(trainer.model, folder, encoder=public_model_name(run.encoder.model_name_or_path))
            trainer.processing_class.save_pretrained(folder)
        with atomic_folder(output.path) as folder:
            merged.save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
    return merged
