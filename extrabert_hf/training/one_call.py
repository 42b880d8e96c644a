"""A whole run in one call of Python: `finetune(data=..., head=..., output_dir=...)`."""

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from extrabert_hf.data.in_memory import class_names_of, is_in_memory, memory_sources
from extrabert_hf.data.sources import SAMPLE, paper_tasks_in
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.run_metrics import RunMetrics
from extrabert_hf.tasks import AUTO_CLASSES, PAPER_TASKS
from extrabert_hf.training.command_line import BLOCKS, MULTITASK_BLOCKS, parse_multitask_run, parse_run, yaml_of_flags
from extrabert_hf.training.command_parser import BY_TASK, flag_of
from extrabert_hf.training.finetune import run_finetuning
from extrabert_hf.training.packaged_configs import packaged_config
from extrabert_hf.training.run import Run

MULTITASK = "multitask"
TASK_OF_HEAD = {task.head: name for name, task in PAPER_TASKS.items()}
HEADS = (*TASK_OF_HEAD, *PAPER_TASKS, MULTITASK)
"""Values of `head`: a kind of head, a task of the paper, or several tasks."""


@dataclass(frozen=True, eq=False)
class FinetunedRun:
    """
    The result of [`finetune`].

    Args:
        output_dir (`Path`):
            The run's folder: the model, its tokenizer, `report.html`, `metrics.json`, predictions.
        metrics ([`RunMetrics`], *optional*):
            All metrics of the run, with intervals and baselines; `None` on all processes but the first.
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
        head (`str`):
            `"sentiment"` (sentences with classes), `"paraphrase"` (pairs with classes) or `"similarity"` (pairs with
            a score); a task of the paper, `"sst"`, `"para"` or `"sts"`; or `"multitask"`. With `"sentiment"` the
            classes of own data are the labels of the train rows, unless `class_names` are given.
        output_dir (`str` or `Path`, *optional*):
            Folder of the run; the default is `runs/` and the name of the task.
        callbacks (`Sequence[TrainerCallback]`, *optional*):
            Further callbacks for the trainer.
        arguments:
            The flags of `extrabert train`, such as `model_name_or_path="minilm"`, `num_train_epochs=3`,
            `class_names=["bad", "good"]`, `label_column="stars"`, `config="minilm/sts"`. `None` means not given.

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
    run = _parse(data, head, _words({"output_dir": output_dir, **arguments}, head))
    return FinetunedRun(Path(run.training.output_dir), run_finetuning(run, callbacks))


def _parse(data: Any, head: str | None, words: list[str]) -> Run:
    if head is None:
        raise InputError(f"`head` must be one of {', '.join(map(repr, HEADS))}, got none.")
    if not isinstance(head, str) or head not in HEADS:
        raise InputError(f"`head` must be one of {', '.join(map(repr, HEADS))}, got {head!r}.{_near(head, HEADS)}")
    if is_in_memory(data):
        return _parse_rows(data, head, words)
    words = [*flag_of("data", _plain("data", data)), *words]
    if head == MULTITASK:
        return parse_multitask_run(words, default_config=packaged_config("multitask"))
    run = parse_run(TASK_OF_HEAD.get(head, head), words, default_config=packaged_config("table1/sft_ma_cs"))
    return _with_classes_of_rows(run, words) if head == "sentiment" and _is_own(data) else run


def _parse_rows(data: Any, head: str, words: list[str]) -> Run:
    """Parses a run on rows in memory, which the run writes to its folder first."""
    if head == MULTITASK:
        raise InputError("`data` of several tasks must be a name of rows, or be in the YAML, got rows in memory.")
    given = yaml_of_flags(words).get("task", {})
    memory_sources(data, PAPER_TASKS[TASK_OF_HEAD.get(head, head)])  # raises for what are no rows
    names = class_names_of(data, given.get("label_column"))
    if names is not None and head in ("sentiment", "paraphrase") and not _names_classes(words):
        words = [*words, *flag_of("class_names", names)]
    run = _parse(Path("rows"), head, words)  # replaced below by the whole path
    rows = RunFolder(Path(run.training.output_dir)).rows
    tasks = {name: replace(task, data=replace(task.data, data=str(rows))) for name, task in run.tasks.items()}
    ((_, spec),) = run.specs.items()
    return replace(run, tasks=tasks, rows=memory_sources(data, spec))


def _with_classes_of_rows(run: Run, words: list[str]) -> Run:
    if _names_classes(words):
        return run
    ((name, task_run),) = run.tasks.items()
    return replace(run, tasks={name: replace(task_run, task=replace(task_run.task, class_names=AUTO_CLASSES))})


def _names_classes(words: list[str]) -> bool:
    """Whether the flags or their YAML name the classes of the task."""
    blocks = yaml_of_flags(words)
    own = [block.get("task") or {} for block in (blocks, *blocks.get(BY_TASK, {}).values())]
    return any({"class_names", "num_labels"} & block.keys() for block in own)


def _is_own(data: str | Path | None) -> bool:
    """Whether the rows are not those of the paper's SST."""
    sst = PAPER_TASKS["sst"]
    is_course = data is not None and Path(data).is_dir() and sst.name in paper_tasks_in(str(data))
    return data is not None and str(data) not in (SAMPLE, sst.hub_dataset) and not is_course


def _words(arguments: Mapping[str, Any], head: str | None) -> list[str]:
    """Returns the words of the command line for keyword arguments; raises for unknown names and other types."""
    blocks = MULTITASK_BLOCKS if head == MULTITASK else BLOCKS
    known = {field.name for block in blocks.values() for field in fields(block) if field.init}
    known = (known | {"config", "trust_remote_code"}) - {"head", "data"}
    words = []
    for name, value in arguments.items():
        if name not in known:
            raise InputError(f"`{name}` is not an argument of `finetune` for `head` {head!r}.{_near(name, known)}")
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


def _near(name: Any, known: Any) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean `{near[0]}`?" if near else ""
