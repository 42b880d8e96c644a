"""
Finds the rows that `--data` names: the bundled sample, a CS224N folder, any folder, a file, or a data set of the Hub.

The result is a [`Source`] for each split, which reads the rows on request.
"""

import difflib
import logging
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import datasets
from datasets import ClassLabel, Dataset, DatasetDict
from datasets.exceptions import DatasetsError
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from extrabert_hf.data.labels import without_negation
from extrabert_hf.data.reading import BATCH_SIZE, STANDARD_INPUT, SUFFIXES, Rows, read_rows, rows_of_batches
from extrabert_hf.errors import InputError, one_line, shorten
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec, fold_name

logger = logging.getLogger(__name__)

SAMPLE = "sample"
SAMPLE_FOLDER = Path(str(files("extrabert_hf.data.samples")))
COURSE_FILES = {"train": "{}-train.csv", "dev": "{}-dev.csv", "test": "{}-test-student.csv"}
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}
HUB_TIMEOUT = 10
"""Seconds to wait for the first response of the Hub. The client of the Hub would retry for half a minute."""


@dataclass(frozen=True)
class Source:
    """
    The rows of one split, not read yet.

    Args:
        name (`str`):
            Name in messages: the name of a file, or `<id>[<split>]` on the Hub.
        read (`Callable`):
            Starts to read the rows: returns an iterator over [`ReadRow`]s.
        path (`Path`, *optional*):
            The file.
    """

    name: str
    read: Callable[[], Rows]
    path: Path | None = None


@dataclass(frozen=True)
class Sources:
    """
    The splits that `--data` names.

    Args:
        splits (`dict[str, Source]`):
            The sources of the existing splits among `train`, `dev` and `test`.
        searched (`str`):
            Where the splits were searched and what was found, for the error about a missing split.
        has_own_dev (`bool`):
            Whether the dev split must exist, as in a CS224N folder. Otherwise some train rows replace a missing dev
            split.
    """

    splits: dict[str, Source]
    searched: str
    has_own_dev: bool = False

    def __getitem__(self, split: str) -> Source:
        if split not in self.splits:
            raise InputError(f"`data` must have a {split} split, got none: {self.searched}.")
        return self.splits[split]


def find_sources(
    task: TaskSpec, data: str | Path | None, dataset_config: str | None = None, file_split: str = "train"
) -> Sources:
    """
    Finds the splits of `data`.

    Args:
        task (`TaskSpec`):
            The task: its `course_stem` names the files of a CS224N folder, its `hub_dataset` replaces `None`.
        data (`str` or `Path`, *optional*):
            `"sample"`, a folder, a file, a Hub id, or `None` for the task's own data set on the Hub.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set, such as `"qqp"` of `nyu-mll/glue`.
        file_split (`str`, *optional*, defaults to `"train"`):
            The split of a single file.
    """
    if data is None:
        if task.hub_dataset is None:
            raise InputError(
                f"`data` must be given for the task {task.name!r}, which names no `hub_dataset`, got none."
            )
        return _hub_sources(task, task.hub_dataset, dataset_config)
    if data == SAMPLE:
        return _sample_sources(task)
    path, data = Path(data), str(data)
    if path.is_dir():
        return _folder_sources(task, path)
    if path.is_file():
        return Sources({file_split: file_source(task, path)}, f"{path.name} is a single file")
    if _looks_like_path(data):
        raise InputError(
            f"`data` must be 'sample', a folder, a file or a Hub id, got {data!r}: no such file or folder."
            f"{_near_file(path)}"
        )
    return _hub_sources(task, data, dataset_config)


@dataclass(frozen=True)
class SourceDescription:
    """
    A public description of the rows that a model was trained on, without local paths.

    Args:
        name (`str`):
            Name of the data set, folder or file.
        hub_id (`str`, *optional*):
            Id of a data set of the Hub; `None` for local files.
        config (`str`, *optional*):
            Configuration of a data set of the Hub.
    """

    name: str
    hub_id: str | None = None
    config: str | None = None


