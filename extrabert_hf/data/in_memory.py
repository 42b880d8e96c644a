"""Rows in memory: a `Dataset`, a `DataFrame`, a list of dicts, or several of these by split."""

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import ClassLabel, Dataset, IterableDataset

from extrabert_hf.data.rejected_rows import RejectedRow, Rows
from extrabert_hf.data.sources import SPLIT_NAMES, Source, Sources, hub_rows
from extrabert_hf.errors import InputError, shorten
from extrabert_hf.tasks import TaskSpec

ALLOWED = (
    "`data` must be 'sample', a folder, a file, a Hub id, a `Dataset`, a `DataFrame`, a list of dicts, or a "
    "`DatasetDict` or dict of these with the keys train, dev and test"
)


def is_in_memory(data: Any) -> bool:
    """Whether `data` holds the rows themselves. Otherwise it names them, as `--data` does, or is `None`."""
    return not (data is None or isinstance(data, str | Path))


def memory_sources(data: Any, task: TaskSpec) -> Sources:
    """
    Finds the splits of rows in memory. The rows are read on request, and never changed.

    Args:
        data (`Dataset`, `DataFrame`, list of dicts, or `DatasetDict` or dict of these):
            The rows. Rows without splits are train rows. In a dict, `validation` and `valid` are other names of the
            dev split; other keys are ignored.
        task ([`TaskSpec`]):
            The task, whose classes a `ClassLabel` column may name differently, see [`hub_rows`].

    Raises:
        [`InputError`]: for anything else.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> sources = memory_sources([{"text": "A warm film.", "label": "positive"}], PAPER_TASKS["sst"])
        >>> list(sources["train"].read())
        [(1, {'text': 'A warm film.', 'label': 'positive'})]
    """
    if not isinstance(data, Mapping):
        return Sources({"train": _source("train", data, task)}, "the rows have no splits")
    listing = shorten(", ".join(map(repr, data)), 200) or "none"
    splits = {}
    for split, names in SPLIT_NAMES.items():
        found = [name for name in names if name in data]
        if len(found) > 1:
            raise InputError(f"`data` must have one {split} split, got {' and '.join(map(repr, found))}.")
        if found:
            splits[split] = _source(split, data[found[0]], task)
    if "train" not in splits:
        hint = ": use `datasets.Dataset.from_dict` for a dict of columns" if _has_columns(data) else ""
        raise InputError(f"`data` must have a train split, got a {type(data).__name__} with {listing}{hint}.")
    return Sources(splits, f"the data has the splits {listing}")


def class_names_of(data: Any, label_column: str | None) -> list[str] | None:
    """
    Returns the class names of the label column of a `Dataset` with `ClassLabel`s, in order; `None` for other rows.

    Args:
        data:
            As for [`memory_sources`].
        label_column (`str`, *optional*):
            The column; by default the only one with `ClassLabel`s.
    """
    rows = data.get("train") if isinstance(data, Mapping) else data
    if not isinstance(rows, Dataset):
        return None
    names = {name: kind.names for name, kind in rows.features.items() if isinstance(kind, ClassLabel)}
    if label_column is None and len(names) == 1:
        (label_column,) = names
    return names.get(label_column)


def rows_to_predict(rows: Any, task: TaskSpec) -> Dataset:
    """
    Returns rows for a prediction as a `Dataset` with the sentence columns of a task.

    Args:
        rows (`Dataset`, or a list of `str` or of `tuple[str, str]`):
            A data set that has these columns; or a list of sentences, for a task of pairs of pairs.
        task ([`TaskSpec`]):
            The task.

    Raises:
        [`InputError`]: for anything else.
    """
    wanted, columns = task.sentence_columns, getattr(rows, "column_names", [])
    if isinstance(rows, Dataset):
        if not set(wanted) <= set(columns):
            raise InputError(f"`rows` must have the columns {' and '.join(wanted)}, got {columns}: rename yours.")
        return rows
    allowed = f"a Dataset or a list of {'pairs, as (first, second)' if task.is_pair else 'sentences'}"
    if not isinstance(rows, list | tuple):
        raise InputError(f"`rows` must be {allowed}, got {_described(rows)}.")
    for row in rows:
        texts = row if task.is_pair and isinstance(row, list | tuple) else (row,)
        if len(texts) != len(wanted) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"`rows` must be {allowed}, got {_described(row)} in the list.")
    return Dataset.from_dict(
        {name: [row[index] if task.is_pair else row for row in rows] for index, name in enumerate(wanted)}
    )


