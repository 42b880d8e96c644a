"""
Loads a task's splits from any source: a `DatasetDict` with the columns sentence1, sentence2, label, id and line.

[`read_split`] reads all rows of a split, separates good rows from rejected rows, and counts both.
"""

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Value

from extrabert_hf.data.in_memory import is_in_memory, memory_sources
from extrabert_hf.data.label_checks import LabelUse, SplitLabels, check_several_classes, find_classes
from extrabert_hf.data.labels import label_text
from extrabert_hf.data.reading import peek_columns
from extrabert_hf.data.rejected_rows import ExtraRows, RejectedRow, Rows
from extrabert_hf.data.sources import SPLIT_NAMES, Source, Sources, file_source, find_sources
from extrabert_hf.data.validation import Columns, check_rejected_share, find_columns, rejection_notice, valid_rows
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.tasks import TaskSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """
    The rows of a task.

    Args:
        splits (`DatasetDict`):
            The existing splits among `train`, `dev` and `test`, with the columns `sentence1`, `sentence2` (of pairs),
            `label` (`int64` class or `float64` score; not in an unlabelled test split), `id` (`string`) and `line`
            (`int64`), the row's first line in its file, see [`RejectedRow`].
        rejected (`list[RejectedRow]`):
            The rows that are not used.
        notices (`list[str]`):
            Messages for the user, one line each. Messages about rejected rows and doubtful labels are logged as
            warnings instead.
        task (`TaskSpec`):
            The task, with the classes of the train rows if its `class_names` were "auto".
        dev_cut_off (`Source`, *optional*):
            The source of the train rows, if the dev split was cut off them.
        columns (`tuple[Columns, ...]`, *optional*):
            The different names of columns in the splits; the first notices are about these.
        extra (`tuple[ExtraRows, ...]`, *optional*):
            Counts of the further rows that were added to the end of the train split.
    """

    splits: DatasetDict
    rejected: list[RejectedRow]
    notices: list[str]
    task: TaskSpec
    dev_cut_off: Source | None = None
    columns: tuple[Columns, ...] = ()
    extra: tuple[ExtraRows, ...] = ()


def load_task_data(
    task: TaskSpec,
    data: Any,
    *,
    dev_data: str | Path | None = None,
    test_data: str | Path | None = None,
    dev_fraction: float = 0.1,
    dataset_config: str | None = None,
    seed: int = 42,
    strict: bool = False,
    max_rejected_share: float | None = None,
) -> LoadedData:
    """
    Loads a task's rows for training: a train split, a dev split, and the test split if it exists.

    Without a dev split, `dev_fraction` of the train rows become the dev split. A CS224N folder must have a dev split.

    Args:
        task (`TaskSpec`):
            The task.
        data (`str`, `Path`, `Dataset`, `DataFrame`, list of dicts, `DatasetDict`, dict or [`Sources`], *optional*):
            `"sample"`, a folder, a file, a Hub id, rows in memory (see [`memory_sources`]), or `None` for the task's
            own data set on the Hub.
        dev_data (`str` or `Path`, *optional*):
            A file used as dev split instead of the dev split of `data`.
        test_data (`str` or `Path`, *optional*):
            A file used as test split instead of the test split of `data`.
        dev_fraction (`float`, *optional*, defaults to 0.1):
            Share of the train rows, above 0 and below 1, that replaces a missing dev split.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set, such as `"qqp"` of `nyu-mll/glue`.
        seed (`int`, *optional*, defaults to 42):
            Seed of the draw of dev rows from the train rows.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a rejected row is an error.
        max_rejected_share (`float`, *optional*):
            Share of the rows of a split, 0 to 1, that may be rejected, see [`check_rejected_share`].

    Raises:
        [`InputError`]: for rows that cannot be found or read, and if too many rows are rejected.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> loaded = load_task_data(PAPER_TASKS["sts"], "sample")
        >>> {split: len(rows) for split, rows in loaded.splits.items()}
        {'train': 260, 'dev': 90, 'test': 40}
    """
    if not isinstance(task, TaskSpec):
        raise InputError(f"`task` must be a TaskSpec, such as PAPER_TASKS['sts'], got {shorten(repr(task))}.")
    if not isinstance(dev_fraction, float) or not 0 < dev_fraction < 1:
        raise InputError(f"`dev_fraction` must be above 0 and below 1, got {dev_fraction!r}.")
    if isinstance(data, Sources):
        found = data
    else:
        found = memory_sources(data, task) if is_in_memory(data) else find_sources(task, data, dataset_config)
    given = {"dev": dev_data, "test": test_data}
    files = {split: file_source(task, path) for split, path in given.items() if path is not None}
    found = replace(found, splits=found.splits | files)
    limits = {"strict": strict, "max_rejected_share": max_rejected_share}
    train = read_split(found["train"], task, is_train=True, **limits)
    task = train.task
    if "dev" in found.splits or found.has_own_dev:
        dev, dev_cut_off = read_split(found["dev"], task, **limits), None
    else:
        dev_cut_off = found["train"]
        train, dev = cut_dev(train, dev_fraction, seed)
    splits = {"train": train, "dev": dev}
    if "test" in found.splits:
        splits["test"] = read_split(found["test"], task, labels="optional", **limits)
    check_several_classes(train.dataset.unique("label"), task, train.source)
    return replace(_gather(splits, task), dev_cut_off=dev_cut_off)


