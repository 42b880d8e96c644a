"""Resuming a run: the checkpoint to start from, and the checks that it is whole and of the same run and model."""

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel

from extrabert_hf.data.multitask import MultiTaskDataset
from extrabert_hf.errors import InputError, one_line, refuse_file
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.pretrained.adapters import holds_adapter
from extrabert_hf.pretrained.loading import load_config
from extrabert_hf.pretrained.lora import ADAPTER
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.callbacks import ContinueCheckpoint
from extrabert_hf.training.run_record import RunRecord, hash_of_rows
from extrabert_hf.training.trainer import ExtraBertTrainer
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)

COMPARED = (
    "tasks",
    *(name for name in TASK_FIELDS if name not in ("class_names", "columns", "conformal")),
    "id2label",
    "hidden_size",
)
"""Fields of the config that must be equal in the checkpoint and in the run; `id2label` has the class names."""

COMPARED_OF_LORA = ("r", "lora_alpha", "lora_dropout", "target_modules")
"""Fields of the LoRA config that must be equal in the checkpoint and in the run."""


def find_checkpoint(args: ExtraBertTrainingArguments) -> str | None:
    """
    Finds the checkpoint that a run resumes from.

    Returns:
        `str`: folder of the checkpoint; `None` for a new run.

    Raises:
        [`InputError`]: if `resume_from_checkpoint` names no checkpoint or a damaged one, or if `output_dir` has
        checkpoints of an earlier run that the arguments neither resume nor overwrite.
    """
    output_dir = Path(args.output_dir)
    refuse_file("output_dir", output_dir)
    run = RunFolder(output_dir)
    if args.resume_from_checkpoint == "last":
        if run.last_checkpoint is None:
            raise InputError(
                f"`resume_from_checkpoint` 'last' needs a complete checkpoint in {output_dir}, which has none."
            )
        check_files(run.last_checkpoint)
        return str(run.last_checkpoint)
    if args.resume_from_checkpoint is not None:
        named = RunFolder(Path(args.resume_from_checkpoint))
        if named.checkpoints:
            raise InputError(
                f"`resume_from_checkpoint` must be a checkpoint, got the folder of a run, {named.path}: its last "
                f"checkpoint is {named.checkpoints[-1]}."
            )
        if not named.trainer_state_file.is_file():
            raise InputError(
                f"`resume_from_checkpoint` must be 'last' or a checkpoint folder, got {args.resume_from_checkpoint!r}."
            )
        check_files(named.path)
        return args.resume_from_checkpoint
    if run.checkpoints and not args.overwrite_output_dir:
        raise InputError(
            f"`output_dir` {output_dir} holds checkpoints of an earlier run: continue with `--resume_from_checkpoint "
            "last`, start a new run with `--overwrite_output_dir`, or choose another `--output_dir`."
        )
    return None


def with_saved_precision(args: ExtraBertTrainingArguments, checkpoint: str | None) -> ExtraBertTrainingArguments:
    """Returns arguments that leave the precision open with the precision of the checkpoint, if it is recorded."""
    record = None if checkpoint is None else RunRecord.read(checkpoint)
    if record is None or args.bf16 is not None or args.fp16:
        return args
    return replace(args, bf16=record.arguments["bf16"])


def check_same_run(record: RunRecord, checkpoint: str) -> None:
    """
    Checks before data is loaded that the run of a checkpoint has the same arguments; logs if it has no record.

    Args:
        record ([`RunRecord`]):
            The record of the run that resumes, without the rows.
        checkpoint (`str`):
            The checkpoint to resume from.

    Raises:
        [`InputError`]: as [`RunRecord.check_arguments`].
    """
    saved = RunRecord.read(checkpoint)
    if saved is None:
        logger.warning(
            "the checkpoint %s has no record of its run, because an earlier version wrote it: only the model, the "
            "batch size and the number of steps are compared. Give the same arguments and data as before.",
            checkpoint,
        )
        batch_size = record.arguments["per_device_train_batch_size"] * record.arguments["GPUs of a process"]
        found = _read_state(Path(checkpoint)).get("train_batch_size")
        if found not in (None, batch_size) and not record.arguments["auto_find_batch_size"]:
            raise InputError(
                f"a resumed run must have the arguments of its checkpoint, {checkpoint}: "
                f"`per_device_train_batch_size` is {found} there, got {batch_size}."
            )
    else:
        saved.check_arguments(record, checkpoint)


def keep_record(trainer: ExtraBertTrainer, record: RunRecord, checkpoint: str | None) -> None:
    """
    Adds the rows to the record of a run, and gives the record to the trainer, which writes it to each checkpoint.

    Args:
        trainer ([`ExtraBertTrainer`]):
            The trainer of the run.
        record ([`RunRecord`]):
            The record of the run, without the rows.
        checkpoint (`str`, *optional*):
            The checkpoint to resume from.

    Raises:
        [`InputError`]: if the checkpoint is of other rows. Training raises one if it is of another number of steps.
    """
    rows = _by_split(trainer.train_dataset, "train") | _by_split(trainer.eval_dataset, "dev")
    trainer.record = replace(record, rows={split: hash_of_rows(of_split) for split, of_split in rows.items()})
    if checkpoint is not None:
        saved = RunRecord.read(checkpoint)
        if saved is not None:
            saved.check_rows(trainer.record.rows, checkpoint)
        steps = _read_state(Path(checkpoint))["max_steps"]
        trainer.add_callback(ContinueCheckpoint(Path(checkpoint), steps, is_fixed=not record.has_any_length))


