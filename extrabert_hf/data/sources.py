"""What `--data` means: the bundled sample, a CS224N folder, any folder, a file, or a data set of the Hub."""

import re
import ssl
from collections.abc import Callable, Iterator
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

from extrabert_hf.data.reading import (
    BATCH_SIZE,
    STANDARD_INPUT,
    SUFFIXES,
    RejectedRow,
    Rows,
    read_rows,
    rows_of_batches,
    shorten,
)
from extrabert_hf.errors import InputError
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

TIMEOUT = 10  # seconds to wait for the Hub's first answer; its own client would go on trying for half a minute


def load_hub_dataset(dataset_id: str, config: str | None = None) -> DatasetDict:
    """
    Fetches a data set of the Hub, or takes it from the cache where the Hub does not answer.

    Args:
        dataset_id (`str`):
            Such as `"nyu-mll/glue"`.
        config (`str`, *optional*):
            The data set's configuration, such as `"qqp"`.
    """
    if not _is_cached(dataset_id) and not _hub_answers():
        raise InputError(
            f"The data set {dataset_id!r} cannot be fetched: {constants.ENDPOINT} does not answer "
            "or offline mode is on. Use `--data sample`, or a folder or file of your own."
        )
    try:
        return datasets.load_dataset(dataset_id, config)
    except (OSError, ValueError, RuntimeError, DatasetsError, HfHubHTTPError) as error:
        cause = f": {error.__cause__}" if error.__cause__ is not None else ""
        reason = shorten(" ".join(f"{error}{cause}".split()), 300)
        raise InputError(
            f"`data` must be 'sample', a folder, a file or a Hub id, got {dataset_id!r}: {reason}"
        ) from error


def hub_rows(dataset: Dataset, class_names: tuple[str, ...], rejected: list[RejectedRow] | None = None) -> Rows:
    """
    Reads the rows of a split of the Hub.

    A column of the task's very classes is given by name, not by number: the data set may count them in another order.

    Args:
        dataset (`Dataset`):
            The split.
        class_names (`tuple[str, ...]`):
            The task's class names.
        rejected (`list[RejectedRow]`, *optional*):
            For likeness with [`read_rows`]; a data set of the Hub has no rows that cannot be parsed.
    """
    return rows_of_batches(_batches(dataset, class_names))


def _batches(dataset: Dataset, class_names: tuple[str, ...]) -> Iterator[dict[str, list[Any]]]:
    class_names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if isinstance(feature, ClassLabel) and set(feature.names) == set(class_names)
    }
    for batch in dataset.iter(batch_size=BATCH_SIZE):
        for column, names in class_names.items():
            batch[column] = [value if value is None or value < 0 else names[value] for value in batch[column]]
        yield batch


def _is_cached(dataset_id: str) -> bool:
    return (Path(datasets.config.HF_DATASETS_CACHE) / dataset_id.replace("/", "___")).is_dir()


def _hub_answers() -> bool:
    if datasets.config.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=TIMEOUT):
            return True
    except HTTPError:
        return True  # an answer, if not a kind one
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # the Hub's client may know a certificate that we do not
    except OSError:
        return False


SAMPLE = "sample"
COURSE_FILES = {"train": "{}-train.csv", "dev": "{}-dev.csv", "test": "{}-test-student.csv"}
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}


@dataclass(frozen=True)
class Source:
    """
    Where the rows of one split are.

    Args:
        name (`str`):
            What messages call it: a file's name, or `<id>[<split>]` on the Hub.
        read (`Callable`):
            Takes the list that collects rows that cannot be parsed, gives `(line, row)` one at a time.
    """

    name: str
    read: Callable[[list[RejectedRow] | None], Rows]


@dataclass(frozen=True)
class Sources:
    """
    The splits that were found under one `--data`.

    Args:
        splits (`dict[str, Source]`):
            Those of `train`, `dev` and `test` that are there.
        searched (`str`):
            Where they were looked for and what is there, for the error about one that is missing.
        has_own_dev (`bool`):
            Whether a missing dev split is an error, as in a CS224N folder, and none may be cut off train.
    """

    splits: dict[str, Source]
    searched: str
    has_own_dev: bool = False

    def __getitem__(self, split: str) -> Source:
        if split not in self.splits:
            raise InputError(f"`data` must have a {split} split, got none: {self.searched}.")
        return self.splits[split]