def load_split(
    task: TaskSpec,
    data: str | None,
    split: str = "dev",
    *,
    dataset_config: str | None = None,
    strict: bool = False,
    max_rejected_share: float | None = None,
) -> LoadedData:
    """
    Loads one labelled split, for evaluation; a missing split is an error.

    Args:
        task (`TaskSpec`):
            The task.
        data (`str`, *optional*):
            `"sample"`, a folder, a Hub id, `None` for the task's own data set on the Hub, or a file with the rows of
            the split.
        split (`str`, *optional*, defaults to `"dev"`):
            `"train"`, `"dev"` or `"test"`.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a rejected row is an error.
        max_rejected_share (`float`, *optional*):
            Share of the rows, 0 to 1, that may be rejected, see [`check_rejected_share`].
    """
    if split not in SPLIT_NAMES:
        raise InputError(f"`split` must be one of {', '.join(map(repr, SPLIT_NAMES))}, got {split!r}.")
    found = find_sources(task, data, dataset_config, file_split=split)[split]
    loaded = read_split(found, task, strict=strict, max_rejected_share=max_rejected_share)
    return _gather({split: loaded}, task)


@dataclass(frozen=True)
class LoadedSplit:
    """
    The rows of one split.

    Args:
        source (`str`):
            Name of the file or of the Hub's split.
        columns (`Columns`):
            Names of the task's columns in the source.
        task (`TaskSpec`):
            The task, with the classes of the rows if its `class_names` were "auto".
        dataset (`Dataset`):
            The good rows with `sentence1`, for pairs `sentence2`, `id`, `line`, and `label` unless the split is
            unlabelled.
        rejected (`list[RejectedRow]`, *optional*):
            The rejected rows, in the order of the source.
        notices, warnings (`list[str]`, *optional*):
            Messages for the user, one line each.
    """

    source: str
    columns: Columns
    task: TaskSpec
    dataset: Dataset
    rejected: list[RejectedRow] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_split(
    source: Source,
    task: TaskSpec,
    *,
    labels: LabelUse = "required",
    is_train: bool = False,
    strict: bool = False,
    max_rejected_share: float | None = None,
) -> LoadedSplit:
    """
    Reads and checks all rows of a source.

    Args:
        source (`Source`):
            The source.
        task (`TaskSpec`):
            The task.
        labels (`str`, *optional*, defaults to `"required"`):
            `"required"` rejects rows without a label; `"optional"` keeps them, but then the split is unlabelled.
        is_train (`bool`, *optional*, defaults to `False`):
            Whether the rows are for training; see [`SplitLabels.check_coverage`].
        strict (`bool`, *optional*, defaults to `False`):
            Whether a rejected row is an error.
        max_rejected_share (`float`, *optional*):
            Share of the rows, 0 to 1, that may be rejected, see [`check_rejected_share`].
    """
    _, columns, rows = open_rows(source, task, label_required=labels == "required")
    values: dict[str, list[Any]] = {"sentence1": [], "sentence2": [], "label": [], "id": [], "line": []}
    rejected = []
    for row in valid_rows(rows, columns, source.name, label_text):
        if isinstance(row, RejectedRow):
            rejected.append(row)
            continue
        values["line"].append(row[0])
        for name, value in row[1].items():
            values[name].append(value)
    found = []
    if task.has_auto_classes:
        task = replace(task, class_names=find_classes(Counter(values["label"]), source.name, columns.label))
        found = [f"classes of {source.name}: {shorten(', '.join(map(repr, task.class_names)))}"]
    split_labels = SplitLabels.of(values["label"], task, labels)
    lost = split_labels.lost(rejected, columns.label)
    rejected += split_labels.take_unread(values, columns, source.name)
    rejected.sort(key=lambda row: row.line)
    good = len(values["id"])
    check_rejected_share(
        rejected,
        good,
        source.name,
        strict=strict,
        max_share=max_rejected_share,
        lost_labels=lost,
        advice=split_labels.advice(columns.label, is_train=is_train),
    )
    warnings = [rejection_notice(rejected, good + len(rejected), source.name)] if rejected else []
    warnings += split_labels.check_coverage(source.name, is_train=is_train)
    values["label"] = [split_labels.read[label] for label in values["label"]]
    notices = found + _drop_missing_labels(values, source.name) + _repeated_ids(values["id"], source.name)
    return LoadedSplit(source.name, columns, task, _to_dataset(values, task), rejected, notices, warnings)


