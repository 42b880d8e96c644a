"""The record of a run that each checkpoint holds, and the comparison with the run that resumes from it."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset

import extrabert_hf
from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import write_json
from extrabert_hf.pretrained.names import public_model_name
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.sharing.model_card import HubArguments
from extrabert_hf.training.arguments import MODEL_FIELDS
from extrabert_hf.training.run import Run
from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

logger = logging.getLogger(__name__)

FREE = {
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "ignore_data_skip", "run_name", "project"),
    *("report_to", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "log_level"),
    *("log_level_replica", "log_on_each_node", "logging_dir", "logging_strategy", "logging_steps"),
    *("logging_first_step", "logging_nan_inf_filter", "disable_tqdm", "include_num_input_tokens_seen"),
    *("skip_memory_metrics", "debug", "per_device_eval_batch_size", "eval_accumulation_steps", "eval_on_start"),
    *("eval_do_concat_batches", "eval_use_gather_object", "include_for_metrics", "batch_eval_metrics"),
    *("prediction_loss_only", "do_train", "do_eval", "do_predict", "save_total_limit", "save_only_model"),
    *("save_on_each_node", "enable_jit_checkpoint", "restore_callback_states_from_checkpoint", "calibrate"),
    *("push_to_hub", "hub_token", "hub_model_id", "hub_strategy", "hub_always_push", "hub_revision"),
    *(entry.name for entry in fields(HubArguments)),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"),
    *("dataloader_prefetch_factor", "dataloader_multiprocessing_context", "dataloader_in_order"),
    *("remove_unused_columns", "local_rank", "ddp_find_unused_parameters", "ddp_bucket_cap_mb"),
    *("ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend", "ddp_timeout", "torch_empty_cache_steps"),
    *("activation_checkpointing", "activation_checkpointing_kwargs", "gradient_checkpointing"),
    *("gradient_checkpointing_kwargs", "full_determinism", "use_cache", "keep_best_per_task"),
}
"""Arguments that may change when a run is resumed: logs, files, memory, the speed of reading."""

REPORTED = {
    *("eval_strategy", "eval_steps", "eval_delay", "save_strategy", "save_steps", "load_best_model_at_end"),
    *("early_stopping_patience", "bf16_full_eval", "fp16_full_eval", "use_cpu", "tf32", "torch_compile"),
    *("torch_compile_backend", "torch_compile_mode", "use_liger_kernel", "unpad", "attn_implementation"),
}
"""Arguments that may change, with a warning: they do not decide the rows of a step, but which model is kept, or
rounding."""

DATA_FIELDS = (
    *("dev_fraction", "dev_seed", "max_length", "drop_leaked", "drop_duplicates", "phrases", "neutral_phrases"),
)
"""The [`DataArguments`] that are compared. The rows themselves decide about the others."""

LENGTH = {"num_train_epochs", "max_steps"}
"""The arguments that set the number of steps."""

SCHEDULES_OF_ANY_LENGTH = ("constant", "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau")
"""Values of `lr_scheduler_type` whose learning rates do not depend on the number of steps of the run."""


@dataclass(frozen=True)
class RunRecord:
    """
    The arguments, rows and versions that decide how a run continues, in the form of JSON.

    Args:
        arguments (`dict[str, Any]`):
            The compared arguments by name.
        rows (`dict[str, dict[str, Any]]`):
            By task and split (`"sst train"`), the number of rows and a hash of the token ids and labels in order.
        versions (`dict[str, str]`):
            Versions of the libraries.
        encoder (`str`, *optional*):
            Name of the encoder, for a run whose rules choose one.
    """

    arguments: dict[str, Any]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    encoder: str | None = None

    @classmethod
    def of_run(cls, run: Run) -> "RunRecord":
        """Makes the record of a run whose arguments are prepared; without the rows, which are not loaded yet."""
        multitask = run.multitask
        arguments = asdict(run.lora) if run.lora.lora else {"lora": False}
        arguments["multitask"] = multitask is not None
        if multitask is not None:
            arguments |= asdict(multitask) | {"train_tasks": multitask.trained}
        for task, task_run in run.tasks.items():
            of_task = {"task_name": task, "head": task_run.task.head}
            of_task |= {name: getattr(task_run.model, name) for name in (*MODEL_FIELDS, "attn_implementation")}
            of_task |= {name: getattr(task_run.data, name) for name in DATA_FIELDS}
            prefix = "" if multitask is None else f"{task}."
            arguments |= {f"{prefix}{name}": value for name, value in of_task.items()}
        open_until_loaded = set() if run.rules is None else set(run.rules.block()) - run.rules.given
        record = cls.of_training(run.training, arguments)
        compared = {name: value for name, value in record.arguments.items() if name not in open_until_loaded}
        return replace(record, arguments=compared, encoder=public_model_name(run.encoder.model_name_or_path))

    @classmethod
    def of_training(cls, training: ExtraBertTrainingArguments, others: Mapping[str, Any]) -> "RunRecord":
        """Makes the record of a run from its prepared training arguments and its other arguments by name."""
        arguments = training.to_dict()
        if training.data_seed == training.seed:
            arguments["data_seed"] = None  # the default
        if training.max_steps > 0:
            del arguments["num_train_epochs"]  # no effect
        if arguments["lr_scheduler_type"] in SCHEDULES_OF_ANY_LENGTH and others.get("mixing") != "annealed":
            arguments = {name: value for name, value in arguments.items() if name not in LENGTH}
        arguments |= {"processes": training.world_size, "GPUs of a process": max(1, training.n_gpu), **others}
        compared = {name: value for name, value in arguments.items() if name not in FREE}
        versions = {
            "extrabert_hf": extrabert_hf.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        return cls(json.loads(json.dumps(compared, default=str)), versions=versions)

    @property
    def has_any_length(self) -> bool:
        """Whether the run may be resumed with more steps, because no learning rate depends on their number."""
        return not LENGTH & self.arguments.keys()

    @classmethod
    def read(cls, checkpoint: str) -> "RunRecord | None":
        """
        Reads the record of a checkpoint; `None` for a checkpoint of an earlier version of this package.

        Raises:
            [`InputError`]: if the file holds no record.
        """
        path = Path(checkpoint) / RunFolder.RUN_RECORD
        if not path.is_file():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path.name} is damaged ({one_line(error)})") from error

    def write(self, checkpoint: Path) -> None:
        """Writes the record to a checkpoint."""
        write_json(checkpoint / RunFolder.RUN_RECORD, asdict(self))

    def check_arguments(self, given: "RunRecord", checkpoint: str) -> None:
        """
        Compares this record of a checkpoint with the run that resumes from it.

        Raises:
            [`InputError`]: if an argument has another value that changes the run.
        """
        differences = dict(_differences(self.arguments, given.arguments))
        refused = {name: text for name, text in differences.items() if name.rpartition(".")[2] not in REPORTED}
        if refused:
            hint = (
                " To train longer, start it with --model_name_or_path CHECKPOINT." if LENGTH & refused.keys() else ""
            )
            raise InputError(
                f"a resumed run must have the arguments of its checkpoint, {checkpoint}: "
                f"{'; '.join(refused.values())}. For other arguments start a new run, in another --output_dir or with "
                f"--overwrite_output_dir.{hint}"
            )
        if differences:
            logger.warning("the checkpoint %s is of a run with other arguments: %s", checkpoint, _listed(differences))
        versions = dict(_differences(self.versions, given.versions))
        if versions:
            logger.warning(
                "the checkpoint %s is of other versions, whose order of rows and rounding may differ: %s",
                checkpoint,
                _listed(versions),
            )

    def check_rows(self, given: Mapping[str, dict[str, Any]], checkpoint: str) -> None:
        """Raises [`InputError`] if the rows of a split are not those of the checkpoint, in the same order."""
        for split, rows in given.items():
            saved = self.rows.get(split)
            if saved != rows:
                before = "no rows" if saved is None else f"{saved['rows']:,} rows (hash {saved['hash'][:8]})"
                raise InputError(
                    f"a resumed run must have the rows of its checkpoint, {checkpoint}: the split {split!r} has "
                    f"{before} there, got {rows['rows']:,} rows (hash {rows['hash'][:8]}). Give the same data, with "
                    "unchanged files, and the same tokenizer, or start a new run with --overwrite_output_dir."
                )


def hash_of_rows(rows: Dataset) -> dict[str, Any]:
    """
    Returns the number of tokenized rows, and a hash of the token ids and the labels in order.

    Args:
        rows (`Dataset`):
            Rows with `input_ids` and `labels`, see [`tokenize_dataset`].
    """
    digest = hashlib.sha256()
    for name in ("input_ids", "labels"):
        if name in rows.column_names:
            for batch in rows.select_columns([name]).with_format("arrow").iter(10_000):
                values = batch[name].combine_chunks()
                while hasattr(values, "offsets"):  # lists: of tokens, or of two sentences of tokens
                    digest.update(np.diff(values.offsets.to_numpy()).astype(np.int64).tobytes())
                    values = values.flatten()
                digest.update(values.to_numpy(zero_copy_only=False).astype(np.float64).tobytes())
    return {"rows": len(rows), "hash": digest.hexdigest()}


def _differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the names of both with different values, and a text; a name of one side is of another version."""
    for name, value in given.items():
        if name in saved and saved[name] != value:
            yield name, f"`{name}` is {saved[name]!r} there, got {value!r}"


def _listed(differences: Mapping[str, str]) -> str:
    return "; ".join(differences.values())