def check_sentences(task: TaskSpec, sentences1: Any, sentences2: Any) -> None:
    """Raises [`InputError`] if lists of sentences do not fit a task: one list, or two of the same length for pairs."""
    given = [column for column in (sentences1, sentences2) if column is not None]
    if len(given) != len(task.sentence_columns):
        needed = "two lists, of the first and of the second sentences" if task.is_pair else "one list of sentences"
        raise InputError(f"the task {task.name!r} needs {needed}, got {len(given)}.")
    for name, column in zip(("sentences1", "sentences2"), given, strict=False):
        wrong = column if isinstance(column, str) else next((text for text in column if not isinstance(text, str)), "")
        if isinstance(column, str) or not isinstance(wrong, str):
            raise InputError(f"`{name}` must be a list of texts, got {_described(wrong)}.")
    if len({len(column) for column in given}) > 1:
        raise InputError(
            f"`sentences1` and `sentences2` must be of one length, got {' and '.join(str(len(c)) for c in given)}."
        )


def write_rows(source: Source, path: Path) -> None:
    """Writes the rows of a source as `.jsonl`, which [`read_rows`] reads; the caller gives a temporary path."""
    with path.open("w", encoding="utf-8") as file:
        for row in source.read():
            if isinstance(row, RejectedRow):
                raise InputError(str(row))
            file.write(json.dumps(row[1], default=str) + "\n")


def _source(split: str, rows: Any, task: TaskSpec) -> Source:
    name = f"the {split} split"
    if isinstance(rows, IterableDataset):
        raise InputError(f"{ALLOWED}, got an IterableDataset: load it without `streaming`.")
    if isinstance(rows, Dataset):
        _check_names(rows.column_names, name)
        return Source(name, partial(_plain_rows, partial(hub_rows, rows, task.class_names)))
    if isinstance(rows, pd.DataFrame):
        _check_names(list(rows.columns), name)
        return Source(name, partial(_plain_rows, partial(_frame_rows, rows)))
    if not isinstance(rows, list | tuple):
        raise InputError(f"{ALLOWED}, got {_described(rows)}.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InputError(
                "`data` must be a list of dicts, one for each row, such as {'text': 'A good film.', 'label': 'good'}, "
                f"got {_described(row)} as row {number}."
            )
        _check_names(row, name)
    return Source(name, partial(_plain_rows, lambda: enumerate(map(dict, rows), start=1)))


def _check_names(columns: Any, name: str) -> None:
    for column in columns:
        if not isinstance(column, str):
            raise InputError(f"the columns of {name} must have names, got {_described(column)}.")


def _frame_rows(frame: pd.DataFrame) -> Iterator[tuple[int, dict[str, Any]]]:
    columns = [frame[name].astype(object).where(frame[name].notna(), None) for name in frame.columns]
    names = list(frame.columns)
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        yield number, dict(zip(names, values, strict=True))


def _plain_rows(read: Any) -> Rows:
    """Converts NumPy numbers to Python numbers, and NaN to a missing value."""
    for row in read():
        yield (
            row if isinstance(row, RejectedRow) else (row[0], {name: _plain(value) for name, value in row[1].items()})
        )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _has_columns(data: Mapping) -> bool:
    columns = [values for values in data.values() if isinstance(values, list | tuple | np.ndarray)]
    return any(not isinstance(value, Mapping) for values in columns for value in values[:1])


def _described(value: Any) -> str:
    return f"the {type(value).__name__} {shorten(repr(value), 80)}"
