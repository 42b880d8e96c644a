"""The command line of a recipe."""

import difflib
import json
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from extrabert_hf.errors import InputError, one_line

BY_TASK = "by_task"
"""The block that holds blocks for one task only, under the task's name."""


def flags_from_yaml(
    path: Path,
    blocks: Mapping[str, type],
    own_blocks: Collection[str],
    task_name: str | None = None,
) -> tuple[list[str], list[str]]:
    """
    Turns a run's YAML into the flags that say the same, so that values are converted and checked as flags are.

    Args:
        path (`Path`):
            A mapping of blocks, each optional, and of [`BY_TASK`] with such blocks under tasks' names.
        blocks (`Mapping[str, type]`):
            The blocks' names and the dataclasses of their fields.
        own_blocks (`Collection[str]`):
            Those that a task may have for itself.
        task_name (`str`, *optional*):
            The task whose own blocks come after, and so win over, the others.

    Returns:
        `tuple[list[str], list[str]]`: the flags, and the keys whose value is `null`, which no flag can say.

    Raises:
        [`InputError`]: for a file that can't be read, or a block or key that is not known.
    """
    try:
        run = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"`config` must be a YAML file that can be read, {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"`config` must be YAML, {path}: {' '.join(str(error).split())}.") from error
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
                raise InputError(f"`{block}` under `{BY_TASK}` is for separate runs, got it for {name} in {path}.")
        own_words, own_nulls = _flags(own, blocks, path)  # those of other tasks are checked, too
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
        near = difflib.get_close_matches(str(name), known, n=1)
        raise InputError(f"`{name}` is not a {what}." + (f" Did you mean `{near[0]}`?" if near else ""))


def flag_of(key: str, value: Any) -> list[str]:
    """Gives the words of the command line that say an argument's value; none for `None`."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"--{key}", json.dumps(value)]
    if isinstance(value, list):
        if any(isinstance(item, bool) for item in value):  # YAML reads an unquoted yes or no as one
            raise InputError(f"`{key}` must be a list of words, put yes, no, on and off in quotes, got {value}.")
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]


def blocks_of_tasks(path: Path) -> dict[str, Any]:
    """Gives what a YAML that [`flags_from_yaml`] reads has for single tasks, by their names."""
    return (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get(BY_TASK) or {}


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Makes an [`InputError`] of what transformers' own checks of its arguments refuse."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(one_line(error)) from error


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""


class RecipeParser(HfArgumentParser):
    """An `HfArgumentParser` whose errors are one line, and whose flags are spelt out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def parse_args_into_dataclasses(self, *args: Any, return_remaining_strings: bool = False, **kwargs: Any) -> tuple:
        """As that of transformers; words that are left over, and what a dataclass refuses, are one-line errors."""
        with refused_in_one_line():
            *parsed, rest = super().parse_args_into_dataclasses(*args, return_remaining_strings=True, **kwargs)
        if rest and not return_remaining_strings:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return (*parsed, rest) if return_remaining_strings else tuple(parsed)

    def error(self, message: str) -> NoReturn:
        """Raises [`InputError`] in place of printing all usage."""
        raise InputError(f"{message} (--help lists every argument)")
