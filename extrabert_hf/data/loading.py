"""One loader: any source of a task's rows -> a `DatasetDict` with the columns sentence1, sentence2, label, id."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, Value

from extrabert_hf.data.reading import RejectedRow, Rows, peek_columns
from extrabert_hf.data.sources import SPLIT_NAMES, Source, file_source, find_sources
from extrabert_hf.data.validation import Columns, LabelUse, find_columns, rejection_notice, valid_rows
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec


@dataclass(frozen=True)
class LoadedSplit:
    """
    The rows of one split.

    Args:
        source (`str`):
            Name of the file or of the Hub's split they come from.
        columns (`Columns`):
            The columns they were taken from.
        dataset (`Dataset`):
            The good rows: `sentence1`, `sentence2` of a pair, `label` unless the split is unlabelled, `id`.
        rejected (`list[RejectedRow]`, *optional*):
            The other rows, in the order of the file.
        notices (`list[str]`, *optional*):
            What a user should know, a line each.
    """

    source: str
    columns: Columns
    dataset: Dataset
    rejected: list[RejectedRow] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def open_rows(
    source: Source, task: TaskSpec, rejected: list[RejectedRow] | None, *, label_required: bool
) -> tuple[Columns, Rows]:
    """Starts to read a source: gives the task's columns in it, and its rows."""
    present, rows = peek_columns(source.read(rejected))
    if not present:
        came = (
            f"none that can be read ({source.name}:{rejected[0].line}: {rejected[0].reason})" if rejected else "none"
        )
        raise InputError(f"{source.name} must have rows, got {came}.")
    return find_columns(present, task, source.name, label_required=label_required), rows


def read_split(source: Source, task: TaskSpec, *, labels: LabelUse = "required", strict: bool = False) -> LoadedSplit:
    """
    Reads and checks all rows of a source.

    Args:
        source (`Source`):
            Where they are.
        task (`TaskSpec`):
            The task.
        labels (`str`, *optional*, defaults to `"required"`):
            `"required"` rejects rows without a label; `"optional"` keeps them, and makes the whole split unlabelled.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a row that must be rejected is an error.
    """
    rejected: list[RejectedRow] = []
    columns, rows = open_rows(source, task, rejected, label_required=labels == "required")
    values: dict[str, list[Any]] = {"sentence1": [], "sentence2": [], "label": [], "id": []}
    for _, row in valid_rows(rows, columns, task, source.name, rejected, labels):
        for name, value in row.items():
            values[name].append(value)
    rejected.sort(key=lambda row: row.line)
    _check_rejected(rejected, len(values["id"]), source.name, strict)
    notices = [rejection_notice(rejected, len(values["id"]) + len(rejected), source.name)] if rejected else []
    notices += _drop_missing_labels(values, source.name) + _repeated_ids(values["id"], source.name)
    return LoadedSplit(source.name, columns, _to_dataset(values, task), rejected, notices)


def cut_dev(train: LoadedSplit, fraction: float, seed: int) -> tuple[LoadedSplit, LoadedSplit]:
    """
    Cuts a dev split off a train split.

    Args:
        train (`LoadedSplit`):
            The rows of both.
        fraction (`float`):
            Share of them that becomes dev, above 0 and below 1; at least one row, and at least one stays.
        seed (`int`):
            Picks the rows.
    """
    total = len(train.dataset)
    if total < 2:
        raise InputError(f"{train.source} must have at least 2 rows to cut a dev split off them, got {total}.")
    size = min(max(1, round(total * fraction)), total - 1)
    order = np.random.default_rng(seed).permutation(total)
    notice = f"{size:,} of {total:,} rows of {train.source} became the dev split (seed {seed})"
    rest = replace(train, dataset=_take(train.dataset, order[size:]), notices=[*train.notices, notice])
    return rest, replace(train, dataset=_take(train.dataset, order[:size]), rejected=[], notices=[])


def _take(dataset: Dataset, indices: np.ndarray) -> Dataset:
    # copied, in the order of the file: `Dataset.select` would leave a mapping that every later step pays for
    return Dataset(dataset.data.table.take(pa.array(np.sort(indices))))


def _check_rejected(rejected: list[RejectedRow], good: int, file: str, strict: bool) -> None:
    if not rejected or (good and not strict):
        return
    first = f"{file}:{rejected[0].line}: {rejected[0].reason}"
    if strict:
        total = good + len(rejected)
        raise InputError(
            f"{file} must have good rows only, got {len(rejected):,} bad of {total:,}, the first {first}."
        )
    raise InputError(f"{file} must have a row that can be used, got {len(rejected):,} bad, the first {first}.")


def _drop_missing_labels(values: dict[str, list[Any]], file: str) -> list[str]:
    missing = values["label"].count(None)
    if not missing:
        return []
    labelled = len(values["label"]) - missing
    values["label"] = []
    if not labelled:
        return [f"{file} has no labels"]
    return [f"{labelled:,} rows of {file} have a label and {missing:,} have none: taken as a split without labels"]


def _repeated_ids(ids: list[str], file: str) -> list[str]:
    repeated = len(ids) - len(set(ids))
    return [f"{repeated:,} of {len(ids):,} rows of {file} repeat the id of an earlier row"] if repeated else []


