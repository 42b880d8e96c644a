"""The rows of the paper's Table 1: the training of each row, the scores in the paper, and the finished runs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from extrabert_hf.errors import InputError
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.scored import TaskResults, read_run
from extrabert_hf.tasks import PAPER_TASKS


@dataclass(frozen=True)
class PaperRow:
    """
    One row of Table 1 of ExTraBERT.

    Args:
        name (`str`):
            Short name, used for files and folders.
        label (`str`):
            Name in the paper.
        training (`str`):
            `"multitask"` for one model of all tasks, `"separate"` for a model of each task.
        tasks (`tuple[str, ...]`):
            The trained tasks, keys of `PAPER_TASKS`. All three tasks are scored.
        scores (`dict[str, float]`):
            The paper's dev scores by task: accuracy, accuracy, Pearson r.
        against (`str`, *optional*):
            Name of the row from which this row differs in one setting; `None` for the first row.
    """

    name: str
    label: str
    training: Literal["multitask", "separate"]
    tasks: tuple[str, ...]
    scores: dict[str, float]
    against: str | None


def _row(
    name: str,
    label: str,
    training: Literal["multitask", "separate"],
    sst: float,
    para: float,
    sts: float,
    against: str | None,
    tasks: tuple[str, ...] = ("sst", "para", "sts"),
) -> PaperRow:
    return PaperRow(name, label, training, tasks, {"sst": sst, "para": para, "sts": sts}, against)


TABLE1: dict[str, PaperRow] = {
    row.name: row
    for row in (
        _row("baseline", "Baseline", "multitask", 0.309, 0.380, -0.103, against=None, tasks=("sst",)),
        _row("rr", "RR", "multitask", 0.482, 0.686, 0.380, against="baseline"),
        _row("rr_cs", "RR + CS", "multitask", 0.484, 0.686, 0.625, against="rr"),
        _row("rr_cs_gs", "RR + CS + GS", "multitask", 0.491, 0.742, 0.687, against="rr_cs"),
        _row("sft", "SFT", "separate", 0.522, 0.783, 0.385, against="rr"),  # the heads of "rr", trained separately
        _row("sft_cs", "SFT + CS", "separate", 0.514, 0.785, 0.641, against="sft"),
        _row("sft_dpa_cs", "SFT + DPA + CS", "separate", 0.519, 0.860, 0.851, against="sft_cs"),
        _row("sft_ma_cs", "SFT + MA + CS", "separate", 0.526, 0.880, 0.873, against="sft_dpa_cs"),
    )
}
"""Table 1 of the paper, in its order: RR round robin, CS cosine similarity, GS gradient surgery, SFT separate
fine-tuning, DPA dot-product attention, MA multiplicative attention."""

TABLE2: dict[str, float] = {"sst": 0.532, "para": 0.880, "sts": 0.865}
"""Table 2 of the paper: test scores of SFT + MA + CS."""


@dataclass(frozen=True, eq=False)
class RowResults:
    """
    The finished runs of a row of the table.

    Args:
        row ([`PaperRow`]):
            The row.
        tasks (`dict[str, TaskResults]`):
            Results of each task that has a finished run.
        unfinished (`tuple[str, ...]`):
            Folders of the runs that are missing or not finished, relative to the root.
    """

    row: PaperRow
    tasks: dict[str, TaskResults]
    unfinished: tuple[str, ...]


def run_folder(root: Path, row: PaperRow, seed: int, task: str) -> Path:
    """Returns the folder of the run that scores `task`: one per seed and, for separate training, per task."""
    folder = root / row.name / f"seed-{seed}"
    return folder / task if row.training == "separate" else folder


def row_results(root: str | Path, row: PaperRow) -> RowResults:
    """
    Reads all finished runs of a row, see [`RunFolder.is_finished`].

    Args:
        root (`str` or `Path`):
            Folder of all runs, with the layout of [`run_folder`].
        row ([`PaperRow`]):
            The row.

    Raises:
        [`InputError`]: if a file of a finished run is broken, or two runs have scored different rows.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"`root` must be a folder of runs, got {str(root)!r}: no such folder.")
    seeds = _seeds(root / row.name)
    tasks, unfinished = {}, []
    for name, task in PAPER_TASKS.items():
        folders = {seed: RunFolder(run_folder(root, row, seed, name)) for seed in seeds}
        finished = {seed: folder for seed, folder in folders.items() if folder.is_finished}
        if finished:
            tasks[name] = TaskResults(task, tuple(read_run(folder, task, seed) for seed, folder in finished.items()))
        unfinished += [folders[seed].path.relative_to(root).as_posix() for seed in seeds if seed not in finished]
    return RowResults(row, tasks, tuple(dict.fromkeys(unfinished)))  # the tasks of a multitask run share a folder


def _seeds(folder: Path) -> list[int]:
    seeds = []
    for path in folder.glob("seed-*"):
        number = re.fullmatch("seed-(0|[1-9][0-9]*)", path.name)
        if number is None:
            raise InputError(f"A run's folder must be named seed-<number>, got {str(path)!r}.")
        seeds.append(int(number[1]))
    return sorted(seeds)