def find_sources(
    task: TaskSpec, data: str | None, dataset_config: str | None = None, file_split: str = "train"
) -> Sources:
    """
    Finds the splits of `data`.

    Args:
        task (`TaskSpec`):
            Says what the files of a CS224N folder are called, and which data set of the Hub stands for `None`.
        data (`str`, *optional*):
            `"sample"`, a folder, a file, a Hub id, or `None` for the task's own data set on the Hub.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set, such as `"qqp"` of `nyu-mll/glue`.
        file_split (`str`, *optional*, defaults to `"train"`):
            The split that a single file holds.
    """
    if data is None:
        if task.hub_dataset is None:
            raise InputError(
                f"`data` must be given for the task {task.name!r}, which names no `hub_dataset`, got none."
            )
        return _hub_sources(task, task.hub_dataset, dataset_config)
    if data == SAMPLE:
        return _sample_sources(task)
    path = Path(data)
    if path.is_dir():
        return _folder_sources(task, path)
    if path.is_file():
        return Sources({file_split: file_source(task, path)}, f"{path.name} is a single file")
    if _looks_like_path(data):
        raise InputError(
            f"`data` must be 'sample', a folder, a file or a Hub id, got {data!r}: no such file or folder."
        )
    return _hub_sources(task, data, dataset_config)


def paper_tasks_in(data: str) -> list[str]:
    """Gives those of the paper's tasks whose files a CS224N folder, or the bundled sample, holds."""
    folder = Path(str(files("extrabert_hf.data.samples"))) if data == SAMPLE else Path(data)
    course = {name: COURSE_FILES["train"].format(task.course_stem) for name, task in PAPER_TASKS.items()}
    return [name for name, file in course.items() if (folder / file).is_file()]


def describe_source(task: TaskSpec, data: str | None, dataset_config: str | None = None) -> dict[str, str | None]:
    """
    Says what others may call the rows of `data`: by a `name` that shows no path, and where it has one the `hub_id`.

    Args:
        task (`TaskSpec`):
            As for [`find_sources`], with `data` and `dataset_config`.
        data (`str`, *optional*):
            What was trained on.
        dataset_config (`str`, *optional*):
            Configuration of the Hub data set.
    """
    if data == SAMPLE:
        return {"name": "bundled sample of extrabert_hf", "hub_id": None, "config": None}
    course_file = COURSE_FILES["train"].format(task.course_stem)
    if data is not None and (Path(data) / course_file).is_file():
        return {"name": f"CS224N default project, {course_file}", "hub_id": None, "config": None}
    if data is not None and (Path(data).exists() or _looks_like_path(data)):
        return {"name": f"{Path(data).resolve().name} (local files)", "hub_id": None, "config": None}
    hub_id = data or task.hub_dataset
    config = dataset_config or (task.hub_config if hub_id == task.hub_dataset else None)
    return {"name": f"{hub_id} ({config})" if config else hub_id, "hub_id": hub_id, "config": config}


def file_source(task: TaskSpec, path: str | Path) -> Source:
    """Makes the source of the rows of one file, or of standard input if the path is `"-"`."""
    text_columns = ("sentence1", "sentence2") if task.is_pair else ("sentence1",)
    name = "standard input" if str(path) == STANDARD_INPUT else Path(path).name
    return Source(name, partial(read_rows, path, text_columns=text_columns))


def _looks_like_path(data: str) -> bool:
    has_suffix = re.fullmatch(r"\.[A-Za-z]\w*", Path(data).suffix) is not None  # not the ".0" of "owner/name-v1.0"
    return has_suffix or data.startswith((".", "/", "~")) or data.endswith("/") or "\\" in data or data.count("/") > 1


def _sample_sources(task: TaskSpec) -> Sources:
    sources = _folder_sources(task, Path(str(files("extrabert_hf.data.samples"))))
    if not sources.splits:
        raise InputError(f"`data` 'sample' must go with a task of the paper, got the task {task.name!r}.")
    return sources


def _folder_sources(task: TaskSpec, folder: Path) -> Sources:
    there = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    looked_for = [f"train and dev ending in {', '.join(SUFFIXES)}"]
    names: dict[str, list[str]] = {}
    if task.course_stem is not None:
        course = {split: name.format(task.course_stem) for split, name in COURSE_FILES.items()}
        looked_for.insert(0, f"{course['train']} and {course['dev']}")
        names = {split: [name] for split, name in course.items() if name in there}
    is_course = bool(names)
    if not is_course:
        known = {
            split: {stem + suffix for stem in stems for suffix in SUFFIXES} for split, stems in SPLIT_NAMES.items()
        }
        names = {split: [name for name in there if name in known[split]] for split in SPLIT_NAMES}
    for split, candidates in names.items():
        if len(candidates) > 1:
            raise InputError(f"{folder} must hold one file of the {split} split, got {', '.join(candidates)}.")
    splits = {split: file_source(task, folder / found[0]) for split, found in names.items() if found}
    listing = shorten(", ".join(there), 300) or "nothing"
    return Sources(splits, f"looked in {folder} for {' or '.join(looked_for)}; there is {listing}", is_course)


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
