"""The command line of a command: flags from dataclasses and from a YAML, errors in one line."""

import inspect
import json
import re
import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from extrabert_hf.errors import InputError, did_you_mean, one_line
from extrabert_hf.pretrained.remote_code import trust_code
from extrabert_hf.training.flag_parser import SECRET_FLAG, FlagParser
from extrabert_hf.training.help_page import FURTHER
from extrabert_hf.training.yaml_files import read_yaml

BY_TASK = "by_task"
"""The block of a YAML that holds blocks for one task only, under the task's name."""
RULES = "rules"
"""The block of a YAML with values that depend on the rows and the encoder, which [`SizeRules`] reads."""

COMMON = {
    "output_dir": "Folder of the run. The default is runs/TASK.",
    "num_train_epochs": "Number of passes over the train rows.",
    "max_steps": "Number of optimizer steps, instead of --num_train_epochs. -1: no limit.",
    "gradient_accumulation_steps": "Number of batches whose gradients are added up to one optimizer step.",
    "lr_scheduler_type": "How the learning rate falls after the warm-up.",
    "max_grad_norm": "Maximum norm of the gradients; larger gradients are scaled down. 0: no limit.",
    "label_smoothing_factor": "Share of the labels' probability that is spread over all classes, 0 to 1.",
    "seed": "Seed of the weights, of the order of the rows and of dropout.",
    "fp16": "float16 autocast, for GPUs without bfloat16.",
    "gradient_checkpointing": "Compute activations again in the backward pass: less memory, slower.",
    "torch_compile": "Compile the model with torch.compile.",
    "dataloader_num_workers": "Number of processes that load data. 0: the process of the training.",
    "eval_steps": "Number of steps between two evaluations, with --eval_strategy steps.",
    "save_steps": "Number of steps between two checkpoints, with --save_strategy steps.",
    "report_to": "Where the log goes, in addition to the terminal: tensorboard, wandb, trackio, or none.",
    "run_name": "Name of the run in the log of --report_to.",
    "push_to_hub": "Push the model to the Hub after training.",
    "hub_model_id": "Repository to push to, as owner/name or name.",
}
"""
The arguments of transformers' `TrainingArguments` that `--help` shows, with their descriptions: those that are usually
set to fine-tune encoders of this size, and those for precision, memory, folders, trackers and the Hub. This package
redefines further arguments, such as `learning_rate`; `--help` shows those, too. `--help_all` shows all others.
"""


def described_arguments(documented: type) -> dict[str, str]:
    """
    Reads the descriptions in the `Args` section of a class's docstring, so that `--help` shows the same text.

    Args:
        documented (`type`):
            A class with a docstring in Hugging Face's grammar.

    Returns:
        `dict[str, str]`: by argument, its description in one line without markup.

    Example:
        >>> class Layer:
        ...     '''
        ...     A layer.
        ...
        ...     Args:
        ...         width, depth (`int`, defaults to 3):
        ...             Size of the layer: `1` is
        ...             the smallest.
        ...     '''
        >>> described_arguments(Layer)
        {'width': 'Size of the layer: 1 is the smallest.', 'depth': 'Size of the layer: 1 is the smallest.'}
    """
    after_heading = inspect.cleandoc(documented.__doc__).partition("\nArgs:\n")[2]
    section = re.split(r"^(?=\S)", after_heading, maxsplit=1, flags=re.MULTILINE)[0]  # up to the next heading
    descriptions = {}
    entries = re.findall(r"^ {4}(\w[\w, ]*) \(.*\):\n((?:(?: {8}.*)?(?:\n|$))*)", section, flags=re.MULTILINE)
    for names, text in entries:
        for name in names.split(", "):
            descriptions[name] = " ".join(re.sub(r"\[`(.*?)`\]|`", r"\1", text).split())
    return descriptions


