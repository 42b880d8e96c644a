"""Checks of values of training arguments that transformers refuses only after the data is loaded, or never."""

import json
import math
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.utils import validate_repo_id
from transformers.trainer_pt_utils import AcceleratorConfig

from extrabert_hf.errors import InputError, is_installed, one_line

if TYPE_CHECKING:  # the module of the class imports this module
    from extrabert_hf.training.training_arguments import ExtraBertTrainingArguments

INTERVALS = {
    "[0, 1)": ("adam_beta1", "adam_beta2", "label_smoothing_factor"),
    "[0, 1]": ("distillation",),
    "[0, 4294967295]": ("seed",),  # NumPy's limit
    "[0, 9223372036854775807]": ("data_seed",),
    "[0, inf)": (
        *("learning_rate", "head_learning_rate", "warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm"),
        *("neftune_noise_alpha", "eval_steps", "eval_delay", "r_drop", "dataloader_num_workers"),
    ),
    "(0, inf)": ("num_train_epochs", "distillation_temperature", "logging_steps", "save_steps"),
    "[1, inf)": (
        *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
        *("max_tokens_per_batch", "early_stopping_patience", "eval_accumulation_steps", "torch_empty_cache_steps"),
        *("dataloader_prefetch_factor", "ddp_bucket_cap_mb", "ddp_timeout"),
    ),
}
"""By interval, the arguments whose value must be in it. `inf` and `nan` are in none of them."""

STRATEGIES = {"logging_steps": "logging_strategy", "save_steps": "save_strategy"}
"""By argument, the argument that must be `"steps"` for the value to have an effect."""

CHOICES = {
    "ddp_backend": ("nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl"),
    "dataloader_multiprocessing_context": tuple(multiprocessing.get_all_start_methods()),
    "eval_strategy": ("no", "steps", "epoch"),
    "save_strategy": ("no", "steps", "epoch", "best"),
    "logging_strategy": ("no", "steps", "epoch"),
    "include_for_metrics": ("inputs", "loss"),
    "include_num_input_tokens_seen": ("all", "non_padding", "no", True, False),
    "torch_compile_mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
}
"""By argument, the allowed values. Other arguments have the choices of their type."""