def describe_source(task: TaskSpec, data: str | None, dataset_config: str | None = None) -> SourceDescription:
    """
    Describes the rows of `data` without a local path, for a model card.

    Args:
        task (`TaskSpec`):
            The task.
        data (`str`, *optional*):
            The rows, see [`find_sources`].
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set.
    """
    if data == SAMPLE:
        return SourceDescription("bundled sample of extrabert_hf")
    course_file = COURSE_FILES["train"].format(task.course_stem)
    if data is not None and (Path(data) / course_file).is_file():
        return SourceDescription(f"CS224N default project, {course_file}")
    if data is not None and (Path(data).exists() or _looks_like_path(data)):
        return SourceDescription(f"{Path(data).resolve().name} (local files)")
    hub_id = data or task.hub_dataset
    config = dataset_config or (task.hub_config if hub_id == task.hub_dataset else None)
    return SourceDescription(f"{hub_id} ({config})" if config else hub_id, hub_id, config)


def paper_tasks_in(data: str) -> list[str]:
    """Returns the names of the paper's tasks that have a train file in a CS224N folder or in the bundled sample."""
    folder = SAMPLE_FOLDER if data == SAMPLE else Path(data)
    train_files = {name: COURSE_FILES["train"].format(task.course_stem) for name, task in PAPER_TASKS.items()}
    return [name for name, file in train_files.items() if (folder / file).is_file()]


# Local files


def file_source(task: TaskSpec, path: str | Path) -> Source:
    """Returns the source of one file, or of standard input if the path is `"-"`."""
    read = partial(read_rows, path, text_columns=task.sentence_columns)
    return Source("standard input", read) if str(path) == STANDARD_INPUT else Source(Path(path).name, read, Path(path))


def train_file(task: TaskSpec, data: str | None) -> Path | None:
    """Returns the file of the train rows of a local file or folder; `None` for other data."""
    is_local = data is not None and Path(data).exists()
    return find_sources(task, data)["train"].path if is_local else None


def _sample_sources(task: TaskSpec) -> Sources:
    sources = _folder_sources(task, SAMPLE_FOLDER)
    if not sources.splits:
        raise InputError(f"`data` 'sample' must go with a task of the paper, got the task {task.name!r}.")
    return sources


def _folder_sources(task: TaskSpec, folder: Path) -> Sources:
    present = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    looked_for = [f"train and dev ending in {', '.join(SUFFIXES)}"]
    candidates: dict[str, list[str]] = {}
    if task.course_stem is not None:
        course = {split: name.format(task.course_stem) for split, name in COURSE_FILES.items()}
        looked_for.insert(0, f"{course['train']} and {course['dev']}")
        candidates = {split: [name] for split, name in course.items() if name in present}
    is_course = bool(candidates)
    if not is_course:
        for split, stems in SPLIT_NAMES.items():
            known = {stem + suffix for stem in stems for suffix in SUFFIXES}
            candidates[split] = [name for name in present if name in known]
    for split, names in candidates.items():
        if len(names) > 1:
            raise InputError(f"{folder} must hold one file of the {split} split, got {', '.join(names)}.")
    splits = {split: file_source(task, folder / names[0]) for split, names in candidates.items() if names}
    listing = shorten(", ".join(present), 300) or "nothing"
    return Sources(splits, f"looked in {folder} for {' or '.join(looked_for)}; there is {listing}", is_course)


def _near_file(path: Path) -> str:
    """Returns a question with the data file or folder whose name is nearest to that of a missing one, or nothing."""
    folder = path.parent
    beside = list(folder.iterdir()) if folder.is_dir() else []
    names = [each.name for each in beside if each.is_dir() or each.suffix in SUFFIXES]
    stems = {Path(name).stem: name for name in names}
    near = difflib.get_close_matches(path.name, [*names, *stems], n=1)
    return f" Did you mean {str(folder / stems.get(near[0], near[0]))!r}?" if near else ""


def _looks_like_path(data: str) -> bool:
    has_suffix = re.fullmatch(r"\.[A-Za-z]\w*", Path(data).suffix) is not None  # not the ".0" of "owner/name-v1.0"
    return has_suffix or data.startswith((".", "/", "~")) or data.endswith("/") or "\\" in data or data.count("/") > 1


# Data sets of the Hub