def flags_from_yaml(
    path: Path,
    blocks: Mapping[str, type],
    own_blocks: Collection[str],
    task_name: str | None = None,
) -> tuple[list[str], list[str]]:
    """
    Turns a run's YAML into flags, so that the values are converted and checked as flags are.

    Args:
        path (`Path`):
            A YAML file with a mapping of blocks. Each block is optional. The block `by_task` holds blocks under the
            names of tasks.
        blocks (`Mapping[str, type]`):
            By block name, the dataclass with the fields of the block.
        own_blocks (`Collection[str]`):
            The blocks that are allowed under the name of a task.
        task_name (`str`, *optional*):
            The task to read. The flags of its own blocks come last, so they override the shared blocks.

    Returns:
        `tuple[list[str], list[str]]`: the flags, and the keys with the value `null`, which no flag can express.

    Raises:
        [`InputError`]: if the file cannot be read, or if a block or key is unknown.
    """
    run = read_yaml(path, "config") or {}
    if isinstance(run, dict):
        run.pop(RULES, None)
    if not isinstance(run, dict) or not all(isinstance(block, dict | None) for block in run.values()):
        raise InputError(f"`config` must hold the blocks {', '.join(blocks)}, each a mapping, got {path}.")
    by_task = run.pop(BY_TASK, None) or {}
    for name, own in by_task.items():
        if not isinstance(own, dict) or not all(isinstance(block, dict | None) for block in own.values()):
            raise InputError(f"`{BY_TASK}` must hold blocks under each task's name, got {own!r} for {name} in {path}.")
    words, nulls = _flags(run, blocks, path)
    for name, own in by_task.items():
        for block in own:
            if block in blocks and block not in own_blocks:
                raise InputError(
                    f"`{block}` under `{BY_TASK}` is for separate runs only, got one for {name} in {path}."
                )
        own_words, own_nulls = _flags(own, blocks, path)  # the blocks of other tasks are checked, too
        if name == task_name:
            words, nulls = words + own_words, nulls + own_nulls
    return words, nulls


def _flags(run: dict[str, Any], blocks: Mapping[str, type], path: Path) -> tuple[list[str], list[str]]:
    words: list[str] = []
    nulls: list[str] = []
    for block, entries in run.items():
        _check_name(block, list(blocks), f"block of {path}")
        known = [field.name for field in fields(blocks[block]) if field.init]
        for key, value in (entries or {}).items():
            _check_name(key, known, f"field of `{block}` in {path}")
            words += flag_of(key, value)
            nulls += [key] if value is None else []
    return words, nulls


def _check_name(name: str, known: list[str], what: str) -> None:
    if name not in known:
        raise InputError(f"`{name}` is not a {what}.{did_you_mean(name, known)}")


def flag_of(key: str, value: Any) -> list[str]:
    """Returns the words of the command line that set an argument to `value`; no words for `None`."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"--{key}", json.dumps(value)]
    if isinstance(value, list):
        if any(isinstance(item, bool) for item in value):  # YAML reads an unquoted yes or no as a bool
            raise InputError(f"`{key}` must be a list of words (put yes, no, on and off in quotes), got {value}.")
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]


def blocks_of_tasks(path: Path) -> dict[str, Any]:
    """Returns the block `by_task` of a YAML that [`flags_from_yaml`] has read: by task, the task's own blocks."""
    return (read_yaml(path, "config") or {}).get(BY_TASK) or {}


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Converts a `ValueError` of transformers' checks inside a `with` block into an [`InputError`]."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(one_line(error)) from error


def add_switch(parser: ArgumentParser, flag: str, text: str) -> None:
    """Adds a flag that is off by default, and takes `true` or `false` or no value, to the parser of a command."""
    parser.add_argument(flag, type=string_to_bool, nargs="?", const=True, default=False, help=text)


def add_bf16(parser: ArgumentParser) -> None:
    """Adds the flag `--bf16` to the parser of a command that predicts."""
    text = "Encode in bfloat16: faster on machines with bfloat16 instructions; scores differ by about 0.01."
    parser.add_argument("--bf16", action="store_true", help=text)


