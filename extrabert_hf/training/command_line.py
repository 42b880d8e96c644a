"""One YAML and the command line -> the arguments of a run."""

import difflib
import json
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from transformers import HfArgumentParser

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import metric_names
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec
from extrabert_hf.training.arguments import (
    DataArguments,
    ExtraBertTrainingArguments,
    ModelArguments,
    TaskArguments,
)

T = TypeVar("T")

BLOCKS = {
    "task": TaskArguments,
    "data": DataArguments,
    "model": ModelArguments,
    "trainer": ExtraBertTrainingArguments,
}


@dataclass
class Run:
    """All that one run is told."""

    task: TaskSpec
    data: DataArguments
    model: ModelArguments
    training: ExtraBertTrainingArguments


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows defaults, and the description as it is written."""


class RecipeParser(HfArgumentParser):
    """An `HfArgumentParser` whose errors are one line, and whose flags are spelt out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Raises [`InputError`] in place of printing all usage."""
        raise InputError(f"{message} (--help lists every argument)")


def parse_run(
    task_name: str, argv: Sequence[str], *, default_config: Path | None = None, description: str | None = None
) -> Run:
    """
    Reads a run from its YAML and the command line, which wins.

    Args:
        task_name (`str`):
            Key of [`PAPER_TASKS`]: the task that a `task` block or its flags start from.
        argv (`Sequence[str]`):
            Words of the command line; `--config FILE.yaml` names the YAML.
        default_config (`Path`, *optional*):
            YAML taken when `--config` is not given.
        description (`str`, *optional*):
            What `--help` opens with.

    Raises:
        [`InputError`]: for an unknown key or flag, or a value of the wrong form.
    """
    parser = RecipeParser(
        list(BLOCKS.values()),
        description=description,
        usage="%(prog)s [--config FILE.yaml] [--data SOURCE] [--model_name_or_path MODEL] [--output_dir DIR] [...]",
    )
    parser.add_argument("--config", default=default_config, help="YAML of the run; flags after it win.")
    parser.set_defaults(metric_for_best_model=PAPER_TASKS[task_name].metric)
    config = parser.parse_known_args([word for word in argv if word not in ("-h", "--help")])[0].config
    words, nulls = flags_from_yaml(Path(config)) if config is not None else ([], [])
    values = vars(parser.parse_args([*words, *argv]))
    given = {word.split("=")[0].removeprefix("--").replace("-", "_") for word in argv}
    values |= {key: None for key in nulls if key not in given}

    def build(block: type[T]) -> T:
        return block(**{field.name: values[field.name] for field in fields(block) if field.init})

    task = build(TaskArguments).apply_to(PAPER_TASKS[task_name])
    values["output_dir"] = values["output_dir"] or f"runs/{task.name}"
    if values["greater_is_better"] is None:
        values["greater_is_better"] = _greater_is_better(values["metric_for_best_model"], task)
    try:
        return Run(task, build(DataArguments), build(ModelArguments), build(ExtraBertTrainingArguments))
    except InputError:
        raise
    except ValueError as error:  # transformers' own checks of its arguments
        raise InputError(" ".join(str(error).split())) from error


def _greater_is_better(metric: str, task: TaskSpec) -> bool:
    names = (*metric_names(task), "loss")
    if metric not in names:
        raise InputError(f"`metric_for_best_model` must be one of {', '.join(map(repr, names))}, got {metric!r}.")
    return metric not in ("mse", "loss")


def flags_from_yaml(path: Path) -> tuple[list[str], list[str]]:
    """
    Turns a run's YAML into the flags that say the same, so that values are converted and checked as flags are.

    Args:
        path (`Path`):
            A mapping with the blocks `task`, `data`, `model` and `trainer`, each optional.

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
        raise InputError(f"`config` must hold the blocks {', '.join(BLOCKS)}, each a mapping, got {path}.")
    words: list[str] = []
    nulls: list[str] = []
    for block, entries in run.items():
        _check_name(block, list(BLOCKS), f"block of {path}")
        for key, value in (entries or {}).items():
            _check_name(
                key, [field.name for field in fields(BLOCKS[block]) if field.init], f"field of `{block}` in {path}"
            )
            words += _flag(key, value)
            nulls += [key] if value is None else []
    return words, nulls


def _check_name(name: str, known: list[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        raise InputError(f"`{name}` is not a {what}." + (f" Did you mean `{near[0]}`?" if near else ""))


def _flag(key: str, value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"--{key}", json.dumps(value)]
    if isinstance(value, list):
        if any(isinstance(item, bool) for item in value):  # YAML reads an unquoted yes or no as one
            raise InputError(f"`{key}` must be a list of words, put yes, no, on and off in quotes, got {value}.")
        return [f"--{key}", *map(str, value)]
    return [f"--{key}={value}"]