def open_rows(source: Source, task: TaskSpec, *, label_required: bool) -> tuple[list[str], Columns, Rows]:
    """Starts to read a source: returns the names of its columns, the task's columns among them, and the rows."""
    present, rows = open_columns(source)
    return present, find_columns(present, task, source.name, label_required=label_required), rows


def open_columns(source: Source) -> tuple[list[str], Rows]:
    """Starts to read a source: returns the names of its columns, and the rows."""
    present, rows = peek_columns(source.read())
    if not present:
        first = next((row for row in rows if isinstance(row, RejectedRow)), None)
        found = "none" if first is None else f"none that can be read ({first})"
        is_list = first is not None and source.name.endswith(".jsonl") and first.row.get("text", "").startswith("[")
        hint = " A file that is one JSON list must end in .json." if is_list else ""
        raise InputError(f"{source.name} must have rows, got {found}.{hint}")
    return present, rows


def _drop_missing_labels(values: dict[str, list[Any]], file: str) -> list[str]:
    missing = values["label"].count(None)
    if not missing:
        return []
    labelled = len(values["label"]) - missing
    values["label"] = []
    if not labelled:
        return []
    return [f"{labelled:,} rows of {file} have a label and {missing:,} have none: the split is used without labels"]


def _repeated_ids(ids: list[str], file: str) -> list[str]:
    repeated = len(ids) - len(set(ids))
    return [f"{repeated:,} of {len(ids):,} rows of {file} repeat the id of an earlier row"] if repeated else []


def _to_dataset(values: dict[str, list[Any]], task: TaskSpec) -> Dataset:
    text, number, label = Value("string"), Value("int64"), Value("float64" if task.is_regression else "int64")
    types = {"sentence1": text, "sentence2": text, "label": label, "id": text, "line": number}
    filled = {name: column for name, column in values.items() if column}
    features = Features({name: types[name] for name in filled})
    return Dataset(pa.table(filled, schema=features.arrow_schema))  # ten times as fast as `Dataset.from_dict`


def cut_dev(train: LoadedSplit, fraction: float, seed: int) -> tuple[LoadedSplit, LoadedSplit]:
    """
    Splits rows into a train split and a dev split.

    Args:
        train (`LoadedSplit`):
            The rows to split.
        fraction (`float`):
            Share of the rows, above 0 and below 1, for the dev split. Each of the two splits gets at least one row.
        seed (`int`):
            Seed of the draw of dev rows.
    """
    total = len(train.dataset)
    if total < 2:
        raise InputError(f"{train.source} must have at least 2 rows to cut a dev split off them, got {total}.")
    size = min(max(1, round(total * fraction)), total - 1)
    order = np.random.default_rng(seed).permutation(total)
    notice = f"{size:,} of {total:,} rows of {train.source} became the dev split (seed {seed})"
    rest = replace(train, dataset=take_rows(train.dataset, order[size:]), notices=[*train.notices, notice])
    return rest, replace(train, dataset=take_rows(train.dataset, order[:size]), rejected=[], notices=[], warnings=[])


def take_rows(dataset: Dataset, indices: np.ndarray) -> Dataset:
    """Copies rows, in the order of the file: the index of `Dataset.select` would slow down every later step."""
    return Dataset(dataset.data.table.take(pa.array(np.sort(indices))))


def _gather(splits: dict[str, LoadedSplit], task: TaskSpec) -> LoadedData:
    for split in splits.values():
        for warning in split.warnings:
            logger.warning(warning)
    sources: dict[Columns, dict[str, None]] = {}
    for split in splits.values():
        has_labels = "label" in split.dataset.column_names
        # columns without a label are those of an earlier split that has one
        known = next((each for each in sources if replace(each, label=split.columns.label) == split.columns), None)
        same = split.columns if has_labels or known is None else known
        name = split.source if has_labels else f"{split.source} (no labels)"
        sources.setdefault(same, {})[name] = None
    notices = [f"columns of {', '.join(names)}: {columns}" for columns, names in sources.items()]
    return LoadedData(
        splits=DatasetDict({name: split.dataset for name, split in splits.items()}),
        rejected=[row for split in splits.values() for row in split.rejected],
        notices=notices + [notice for split in splits.values() for notice in split.notices],
        task=task,
        columns=tuple(sources),
    )
