"""One source of rows -> one `Dataset` in canonical columns, with what was rejected and what is worth saying."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value

from extrabert_hf.data.columns import Columns, find_columns
from extrabert_hf.data.reading import RejectedRow, Rows, peek_columns
from extrabert_hf.data.sources import Source
from extrabert_hf.data.validation import LabelUse, rejection_notice, valid_rows
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
