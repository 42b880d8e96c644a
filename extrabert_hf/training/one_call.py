"""A whole run in one call of Python: `finetune("reviews.csv")`."""

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from transformers import TrainerCallback

from extrabert_hf.data.in_memory import is_in_memory
from extrabert_hf.errors import InputError, did_you_mean, shorten
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.runs.run_metrics import RunMetrics
from extrabert_hf.tasks import PAPER_TASKS, RUN_TASKS
from extrabert_hf.training.command_line import BLOCKS, MULTITASK_BLOCKS, parse_multitask_run, parse_run
from extrabert_hf.training.command_parser import flag_of
from extrabert_hf.training.defaults import OWN_DATA_CONFIG, is_own_data
from extrabert_hf.training.finetune import run_finetuning
from extrabert_hf.training.own_data import parse_own_run, with_rows
from extrabert_hf.training.packaged_configs import packaged_config
from extrabert_hf.training.run import Run

MULTITASK = "multitask"
TASK_OF_HEAD = {task.head: name for name, task in PAPER_TASKS.items()}
HEADS = (*TASK_OF_HEAD, *RUN_TASKS)
"""Values of `head`: a kind of head, a task of the paper, or several tasks."""


@dataclass(frozen=True, eq=False)
class FinetunedRun:
    """
    The result of [`finetune`].

    Args:
        output_dir (`Path`):
            The run's folder: the model, its tokenizer, `report.html`, `metrics.json`, predictions.
        metrics ([`RunMetrics`], *optional*):
            All metrics of the run, with intervals and baselines; `None` on all processes but the first, and for a
            dry run.
    """

    output_dir: Path
    metrics: RunMetrics | None

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """By split (`"dev"`, labelled `"test"`), the metrics by name; with several tasks, names as `sts_pearson`."""
        tasks = {} if self.metrics is None else self.metrics.tasks
        is_multitask = self.metrics is not None and self.metrics.multitask is not None
        scores: dict[str, dict[str, float]] = {}
        for task, entry in tasks.items():
            prefix = f"{task}_" if is_multitask else ""
            for split, of_split in entry.scores.items():
                scores.setdefault(split, {}).update({prefix + name: v for name, v in of_split.metrics.items()})
        return scores

    @cached_property
    def predictor(self) -> Predictor:
        """The trained model, loaded from the folder. For one of several tasks: `Predictor.load(output_dir, "sts")`."""
        return Predictor.load(self.output_dir)


def finetune(
    data: Any = None,
    head: str | None = None,
    output_dir: str | Path | None = None,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    **arguments: Any,
) -> FinetunedRun:
    """
    Fine-tunes a model on a task and writes the model, its scores and its predictions to a folder.

    The run is that of `extrabert train`. The call reads no command line, and can be repeated in a process.

    Args:
        data (`str`, `Path`, `Dataset`, `DataFrame`, list of dicts, `DatasetDict` or dict, *optional*):
            `"sample"`, a folder, a file or a Hub id; or the rows themselves, also by split under the keys `train`,
            `dev` and `test`. Rows in memory are not changed; they are written to `rows/` in the run's folder. `None`
            is the data set of a task of the paper.
        head (`str`, *optional*):
            `"sentiment"` (sentences with classes), `"paraphrase"` (pairs with classes) or `"similarity"` (pairs with
            a score); a task of the paper, `"sst"`, `"para"` or `"sts"`, with its classes or scores; or
            `"multitask"`. The default is the head that the rows fit: their columns, classes or range of scores are
            found as by `extrabert train DATA`. The data of the paper need a head.
        output_dir (`str` or `Path`, *optional*):
            Folder of the run; the default is `runs/` and the name of the task.
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Further callbacks for the trainer.
        arguments:
            The flags of `extrabert train`, such as `model_name_or_path="minilm"`, `num_train_epochs=3`,
            `class_names=["bad", "good"]`, `label_column="stars"`, `config="minilm/sts"`. `None` means not given.
            With `dry_run=True` the call logs the plan of the run and stops.

    Returns:
        [`FinetunedRun`]: the folder, the scores, and a predictor with the trained model.

    Raises:
        [`InputError`]: for an argument or rows that cannot be used.

    Example:
        >>> finetune([("A good film.", 1)], head="sentiment")
        Traceback (most recent call last):
        extrabert_hf.errors.InputError: `data` must be a list of dicts, one for each row, such as {'text': \
'A good film.', 'label': 'good'}, got the tuple ('A good film.', 1) as row 1.
    """
    if isinstance(data, Run):
        raise InputError("`data` must be rows or their name, got a Run: use `run_finetuning(run)`.")
    if not isinstance(output_dir, str | Path | None):
        raise InputError(f"`output_dir` must be a folder as a text or a Path, got {output_dir!r}.")
    _check_callbacks(callbacks)
    with _errors_of_python(data):
        run = _parse(data, head, {"output_dir": output_dir, **arguments})
        return FinetunedRun(Path(run.training.output_dir), run_finetuning(run, callbacks))


