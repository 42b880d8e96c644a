"""What stands in an output folder already: to go on from, to keep, or to take away."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from extrabert_hf.errors import InputError
from extrabert_hf.models.configuration_extrabert import TASK_FIELDS
from extrabert_hf.pretrained.lora import ADAPTER
from extrabert_hf.runs.gradient_conflicts import CONFLICTS_FILE
from extrabert_hf.training.trainer import COMPLETE_FILE
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

COMPARED = (
    "tasks",
    *(name for name in TASK_FIELDS if name not in ("class_names", "columns")),
    "id2label",
    "hidden_size",
)
"""The fields in which a checkpoint's model must be the run's; `id2label` has the names of classes, given or not."""

COMPARED_OF_LORA = ("r", "lora_alpha", "lora_dropout", "target_modules")
"""The fields in which its adapter must be."""


def find_checkpoint(args: ExtraBertTrainingArguments) -> str | None:
    """Gives the checkpoint to resume from, if any; refuses to mix a new run into an old one's checkpoints."""
    output_dir = Path(args.output_dir)
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"`output_dir` must be a folder, {output_dir} is a file.")
    if args.resume_from_checkpoint == "last":
        last = last_checkpoint(output_dir)
        if last is None:
            raise InputError(
                f"`resume_from_checkpoint` 'last' needs a complete checkpoint in {output_dir}, which has none."
            )
        return str(last)
    if args.resume_from_checkpoint is not None:
        if not (Path(args.resume_from_checkpoint) / "trainer_state.json").is_file():
            raise InputError(
                f"`resume_from_checkpoint` must be 'last' or a checkpoint folder, got {args.resume_from_checkpoint!r}."
            )
        return args.resume_from_checkpoint
    if list(output_dir.glob("checkpoint-*")) and not args.overwrite_output_dir:
        raise InputError(
            f"`output_dir` {output_dir} holds checkpoints of an earlier run: go on with --resume_from_checkpoint "
            "last, start anew with --overwrite_output_dir, or name another --output_dir."
        )
    return None


def last_checkpoint(output_dir: Path) -> Path | None:
    """Gives the checkpoint of the most steps that was written to its end, if there is any."""
    complete = [path.parent for path in output_dir.glob(f"checkpoint-*/{COMPLETE_FILE}")]
    return max(complete, key=lambda path: int(path.name.removeprefix("checkpoint-")), default=None)


def clear_earlier_run(output_dir: Path) -> None:
    """Takes away what an earlier run left and this one might not write again."""
    for pattern in ("checkpoint-*", "predictions", "scored", "adapter", "best", "figures"):
        for folder in output_dir.glob(pattern):
            shutil.rmtree(folder)
    for name in ("metrics.json", CONFLICTS_FILE):
        (output_dir / name).unlink(missing_ok=True)


def check_same_model(model: PreTrainedModel | PeftModel, checkpoint: str) -> None:
    """Refuses to resume from a checkpoint whose model, or whose adapter, differs from the run's `model`."""
    lora = isinstance(model, PeftModel)
    if (Path(checkpoint) / "adapter_config.json").is_file() != lora:
        raise InputError(f"`lora` must be {not lora} to resume from {checkpoint}, got {lora}.")
    _check_same(AutoConfig.from_pretrained(checkpoint), model.config, COMPARED)
    if lora:
        _check_same(PeftConfig.from_pretrained(checkpoint), model.peft_config[ADAPTER], COMPARED_OF_LORA)


def _check_same(
    saved: PreTrainedConfig | PeftConfig, config: PreTrainedConfig | PeftConfig, names: Sequence[str]
) -> None:
    for name in names:
        was, now = (_compared(getattr(either, name)) for either in (saved, config))
        if was != now:
            raise InputError(
                f"`resume_from_checkpoint` must hold this run's model, whose `{name}` is {now}, got {was}."
            )


def _compared(value: Any) -> Any:
    """Leaves the columns of the training rows out of a config's `tasks`: they do not change the model."""
    if not isinstance(value, dict):
        return value
    return {
        key: {name: field for name, field in entry.items() if name != "columns"} if isinstance(entry, dict) else entry
        for key, entry in value.items()
    }