def add_int8(parser: ArgumentParser) -> None:
    """Adds the flag `--int8` to the parser of a command that predicts."""
    text = (
        "Encode in 8 bits on a CPU: about twice as fast as float32 where the processor has VNNI; scores differ by "
        "about 0.02."
    )
    add_switch(parser, "--int8", text)


def add_trust_flag(parser: ArgumentParser) -> None:
    """Adds the flag `--trust_remote_code` to the parser of a command that loads models. No file can set the flag."""
    text = "Run the Python code in the files of the models that are loaded. Without it such a model is refused."
    add_switch(parser, "--trust_remote_code", text)


def add_dry_run_flag(parser: ArgumentParser) -> None:
    """Adds the flag `--dry_run` to the parser of a command that trains. No file can set the flag."""
    text = "Read the rows, print the plan of the run, and stop: nothing is trained or written."
    add_switch(parser, "--dry_run", text)


class _Verbose(Action):
    """The flag `--verbose`. The parser ignores it, because [`command_console`] has already read it."""

    def __call__(self, *args: Any) -> None:
        pass


def _is_of_transformers(dataclass_type: type, name: str) -> bool:
    """Whether a field of a dataclass is inherited from one of transformers' as it is."""
    declared = dataclass_type.__dataclass_fields__[name]
    owners = [
        each for each in dataclass_type.__mro__ if vars(each).get("__dataclass_fields__", {}).get(name) is declared
    ]
    return owners[-1].__module__.partition(".")[0] == "transformers"


class CommandParser(FlagParser, HfArgumentParser):
    """
    An `HfArgumentParser` that reports errors as a [`FlagParser`] does, and shows our arguments first.

    Args:
        loads_models (`bool`, defaults to `False`):
            Whether the command loads models. Then it has the flag `--trust_remote_code`, which holds for the process.
    """

    def __init__(self, *args: Any, loads_models: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hide([action.dest for action in self._actions if SECRET_FLAG.search(action.dest)])  # refused fields
        text = "Show details: the log of the trainer, the audit, and what libraries write."
        self.add_argument("-v", "--verbose", action=_Verbose, nargs=0, dest=SUPPRESS, default=SUPPRESS, help=text)
        self._set_apart()
        self.loads_models = loads_models
        if loads_models:
            add_trust_flag(self)

    def _set_apart(self) -> None:
        """Moves the arguments of transformers that are not in [`COMMON`] to a group of their own, the last one."""
        types = getattr(self, "dataclass_types", [])
        names = {field.name for each in types for field in fields(each) if _is_of_transformers(each, field.name)}
        further = self.add_argument_group(FURTHER) if names else None
        for group in self._action_groups[:-1] if names else []:
            further._group_actions += [a for a in group._group_actions if a.dest in names - COMMON.keys()]
            group._group_actions[:] = [a for a in group._group_actions if a.dest not in names - COMMON.keys()]
        for action in self._actions:
            if action.dest in names & COMMON.keys():
                action.help = COMMON[action.dest]

    def hide(self, names: Collection[str]) -> None:
        """Leaves arguments out of `--help` and `--help_all`."""
        for action in self._actions:
            if action.dest in names:
                action.help = SUPPRESS

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Namespace, list[str]]:
        """Parses as a [`FlagParser`] does; `--trust_remote_code` then holds for the process."""
        namespace, rest = super().parse_known_args(args, namespace)
        if self.loads_models:
            trust_code(namespace.trust_remote_code)
        return namespace, rest

    def parse_args_into_dataclasses(
        self, args: Sequence[str] | None = None, *, return_remaining_strings: bool = False, **kwargs: Any
    ) -> tuple:
        """Parses as in transformers; unknown words and invalid values of a dataclass are one-line errors."""
        if not return_remaining_strings:
            self.refuse_unknown(sys.argv[1:] if args is None else args)
        with refused_in_one_line():
            *parsed, rest = super().parse_args_into_dataclasses(args, return_remaining_strings=True, **kwargs)
        if return_remaining_strings:
            return (*parsed, rest)
        self.refuse_rest(rest)
        return tuple(parsed)