def _parse(data: Any, head: str | None, arguments: Mapping[str, Any]) -> Run:
    if head is not None and (not isinstance(head, str) or head not in HEADS):
        raise InputError(
            f"`head` must be one of {', '.join(map(repr, HEADS))}, got {head!r}.{did_you_mean(head, HEADS)}"
        )
    words, in_memory = _words(arguments, head), is_in_memory(data)
    if in_memory and head == MULTITASK:
        raise InputError("`data` of several tasks must be a name of rows, or be in the YAML, got rows in memory.")
    data = data if in_memory else _plain("data", data)
    is_own = in_memory or is_own_data(data, arguments.get("dataset_config"))
    if head is None and not is_own:
        names = ", ".join(map(repr, HEADS))
        raise InputError(f"`head` must be one of {names}, got none: it is found in own data alone, not in {data!r}.")
    if is_own and (head is None or head in TASK_OF_HEAD):
        return parse_own_run(data, [*flag_of("head", head), *words])
    task = TASK_OF_HEAD.get(head, head)
    if in_memory:  # the columns, classes and scores of a task of the paper
        return with_rows(parse_run(task, words, default_config=packaged_config(OWN_DATA_CONFIG)), data)
    words = [*flag_of("data", data), *words]
    if head == MULTITASK:
        return parse_multitask_run(words, default_config=packaged_config("multitask"))
    return parse_run(task, words, default_config=packaged_config("table1/sft_ma_cs"))


@contextmanager
def _errors_of_python(data: Any) -> Iterator[None]:
    """Turns the flags that an error says to write into arguments, and the files of rows in memory into splits."""
    try:
        yield
    except InputError as error:
        text = re.sub(r"`(--[^`]+)`", lambda flags: f"`{_as_arguments(flags[1])}`", str(error))
        if is_in_memory(data):
            text = re.sub(r"(?:[^\s'\"`]*/)?\b(train|dev|test)\.jsonl\b", r"the \1 split", text)
        error.args = (text,)
        raise


def _as_arguments(flags: str) -> str:
    """
    Writes flags as arguments of a call.

    Example:
        >>> _as_arguments("--sentence1_column 'my title' --num_train_epochs 3")
        "sentence1_column='my title', num_train_epochs=3"
        >>> _as_arguments("--head")
        'head'
    """
    arguments = []
    for flag in flags.removeprefix("--").split(" --"):
        name, *values = shlex.split(flag)
        values = [yaml.safe_load(value) if re.fullmatch(r"[\d.-]+|true|false", value) else value for value in values]
        arguments.append(f"{name}={(values[0] if len(values) == 1 else values)!r}" if values else name)
    return ", ".join(arguments)


def _words(arguments: Mapping[str, Any], head: str | None) -> list[str]:
    """Returns the words of the command line for keyword arguments; raises for unknown names and other types."""
    blocks = MULTITASK_BLOCKS if head == MULTITASK else BLOCKS
    known = {field.name for block in blocks.values() for field in fields(block) if field.init}
    known = (known | {"config", "dry_run", "trust_remote_code"}) - {"head", "data"}
    words = []
    for name, value in arguments.items():
        if name not in known:
            of_head = "" if head is None else f" for `head` {head!r}"
            raise InputError(f"`{name}` is not an argument of `finetune`{of_head}.{did_you_mean(name, known)}")
        words += flag_of(name, _plain(name, value))
    return words


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):  # "./reviews" can't be taken for a name of the Hub
        return str(value) if value.exists() else os.path.join(".", value)
    if isinstance(value, tuple | list):
        return [_plain(name, item) for item in value]
    try:
        if isinstance(value, dict):
            json.dumps(value)
        elif not isinstance(value, str | int | float | None):
            raise TypeError
    except TypeError:
        raise InputError(
            f"`{name}` must be a text, a number, True, False, None, or a list or dict of these, got the "
            f"{type(value).__name__} {shorten(repr(value), 80)}."
        ) from None
    return value


def _check_callbacks(callbacks: Any) -> None:
    for callback in callbacks if isinstance(callbacks, list | tuple) else [callbacks]:
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, TrainerCallback):
            raise InputError(f"`callbacks` must be a list of TrainerCallbacks, got {shorten(repr(callback), 80)}.")