JSON_OBJECTS = (
    *("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
    "liger_kernel_config",
)
"""Arguments that are a JSON object."""

JSON_FILES = ("accelerator_config", "fsdp_config", "deepspeed")
"""Arguments that are a JSON object, or the path of a JSON file, which transformers reads when arguments are built."""

OWN_PARAMETERS = ("galore", "apollo", "lomo", "adalomo")
"""Starts of the names of optimizers that group the parameters themselves."""

CHECKPOINTING_KEYS = ("use_reentrant", "preserve_rng_state", "determinism_check", "every_n_layers", "offload")
"""Keys of `activation_checkpointing_kwargs`: of transformers, and of `torch.utils.checkpoint.checkpoint`."""

FIXED = {
    "batch_eval_metrics": False,
    "eval_do_concat_batches": True,
    "label_names": None,
    "optim_target_modules": None,
    "prediction_loss_only": False,
}
"""Arguments that must keep one value in a run: the metrics need the predictions and labels of all rows."""


def check_values(args: "ExtraBertTrainingArguments") -> None:
    """
    Checks the values of training arguments, before transformers converts them; reads only the JSON files named there.

    Raises:
        [`InputError`]: for the first value that is not allowed.
    """
    whole = {entry.name for entry in fields(args) if entry.type in (int, int | None)}
    for interval, names in INTERVALS.items():
        for name in names:
            value = getattr(args, name)
            is_used = getattr(args, STRATEGIES[name]) == "steps" if name in STRATEGIES else value is not None
            if is_used:
                check_number(name, value, interval, is_whole=name in whole)
    if isinstance(args.warmup_steps, float) and args.warmup_steps >= 1 and not args.warmup_steps.is_integer():
        raise InputError(f"`warmup_steps` must be a whole number, or a share below 1, got {args.warmup_steps}.")
    for name, choices in CHOICES.items():
        value = getattr(args, name)
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            if item not in choices:
                raise InputError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {item!r}.")
    evaluates, saves = (str(getattr(value, "value", value)) for value in (args.eval_strategy, args.save_strategy))
    is_known = saves == evaluates or (saves == "best" and evaluates != "no")
    if args.load_best_model_at_end and not is_known:
        raise InputError(
            "`load_best_model_at_end` needs the same `eval_strategy` and `save_strategy`, or 'best' to save after an "
            f"evaluation, got {evaluates!r} and {saves!r}."
        )
    if saves == "best" and evaluates == "no":
        raise InputError("`save_strategy` 'best' needs an `eval_strategy` of 'steps' or 'epoch', got 'no'.")
    for name in (*JSON_OBJECTS, *JSON_FILES):
        _check_json(name, getattr(args, name))
    if args.deepspeed and not is_installed("deepspeed"):
        raise InputError("`deepspeed` needs a package that is not installed: pip install deepspeed")
    if args.hub_model_id is not None:
        with refused_value("hub_model_id", args.hub_model_id):
            validate_repo_id(args.hub_model_id)
    if args.optim_args:
        for part in args.optim_args.replace(" ", "").split(","):
            name, equals, value = part.partition("=")
            if not (name and equals and value):
                raise InputError(f"`optim_args` must be of the form name=value,name=value, got {args.optim_args!r}.")
    optimizer = str(getattr(args.optim, "value", args.optim))
    if optimizer.startswith(OWN_PARAMETERS):
        raise InputError(
            "`optim` must be an optimizer that takes groups of parameters, because heads have another learning rate "
            f"than the encoder, got {optimizer!r}."
        )
    kwargs = args.activation_checkpointing_kwargs or args.gradient_checkpointing_kwargs or {}
    for key in json.loads(kwargs) if isinstance(kwargs, str) else kwargs:
        if key not in CHECKPOINTING_KEYS:
            raise InputError(
                f"`activation_checkpointing_kwargs` must have keys of {', '.join(CHECKPOINTING_KEYS)}, got {key!r}."
            )
    for name in ("dataloader_persistent_workers", "dataloader_multiprocessing_context", "dataloader_prefetch_factor"):
        if getattr(args, name) and args.dataloader_num_workers == 0:
            raise InputError(f"`{name}` needs `dataloader_num_workers` of 1 or more, got 0.")
    _check_that_it_trains(args)


def check_fixed(args: "ExtraBertTrainingArguments") -> None:
    """Raises [`InputError`] for a value that only a trainer with metrics of its own can use."""
    for name, needed in FIXED.items():
        if getattr(args, name) != needed:
            raise InputError(f"`{name}` must be {needed} in a run, got {getattr(args, name)!r}.")


def check_number(name: str, value: Any, interval: str, *, is_whole: bool = False) -> None:
    """
    Raises [`InputError`] for a value that is no number in an interval.

    Args:
        name (`str`):
            The argument.
        value (`Any`):
            The value.
        interval (`str`):
            The interval, such as `"[0, 1)"`, whose upper bound 1 is not allowed.
        is_whole (`bool`, defaults to `False`):
            Whether the value must be an `int`.

    Example:
        >>> check_number("learning_rate", float("nan"), "[0, inf)")
        Traceback (most recent call last):
        extrabert_hf.errors.InputError: `learning_rate` must be a number, 0 or more, got nan.
    """
    low, high = (float(bound) for bound in interval[1:-1].split(", "))
    is_number = isinstance(value, Integral if is_whole else Real) and not isinstance(value, bool)
    above = is_number and (value >= low if interval[0] == "[" else value > low)
    below = is_number and (value <= high if interval[-1] == "]" else value < high)
    if not (above and below):
        bounds = (
            f"in {interval}" if high < math.inf else f"{low:g} or more" if interval[0] == "[" else f"above {low:g}"
        )
        is_finite = isinstance(value, Real) and math.isfinite(value)
        kind = "a whole number, " if is_whole and not is_number else "" if is_number and is_finite else "a number, "
        raise InputError(f"`{name}` must be {kind}{bounds}, got {value!r}.")


def changed_fields(arguments: Any) -> list[str]:
    """Returns the names of the fields of a dataclass of arguments that do not have their defaults."""
    return [
        each.name
        for each in fields(arguments)
        if getattr(arguments, each.name) != (each.default if each.default is not MISSING else each.default_factory())
    ]


def _check_json(name: str, value: Any) -> None:
    """Checks a JSON object, or for [`JSON_FILES`] also the path of a file with one."""
    if not isinstance(value, str):
        return
    is_file = name in JSON_FILES and not value.startswith("{")
    try:
        parsed = json.loads(Path(value).read_text(encoding="utf-8") if is_file else value)
    except OSError as error:
        raise InputError(f"`{name}` must be a JSON file or object, got {value!r}: {error.strerror}.") from error
    except ValueError as error:
        raise InputError(f"`{name}` must be a JSON object, got {value!r}: {one_line(error)}.") from error
    if not isinstance(parsed, dict):
        raise InputError(f"`{name}` must be a JSON object, such as '{{\"key\": 1}}', got {value!r}.")
    known = [entry.name for entry in fields(AcceleratorConfig)]
    unknown = [key for key in parsed if key not in known]
    if name == "accelerator_config" and unknown:
        raise InputError(f"`accelerator_config` must have keys of {', '.join(known)}, got {unknown[0]!r}.")


def _check_that_it_trains(args: "ExtraBertTrainingArguments") -> None:
    """Refuses arguments with which a run would change no weight."""
    if args.max_steps != -1 and args.max_steps < 1:
        raise InputError(f"`max_steps` must be 1 or more, or -1 for `num_train_epochs`, got {args.max_steps}.")
    if args.learning_rate == 0 and not args.head_learning_rate:
        raise InputError(
            "`learning_rate` or `head_learning_rate` must be above 0, got 0 for both: nothing is trained."
        )
    if 1 <= args.max_steps < args.warmup_steps:
        raise InputError(
            f"`warmup_steps` must be at most `max_steps`, {args.max_steps}, or a share below 1, "
            f"got {args.warmup_steps:g}."
        )


@contextmanager
def refused_value(*names_and_values: Any) -> Iterator[None]:
    """Converts an error of a library into an [`InputError`] that starts with the arguments: name, value, name, ..."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, RuntimeError, ImportError, NotImplementedError, AssertionError) as error:
        pairs = zip(names_and_values[::2], names_and_values[1::2], strict=True)
        given = ", ".join(f"`{name}` {value!r}" for name, value in pairs if value is not None)
        raise InputError(f"{given}: {one_line(error)}") from error