def load_hub_dataset(dataset_id: str, config: str | None = None) -> DatasetDict:
    """
    Downloads a data set of the Hub, or loads it from the cache if the Hub cannot be reached.

    Args:
        dataset_id (`str`):
            Id of the data set, such as `"nyu-mll/glue"`.
        config (`str`, *optional*):
            Configuration of the data set, such as `"qqp"`.
    """
    if not _is_cached(dataset_id) and not hub_is_reachable():
        raise InputError(
            f"The data set {dataset_id!r} cannot be fetched: {constants.ENDPOINT} does not answer "
            "or offline mode is on. Use `--data sample`, or a folder or file of your own."
            f"{_near_file(Path(dataset_id))}"
        )
    try:
        return datasets.load_dataset(dataset_id, config)
    except (OSError, ValueError, RuntimeError, DatasetsError, HfHubHTTPError) as error:
        cause = f": {one_line(error.__cause__)}" if error.__cause__ is not None else ""
        reason = shorten(f"{one_line(error)}{cause}", 300)
        raise InputError(
            f"`data` must be 'sample', a folder, a file or a Hub id, got {dataset_id!r}: {reason}"
        ) from error


def hub_rows(dataset: Dataset, class_names: tuple[str, ...]) -> Rows:
    """
    Reads the rows of a split of the Hub.

    The labels of a `ClassLabel` column are returned as names, because the data set may number the classes in another
    order, or have other classes. A column of as many classes, but none with a name of the task, has other names for
    the same classes in the same order.

    Args:
        dataset (`Dataset`):
            The split.
        class_names (`tuple[str, ...]`):
            The task's class names.
    """
    return rows_of_batches(_hub_batches(dataset, class_names))


def _hub_sources(task: TaskSpec, dataset_id: str, dataset_config: str | None) -> Sources:
    if dataset_config is None and dataset_id == task.hub_dataset:
        dataset_config = task.hub_config
    hub_splits = load_hub_dataset(dataset_id, dataset_config)
    splits = {}
    for split, names in SPLIT_NAMES.items():
        name = next((name for name in names if name in hub_splits), None)
        if name is not None:
            read = partial(hub_rows, hub_splits[name], task.class_names)
            splits[split] = Source(f"{dataset_id}[{name}]", read)
    return Sources(splits, f"{dataset_id} has the splits {', '.join(hub_splits)}")


def _hub_batches(dataset: Dataset, class_names: tuple[str, ...]) -> Iterator[dict[str, list[Any]]]:
    names_by_column = {
        column: _task_names(column, feature.names, class_names)
        for column, feature in dataset.features.items()
        if isinstance(feature, ClassLabel)
    }
    for batch in dataset.iter(batch_size=BATCH_SIZE):
        for column, names in names_by_column.items():
            batch[column] = [value if value is None or value < 0 else names[value] for value in batch[column]]
        yield batch


def _task_names(column: str, names: Sequence[str], class_names: Sequence[str]) -> Sequence[str]:
    """Returns the names of the classes of a column, in its order, as the task names them if it has these classes."""
    if len(names) != len(class_names) or set(map(fold_name, names)) & set(map(fold_name, class_names)):
        return names
    negations = [without_negation(name) is not None for name in names]
    if negations == [without_negation(name) is not None for name in reversed(class_names)] and any(negations):
        return class_names[::-1]
    if negations != [without_negation(name) is not None for name in class_names] or not any(negations):
        pairs = ", ".join(f"{name!r} is {own!r}" for name, own in list(zip(names, class_names, strict=True))[:10])
        logger.warning("classes of the column %r are read in their order: %s", column, pairs)
    return class_names


def _is_cached(dataset_id: str) -> bool:
    return (Path(datasets.config.HF_DATASETS_CACHE) / dataset_id.replace("/", "___")).is_dir()


def hub_is_reachable(timeout: float = HUB_TIMEOUT) -> bool:
    """Returns whether the Hub answers within `timeout` seconds; `False` in offline mode."""
    if datasets.config.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=timeout):
            return True
    except HTTPError:
        return True  # an error status is a response too
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the Hub's client may have a certificate that urllib lacks
    except OSError:
        return False