def _to_dataset(values: dict[str, list[Any]], task: TaskSpec) -> Dataset:
    label_type = Value("float64") if task.is_regression else Value("int64")
    types = {"sentence1": Value("string"), "sentence2": Value("string"), "label": label_type, "id": Value("string")}
    filled = {name: column for name, column in values.items() if column}
    features = Features({name: types[name] for name in filled})
    return Dataset(pa.table(filled, schema=features.arrow_schema))  # ten times as fast as `Dataset.from_dict`


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """
    The rows of a task, and what a user should know about them.

    Args:
        splits (`DatasetDict`):
            Those of `train`, `dev` and `test` that there are, with the columns `sentence1`, `sentence2` (pairs only),
            `label` (`int64` class or `float64` score; not in an unlabelled test split) and `id` (`string`).
        rejected (`list[RejectedRow]`):
            The rows left out, and why.
        notices (`list[str]`):
            One line each: the columns taken, rows rejected, a dev split cut off train, a test split without labels.
    """

    splits: DatasetDict
    rejected: list[RejectedRow]
    notices: list[str]


def load_task_data(
    task: TaskSpec,
    data: str | None,
    *,
    dev_data: str | None = None,
    test_data: str | None = None,
    dev_fraction: float = 0.1,
    dataset_config: str | None = None,
    seed: int = 42,
    strict: bool = False,
) -> LoadedData:
    """
    Loads a task's rows for training: a train split, a dev split, and a test split where there is one.

    A source without a dev split gives `dev_fraction` of its train rows for one; a CS224N folder must have its own.

    Args:
        task (`TaskSpec`):
            The task.
        data (`str`, *optional*):
            `"sample"`, a folder, a file, a Hub id, or `None` for the task's own data set on the Hub.
        dev_data (`str`, *optional*):
            A file that is the dev split, whatever `data` has.
        test_data (`str`, *optional*):
            A file that is the test split, whatever `data` has.
        dev_fraction (`float`, *optional*, defaults to 0.1):
            Share of train, above 0 and below 1, that becomes a missing dev split.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set, such as `"qqp"` of `nyu-mll/glue`.
        seed (`int`, *optional*, defaults to 42):
            Picks the rows that become the dev split.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a row that must be rejected is an error.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> loaded = load_task_data(PAPER_TASKS["sts"], "sample")
        >>> {split: len(rows) for split, rows in loaded.splits.items()}
        {'train': 260, 'dev': 90, 'test': 40}
    """
    if not 0 < dev_fraction < 1:
        raise InputError(f"`dev_fraction` must be above 0 and below 1, got {dev_fraction}.")
    found = find_sources(task, data, dataset_config)
    given = {"dev": dev_data, "test": test_data}
    files = {split: file_source(task, path) for split, path in given.items() if path is not None}
    found = replace(found, splits=found.splits | files)

    train = read_split(found["train"], task, strict=strict)
    if "dev" in found.splits or found.has_own_dev:
        dev = read_split(found["dev"], task, strict=strict)
    else:
        train, dev = cut_dev(train, dev_fraction, seed)
    splits = {"train": train, "dev": dev}
    if "test" in found.splits:
        splits["test"] = read_split(found["test"], task, labels="optional", strict=strict)
    _check_classes(train, task)
    return _gather(splits)


def load_split(
    task: TaskSpec, data: str | None, split: str = "dev", *, dataset_config: str | None = None, strict: bool = False
) -> LoadedData:
    """
    Loads one labelled split, for evaluation; a split that is not there is an error.

    Args:
        task (`TaskSpec`):
            The task.
        data (`str`, *optional*):
            `"sample"`, a folder, a Hub id, `None` for the task's own data set on the Hub, or a file: it is the split.
        split (`str`, *optional*, defaults to `"dev"`):
            `"train"`, `"dev"` or `"test"`.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set.
        strict (`bool`, *optional*, defaults to `False`):
            Whether a row that must be rejected is an error.
    """
    if split not in SPLIT_NAMES:
        raise InputError(f"`split` must be one of {', '.join(map(repr, SPLIT_NAMES))}, got {split!r}.")
    found = find_sources(task, data, dataset_config, file_split=split)
    return _gather({split: read_split(found[split], task, strict=strict)})


def stream_sentences(
    task: TaskSpec, source: str | Path, rejected: list[RejectedRow] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """
    Gives a file's sentences one row at a time, for prediction; only a `.json` file is held in memory as a whole.

    Args:
        task (`TaskSpec`):
            The task; its label column may be missing.
        source (`str` or `Path`):
            The file, or `"-"` for standard input; see [`read_rows`] for the formats.
        rejected (`list[RejectedRow]`, *optional*):
            Collects the rows that cannot be used. Without it the first of them is an error.

    Returns:
        Iterator of `(line, row)`, the row a dictionary of `sentence1`, `sentence2` of a pair, and `id`.
    """
    where = file_source(task, source)
    columns, rows = open_rows(where, task, rejected, label_required=False)
    logger.info("columns of %s: %s", where.name, columns)
    return valid_rows(rows, columns, task, where.name, rejected, labels="ignored")


def _check_classes(train: LoadedSplit, task: TaskSpec) -> None:
    classes = train.dataset.unique("label")
    if len(classes) < 2 and not task.is_regression:
        only = task.class_names[classes[0]]
        raise InputError(f"{train.source} must have train rows of at least 2 classes, got {only!r} alone.")


def _gather(splits: dict[str, LoadedSplit]) -> LoadedData:
    sources: dict[str, list[str]] = {}  # by the columns that were taken
    for split in splits.values():
        names = sources.setdefault(str(split.columns), [])
        if split.source not in names:
            names.append(split.source)
    notices = [f"columns of {', '.join(names)}: {columns}" for columns, names in sources.items()]
    return LoadedData(
        splits=DatasetDict({name: split.dataset for name, split in splits.items()}),
        rejected=[row for split in splits.values() for row in split.rejected],
        notices=notices + [notice for split in splits.values() for notice in split.notices],
    )
