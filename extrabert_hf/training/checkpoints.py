"""Resuming a run: the checkpoint to start from, and the check that it holds the same model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from transformers import PreTrainedConfig, PreTrainedModel

from extrabert_hf.errors import InputError, refuse_file
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.pretrained.adapters import holds_adapter
from extrabert_hf.pretrained.loading import load_config
from extrabert_hf.pretrained.lora import ADAPTER
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

COMPARED = (
    "tasks",
    *(name for name in TASK_FIELDS if name not in ("class_names", "columns")),
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
        [`InputError`]: if `resume_from_checkpoint` names no checkpoint, or `output_dir` has checkpoints of an earlier
        run that the arguments neither resume nor overwrite.
    """
    output_dir = Path(args.output_dir)
    refuse_file("output_dir", output_dir)
    run = RunFolder(output_dir)
    if args.resume_from_checkpoint == "last":
        if run.last_checkpoint is None:
            raise InputError(
                f"`resume_from_checkpoint` 'last' needs a complete checkpoint in {output_dir}, which has none."
            )
        return str(run.last_checkpoint)
    if args.resume_from_checkpoint is not None:
        if not (Path(args.resume_from_checkpoint) / RunFolder.TRAINER_STATE).is_file():
            raise InputError(
                f"`resume_from_checkpoint` must be 'last' or a checkpoint folder, got {args.resume_from_checkpoint!r}."
            )
        return args.resume_from_checkpoint
    if run.checkpoints and not args.overwrite_output_dir:
        raise InputError(
            f"`output_dir` {output_dir} holds checkpoints of an earlier run: continue with --resume_from_checkpoint "
            f"last, start a new run with --overwrite_output_dir, or choose another --output_dir."
        )
    return None


def check_same_model(model: PreTrainedModel | PeftModel, checkpoint: str) -> None:
    """Raises [`InputError`] if the model or the adapter of a checkpoint differs from the run's `model`."""
    lora = isinstance(model, PeftModel)
    if holds_adapter(checkpoint) != lora:
        raise InputError(f"`lora` must be {not lora} to resume from {checkpoint}, got {lora}.")
    _check_same(load_config(checkpoint), model.config, COMPARED)
    if lora:
        _check_same(PeftConfig.from_pretrained(checkpoint), model.peft_config[ADAPTER], COMPARED_OF_LORA)


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
