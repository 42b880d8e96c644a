"""The memory of a run's train rows: hashes of their texts and ids, and the overlap of other rows with them."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from pathlib import Path

import numpy as np
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from extrabert_hf.data.auditing import text_keys
from extrabert_hf.data.loading import LoadedData
from extrabert_hf.errors import InputError, one_line
from extrabert_hf.files import atomic_path
from extrabert_hf.manifest import remove_own
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.tasks import TaskSpec

VERSION = "1"
"""Version of the file."""


@dataclass(frozen=True, eq=False)
class TrainRows:
    """
    Hashes of the train rows of a model, 8 bytes each; the file holds no text.

    Args:
        texts (`Mapping[str, np.ndarray]`):
            By task, the hashes of the texts in the form of [`text_keys`], uint64, ascending.
        ids (`Mapping[str, np.ndarray]`):
            By task, the hashes of the ids, uint64, ascending; empty if the rows have no ids of their own.
    """

    texts: Mapping[str, np.ndarray]
    ids: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, splits: Mapping[str, Dataset]) -> "TrainRows":
        """Hashes the train split of each task."""
        return cls(
            {task: np.unique(_hashes(map("\0".join, text_keys(rows)))) for task, rows in splits.items()},
            {task: np.unique(_hashes(_own_ids(rows))) for task, rows in splits.items()},
        )

    @classmethod
    def read(cls, file: Path) -> "TrainRows":
        """
        Reads a file of [`TrainRows.write`].

        Raises:
            [`InputError`]: if the file is broken, or of a later version.
        """
        try:
            with safe_open(file, framework="np") as stored:
                version = (stored.metadata() or {}).get("version")
                if version != VERSION:
                    raise ValueError(f"version {version}")
                kinds: dict[str, dict[str, np.ndarray]] = {"texts": {}, "ids": {}}
                for name in stored.keys():  # noqa: SIM118 (not a dictionary)
                    kind, _, task = name.partition("/")
                    kinds[kind][task] = stored.get_tensor(name)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                f"{file} must hold hashes of train rows, version {VERSION}, got {one_line(error)}: delete it to go on "
                "without."
            ) from error
        return cls(**kinds)

    def write(self, file: Path) -> None:
        """Writes the hashes as safetensors."""
        arrays = {f"texts/{task}": hashes for task, hashes in self.texts.items()}
        arrays |= {f"ids/{task}": hashes for task, hashes in self.ids.items()}
        with atomic_path(file) as path:
            save_file(arrays, path, metadata={"version": VERSION})

    def __or__(self, other: "TrainRows") -> "TrainRows":
        def joined(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            none = np.empty(0, dtype=np.uint64)
            tasks = first.keys() | second.keys()
            return {task: np.union1d(first.get(task, none), second.get(task, none)) for task in sorted(tasks)}

        return TrainRows(joined(self.texts, other.texts), joined(self.ids, other.ids))


@dataclass(frozen=True, eq=False)
class Overlap:
    """
    The rows, of N, that a model was trained on.

    Args:
        model (`str`):
            Name of the model.
        in_train (`np.ndarray` of shape `(N,)`, *optional*):
            Whether each row has the text of a train row; `None` if the model has no record of its train rows.
        same_ids (`int`):
            Number of rows that have the id, but not the text, of a train row.
        set_aside (`Path`, *optional*):
            The file of the rows that were cut off the train rows as dev split.
    """

    model: str
    in_train: np.ndarray | None
    same_ids: int = 0
    set_aside: Path | None = None

    @property
    def count(self) -> int:
        """Number of rows with the text of a train row."""
        return 0 if self.in_train is None else int(self.in_train.sum())

    def __str__(self) -> str:
        if self.in_train is None:
            return f"{self.model} has no record of its train rows: not checked whether these rows are among them"
        total = len(self.in_train)
        if self.count:
            text = f"{self.count:,} of {total:,} rows are train rows of {self.model}: new rows get worse scores"
            text += "" if self.set_aside is None else f"; the rows that were set aside are in {self.set_aside}"
        else:
            text = f"none of {total:,} rows is a train row of {self.model}"
        return text + (f"; {self.same_ids:,} rows have the id of a train row, with another text" * bool(self.same_ids))


def remember_train_rows(folder: RunFolder, loaded: Mapping[str, LoadedData], start: str) -> None:
    """
    Writes the hashes of a run's train rows, joined with those of the model that the run starts from.

    Args:
        folder ([`RunFolder`]):
            Folder of the run.
        loaded (`Mapping[str, LoadedData]`):
            The rows of each trained task.
        start (`str`):
            Name of the encoder or of the model that the run starts from.
    """
    rows = TrainRows.of({task: data.splits["train"] for task, data in loaded.items()})
    earlier = train_rows_file(start)
    if earlier is not None:
        rows |= TrainRows.read(earlier)
    rows.write(folder.train_rows_file)


def train_rows_file(model: str) -> Path | None:
    """Returns the file with the hashes of a model's train rows; `None` if there is none."""
    file = _run_of(model).train_rows_file
    return file if file.is_file() else None


def copy_train_rows(models: Sequence[str | Path], folder: RunFolder) -> None:
    """Writes the hashes of the train rows of models to the folder of a model that is made of them."""
    remove_own(folder.train_rows_file)
    records = [TrainRows.read(file) for model in models if (file := train_rows_file(str(model))) is not None]
    if records:
        reduce(operator.or_, records).write(folder.train_rows_file)


def find_overlap(model: str, task: TaskSpec, rows: Dataset) -> Overlap:
    """
    Finds the train rows of a model among other rows.

    Args:
        model (`str`):
            Folder or Hub id of the model. The folder can also be the adapter, a checkpoint or the best model of a run.
        task ([`TaskSpec`]):
            The task.
        rows (`Dataset`):
            Rows with `sentence1`, for pairs `sentence2`, `id` and `line`.
    """
    file = train_rows_file(model)
    known = None if file is None else TrainRows.read(file)
    if known is None or task.name not in known.texts:
        return Overlap(model, None)
    in_train = np.isin(_hashes(map("\0".join, text_keys(rows))), known.texts[task.name])
    same_ids = 0
    if len(own_ids := _own_ids(rows)):
        same_ids = int((np.isin(_hashes(own_ids), known.ids[task.name]) & ~in_train).sum())
    return Overlap(model, in_train, same_ids, rows_set_aside(model, task))


def rows_set_aside(model: str, task: TaskSpec) -> Path | None:
    """Returns the file of the rows that a run set aside as dev split; `None` if there is none."""
    file = _run_of(model).split_file(task.name, "dev")
    return file if file.is_file() else None


def _run_of(model: str) -> RunFolder:
    """Returns the folder of a model, or of the run that a checkpoint, an adapter or a best model belongs to."""
    folder = RunFolder(Path(model).expanduser())
    if folder.train_rows_file.is_file():
        return folder
    path = folder.path.resolve()
    run = path.parents[1] if path.parent.name == folder.best.name else folder.containing_run
    return folder if run is None else RunFolder(run)


def _own_ids(rows: Dataset) -> Sequence[str]:
    """Returns the ids, or no ids if all of them are line numbers."""
    ids, lines = rows["id"][:], rows["line"][:]
    return ids if any(row_id != str(line) for row_id, line in zip(ids, lines, strict=True)) else []


def _hashes(texts: Iterable[str]) -> np.ndarray:
    digests = b"".join(blake2b(text.encode(errors="replace"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