def _by_split(
    rows: Dataset | MultiTaskDataset | Mapping[str, MultiTaskDataset] | None, split: str
) -> dict[str, Dataset]:
    """Returns the tokenized rows of one task under the name of the split, those of several under `"sst train"`."""
    if rows is None:
        return {}
    if isinstance(rows, Dataset):
        return {split: rows}
    if isinstance(rows, MultiTaskDataset):
        return {f"{task} {split}": of_task for task, of_task in rows.tasks.items()}
    return {name: of_task for each in rows.values() for name, of_task in _by_split(each, split).items()}


RESUMED_FILES = ("optimizer.pt", "scheduler.pt")
"""Files of a checkpoint with the state of training."""


def check_files(checkpoint: Path) -> None:
    """
    Checks that the files of a checkpoint exist and are not truncated; reads no weights.

    Args:
        checkpoint (`Path`):
            The folder.

    Raises:
        [`InputError`]: with the earlier complete checkpoint to resume from, if one exists.
    """
    defect = _defect(checkpoint)
    if defect is None:
        return
    earlier = [
        path
        for path in RunFolder(checkpoint.parent).complete_checkpoints
        if path != checkpoint and _defect(path) is None
    ]
    advice = "a new run with --overwrite_output_dir"
    if earlier:
        advice = f"--resume_from_checkpoint {earlier[-1]}, or delete the damaged folder"
    raise InputError(f"the checkpoint {checkpoint} can't be resumed from: {defect}. Use {advice}.")


def _defect(checkpoint: Path) -> str | None:
    """Names the first file of a checkpoint that is missing or damaged; `None` if all are whole."""
    try:
        _read_state(checkpoint)
        RunRecord.read(str(checkpoint))
    except InputError as error:
        return str(error)
    for path in checkpoint.glob("*config.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"{path.name} is damaged ({one_line(error)})"
    others = [path for path in checkpoint.iterdir() if path.is_dir() or path.suffix == ".bin"]
    if any(path.name != "training_args.bin" for path in others):
        return None  # FSDP or DeepSpeed: other files
    weights = sorted(checkpoint.glob("*.safetensors"))
    index = checkpoint / "model.safetensors.index.json"
    if index.is_file():
        weights = sorted({checkpoint / name for name in json.loads(index.read_text())["weight_map"].values()})
    if not weights:
        return "it has no weights (model.safetensors or adapter_model.safetensors)"
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            return f"{path.name} is missing or truncated ({one_line(error)})"
    processes = len(list(checkpoint.glob("rng_state_*.pth")))  # a single process writes a name without number
    of_processes = [f"rng_state_{rank}.pth" for rank in range(max(2, processes))] if processes else ["rng_state.pth"]
    for name in (*RESUMED_FILES, *of_processes):
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing (a checkpoint of --save_only_model has no state of training)"
        try:
            is_whole = zipfile.ZipFile(path).testzip() is None  # the format of `torch.save`, with checksums
        except zipfile.BadZipFile:
            is_whole = False
        if not is_whole:
            return f"{name} is truncated or damaged"
    return None


def _read_state(checkpoint: Path) -> dict[str, Any]:
    """Reads the state of the `Trainer`; raises [`InputError`] for a file that holds none."""
    path = RunFolder(checkpoint).trainer_state_file
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        _ = state["global_step"] + state["max_steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path.name} is damaged ({one_line(error)})") from error
    return state


def check_same_model(model: PreTrainedModel | PeftModel, checkpoint: str) -> None:
    """Raises [`InputError`] if the model or the adapter of a checkpoint differs from the run's `model`."""
    lora = isinstance(model, PeftModel)
    if holds_adapter(checkpoint) != lora:
        raise InputError(f"`lora` must be {not lora} to resume from {checkpoint}, got {lora}.")
    _check_same(load_config(checkpoint), model.config, COMPARED)
    weights = RunFolder(Path(checkpoint)).weights_file
    if weights.is_file():
        _check_same_weights(model, weights)
    if lora:
        _check_same(PeftConfig.from_pretrained(checkpoint), model.peft_config[ADAPTER], COMPARED_OF_LORA)


def _check_same_weights(model: PreTrainedModel, path: Path) -> None:
    """Raises [`InputError`] if a file lacks a weight of the model, or has it in another size."""
    with safe_open(path, framework="pt") as file:
        sizes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    weights = model.state_dict()
    saved = {weights[name].data_ptr() for name in sizes if name in weights}  # of shared weights one name is saved
    for name, weight in weights.items():
        if sizes.get(name, [] if weight.data_ptr() not in saved else list(weight.shape)) != list(weight.shape):
            found = f"the size {sizes[name]}" if name in sizes else "no such weight"
            raise InputError(
                f"`resume_from_checkpoint` must hold this run's model, whose `{name}` has the size "
                f"{list(weight.shape)}, got {found} in {path.parent}."
            )


def _check_same(
    saved: PreTrainedConfig | PeftConfig, config: PreTrainedConfig | PeftConfig, names: Sequence[str]
) -> None:
    for name in names:
        expected, found = (_compared(getattr(either, name)) for either in (config, saved))
        if found != expected:
            raise InputError(
                f"`resume_from_checkpoint` must hold this run's model, whose `{name}` is {expected}, got {found}."
            )


def _compared(value: Any) -> Any:
    """Leaves the columns of the training rows out of a config's `tasks`: they do not change the model."""
    if not isinstance(value, dict):
        return value
    return {
        key: {name: field for name, field in entry.items() if name != "columns"} if isinstance(entry, dict) else entry
        for key, entry in value.items()
    }
