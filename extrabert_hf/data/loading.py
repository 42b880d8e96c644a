"""One loader: any source of a task's rows -> a `DatasetDict` with the columns sentence1, sentence2, label, id."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datasets import DatasetDict

from extrabert_hf.data.reading import RejectedRow
from extrabert_hf.data.sources import SPLIT_NAMES, file_source, find_sources
from extrabert_hf.data.splits import LoadedSplit, cut_dev, open_rows, read_split
from extrabert_hf.data.validation import valid_rows
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import TaskSpec

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
