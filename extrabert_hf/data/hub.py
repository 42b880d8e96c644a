"""Data sets of the Hub: fetched with `datasets.load_dataset`, its failures told in one line."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import datasets
from datasets import ClassLabel, Dataset, DatasetDict
from datasets.exceptions import DatasetsError
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from extrabert_hf.data.reading import BATCH_SIZE, RejectedRow, Rows, rows_of_batches, shorten
from extrabert_hf.errors import InputError

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
