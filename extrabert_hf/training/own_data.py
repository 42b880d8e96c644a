"""A run on the user's own rows: head, columns and classes are found in the rows, see [`inspect_source`]."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from extrabert_hf.data.column_names import listed
from extrabert_hf.data.in_memory import class_names_of, is_in_memory, memory_sources
from extrabert_hf.data.inspection import inspect_source
from extrabert_hf.data.loading import open_columns
from extrabert_hf.data.sources import SAMPLE, SPLIT_NAMES, Source, Sources, file_source, find_sources, paper_tasks_in
from extrabert_hf.data.validation import find_columns
from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import AUTO_CLASSES, RUN_TASKS, TaskSpec
from extrabert_hf.training.command_line import parse_run
from extrabert_hf.training.defaults import OWN_DATA_CONFIG
from extrabert_hf.training.packaged_configs import packaged_config
from extrabert_hf.training.run import Run

NAME_IN_MEMORY = "own"
"""Name of the task of rows in memory, unless `task_name` sets another one."""


def parse_own_run(data: Any, argv: Sequence[str], *, description: str | None = None) -> Run:
    """
    Parses a run on the user's own rows: reads the train rows, and finds the columns, the head and the classes.

    Args:
        data (`str`, or rows in memory):
            A file, a folder with a train file, or the Hub id of a data set, see [`find_sources`]; or the rows
            themselves, see [`memory_sources`], whose `ClassLabel`s are the classes in their order.
        argv (`Sequence[str]`):
            Further words of the command line, as for [`parse_run`]. The columns, the head, the classes, the range of
            scores and the name of the task that they set are not searched in the rows. Without `--config` the run has
            the default settings, [`SizeRules`].
        description (`str`, *optional*):
            First text of `--help`.

    Returns:
        [`Run`]: with its `inspection`.

    Raises:
        [`InputError`]: if the rows fit no head, if several choices are plausible, or for what [`parse_run`] refuses.
    """
    in_memory, inspections = is_in_memory(data), []

    def find_task(values: Mapping[str, Any]) -> TaskSpec:
        sources = _find_own_sources(data, values)
        inspection = inspect_source(sources["train"], values)
        inspections.append(inspection)
        task = inspection.task(NAME_IN_MEMORY if in_memory else name_of_task(data, values["dataset_config"]))
        for split in ("dev", "test"):
            if values[f"{split}_data"] is not None:
                _check_columns(task, file_source(task, values[f"{split}_data"]), sources["train"].name, split)
            elif split in sources.splits:
                _check_columns(task, sources[split], sources["train"].name, split)
        names = class_names_of(data, task.label_column) if in_memory and not task.is_regression else None
        return task if names is None else replace(task, class_names=tuple(names))

    run = parse_run(
        "own",
        [*argv] if in_memory else ["--data", data, *argv],
        default_config=packaged_config(OWN_DATA_CONFIG),
        description=description,
        find_task=find_task,
    )
    run = replace(run, inspection=inspections[-1])
    return with_rows(run, data) if in_memory else run


def flags_of_own_run(run: Run) -> dict[str, Any]:
    """Returns the arguments that make a run of the paper's task with the same head the run of [`parse_own_run`]."""
    ((name, spec),) = run.specs.items()
    found: dict[str, Any] = {"task_name": name, **run.inspection.columns}
    if spec.is_regression:
        return found | {"label_min": spec.label_range[0], "label_max": spec.label_range[1]}
    return found | {"class_names": list(spec.class_names)}


def with_rows(run: Run, data: Any) -> Run:
    """Returns a run of one task on rows in memory, which it writes to its folder and reads from there."""
    folder = RunFolder(Path(run.training.output_dir)).rows
    tasks = {name: replace(task, data=replace(task.data, data=str(folder))) for name, task in run.tasks.items()}
    ((_, spec),) = run.specs.items()
    return replace(run, tasks=tasks, rows=memory_sources(data, spec))


def _find_own_sources(data: Any, values: Mapping[str, Any]) -> Sources:
    blank = TaskSpec("own", "sentiment", class_names=AUTO_CLASSES)
    if is_in_memory(data):
        return memory_sources(data, blank)
    if values["data"] != data:
        raise InputError(f"`data` is {data!r}, the word after `train`: leave out `--data {values['data']}`.")
    _refuse_paper_data(data)
    return find_sources(blank, data, values["dataset_config"])


def name_of_task(data: str, dataset_config: str | None = None) -> str:
    """
    Returns a name for the task of a file, a folder or a data set of the Hub.

    Args:
        data (`str`):
            The file, the folder or the Hub id.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set.

    Example:
        >>> name_of_task("data/My reviews (2).csv"), name_of_task("films/train.csv"), name_of_task("./sst.csv")
        ('My_reviews_2', 'films', 'sst_data')
    """
    path = Path(data).resolve() if Path(data).exists() else Path(data)
    stem = dataset_config or (path.name if path.is_dir() else path.stem)
    if stem in (name for names in SPLIT_NAMES.values() for name in names):
        stem = path.parent.name
    letters = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode() or stem
    name = re.sub(r"[^\w-]+", "_", letters).strip("_-")[:60] or "own"
    return f"{name}_data" if name in RUN_TASKS else name


def _check_columns(task: TaskSpec, source: Source, train: str, split: str) -> None:
    """Raises [`InputError`] if a file of dev or test rows lacks a column that the train rows have."""
    present, _ = open_columns(source)
    try:
        find_columns(present, task, source.name, label_required=split == "dev")
    except InputError as error:
        columns = [column for column in (task.sentence1_column, task.sentence2_column, task.label_column) if column]
        raise InputError(
            f"{source.name} must have the columns of {train}, {listed(columns)}, got {listed(present)}: rename them."
        ) from error


def _refuse_paper_data(data: str) -> None:
    if data == SAMPLE or Path(data).is_dir():
        tasks = paper_tasks_in(data)
        if tasks:
            words = " or ".join(tasks)
            raise InputError(
                f"{data!r} has rows of the tasks {', '.join(tasks)}: give the task ({words}), such as `extrabert "
                f"train {tasks[0]} --data {data}`."
            )
