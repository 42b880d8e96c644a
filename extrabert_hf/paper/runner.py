"""
Runs the rows of the paper's Table 1. A finished run is not repeated.

`python -m extrabert_hf.paper.runner` is a worker process with one run, see [`run_in_workers`].
"""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from extrabert_hf.console import command_console
from extrabert_hf.errors import InputError
from extrabert_hf.folder_lock import hold_folder
from extrabert_hf.inference.predictor import Predictor
from extrabert_hf.machine import PRECISIONS, end_workers, start_worker
from extrabert_hf.manifest import check_own, record
from extrabert_hf.paper.rows import TABLE1, TABLE2, PaperRow, run_folder
from extrabert_hf.paper.table1 import TABLES, write_tables
from extrabert_hf.runs.folder import RunFolder
from extrabert_hf.runs.ownership import hold_run
from extrabert_hf.runs.scored import write_submission
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.command_line import parse_multitask_run, parse_run
from extrabert_hf.training.finetune import load_rows, run_finetuning
from extrabert_hf.training.run import Run
from extrabert_hf.training.setup import prepare_process

logger = logging.getLogger(__name__)

TEST_ROW = "sft_ma_cs"
"""The row of the paper's Table 2."""

OWN_FLAGS = (
    *("--config", "--seed", "--predict_test", "--resume_from_checkpoint", "--overwrite_output_dir", "--tasks"),
    *("--pooling", "--multiplicative_weight", "--feed_forward_depth", "--feed_forward_residual", "--train_tasks"),
    *("--pair_features", "--pair_encoding", "--similarity", "--similarity_bounds", "--aggregator", "--mixing"),
    *("--loss_weighting", "--dry_run"),
)
"""Flags that the table sets for each run. With other values a row would not match its name."""

PAUSE = 1.0
"""Seconds between two looks at the worker processes."""


@dataclass
class Table1Arguments:
    """The rows and seeds of the table. All other flags are passed to every run."""

    _argument_group_name: ClassVar[str] = "table"

    rows: list[str] = field(
        default_factory=lambda: list(TABLE1),
        metadata={"help": f"The rows to run: {', '.join(f'{name} ({row.label})' for name, row in TABLE1.items())}."},
    )
    seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Each row is run with each seed."})
    workers: int = field(default=1, metadata={"help": "Number of runs that are trained in parallel on this machine."})
    output_dir: str = field(
        default="runs/table1", metadata={"help": "Folder of the runs and of table1.md, .csv and .tex."}
    )
    test: bool = field(
        default=False,
        metadata={"help": f"Also predict the test splits with {TEST_ROW}, as in the paper's Table 2, into test/."},
    )

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"`workers` must be 1 or more, got {self.workers}.")
        for name in self.rows:
            if name not in TABLE1:
                raise InputError(f"each of `rows` must be one of {', '.join(map(repr, TABLE1))}, got {name!r}.")
        for name, values in (("rows", self.rows), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise InputError(f"`{name}` must differ from each other, got {values}.")


def run_table1(arguments: Table1Arguments, flags: Sequence[str]) -> str:
    """
    Runs the rows that are not finished, then writes the tables.

    A run that was killed resumes from its last checkpoint.

    Args:
        arguments ([`Table1Arguments`]):
            The rows and seeds.
        flags (`Sequence[str]`):
            Flags of every run; they override the row's YAML.

    Returns:
        `str`: the tables in Markdown; empty on all processes but the first.

    Raises:
        [`InputError`]: if a flag is not valid, or the folder has a run with other flags.
    """
    with hold_folder("output_dir", Path(arguments.output_dir)):
        return _run_table1(arguments, flags)


def _run_table1(arguments: Table1Arguments, flags: Sequence[str]) -> str:
    root = Path(arguments.output_dir)
    planned = [
        plan for seed in arguments.seeds for name in arguments.rows for plan in plans_of_row(root, TABLE1[name], seed)
    ]
    test_plans = plans_of_row(root, TABLE1[TEST_ROW], arguments.seeds[0]) if arguments.test else []
    check_plans(planned, test_plans, flags)
    noted = noted_flags(root)
    check_tables(root, own=bool(noted))
    for plan in planned:  # raises for a wrong flag before the first run starts
        training = plan.parse(flags).training
    training = prepare_process(training)  # decides the precision of all runs
    flags = with_precision(flags, noted, training.bf16)
    check_same_flags(flags, noted)
    if arguments.workers > 1 and training.world_size > 1:
        raise InputError(f"`workers` must be 1 with several processes a run, got {arguments.workers}.")
    unfinished = []
    for plan in planned:
        if plan.run.is_finished:
            logger.info("%s: finished, in %s", plan.title, plan.folder)
        else:
            unfinished.append(plan)
    if arguments.workers > 1:
        run_in_workers(root, unfinished, flags, arguments.workers)
    else:
        for number, plan in enumerate(unfinished, start=1):
            logger.info("\n%s of %s: %s", number, len(unfinished), plan.title)
            run_plan(plan, flags)
    if training.process_index != 0:
        return ""
    markdown = write_tables(root, settings=describe_runs(root))
    logger.info("\n%s are in %s", ", ".join(TABLES), root)
    for plan in test_plans:
        predict_test(plan, plan.parse(flags), root / "test")
    return markdown


@dataclass(frozen=True)
class PlannedRun:
    """
    One run of a row.

    Args:
        row ([`PaperRow`]):
            The row.
        seed (`int`):
            Seed of the run.
        task (`str`, *optional*):
            The task of a separate run; `None` for a multitask run.
        folder (`Path`):
            Folder of the run.
    """

    row: PaperRow
    seed: int
    task: str | None
    folder: Path

    @property
    def title(self) -> str:
        """What the run is, for messages."""
        return f"{self.row.label}, {self.task or 'all tasks'}, seed {self.seed}"

    @property
    def run(self) -> RunFolder:
        """The paths of the files in the folder."""
        return RunFolder(self.folder)

    def parse(self, flags: Sequence[str]) -> Run:
        """Parses the row's YAML and the flags."""
        own = ["--config", f"table1/{self.row.name}", "--seed", str(self.seed)]
        argv = [*own, "--output_dir", str(self.folder), "--predict_test", "false", *flags]
        return parse_multitask_run(argv) if self.task is None else parse_run(self.task, argv)


def run_plan(plan: PlannedRun, flags: Sequence[str]) -> None:
    """Trains one run, from its last checkpoint if it has one."""
    found = plan.run.last_checkpoint is not None
    start = ["--resume_from_checkpoint", "last"] if found else ["--overwrite_output_dir"]
    with hold_run("output_dir", plan.folder):
        run = plan.parse([*flags, *start])
        if run.training.process_index == 0:
            plan.run.write_flags(flags)
        run_finetuning(run)
        if run.training.process_index == 0:
            plan.run.remove_checkpoints()


def run_in_workers(root: Path, plans: Sequence[PlannedRun], flags: Sequence[str], workers: int) -> None:
    """
    Trains each run in a process of its own, several at a time. A process writes only errors and warnings.

    Raises:
        [`InputError`]: if a run fails. No other run is started, and the runs that have started are finished first.
    """
    waiting, running, failed = list(plans), {}, []
    workers = min(workers, len(plans))  # fewer runs get more cores each
    try:
        while running or (waiting and not failed):
            for slot in range(workers):
                if slot not in running and waiting and not failed:
                    plan = waiting.pop(0)
                    words = [str(root), plan.row.name, str(plan.seed), plan.task or "", *flags]
                    running[slot] = plan, start_worker(["extrabert_hf.paper.runner", *words], slot, workers)
            time.sleep(PAUSE)
            for slot, (plan, process) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    failed += [plan] if process.returncode else []
                    state = "failed" if process.returncode else "finished"
                    logger.info("%s: %s, in %s", plan.title, state, plan.folder)
    finally:
        end_workers([process for _, process in running.values()])
    if failed:
        names = "; ".join(plan.title for plan in failed)
        raise InputError(f"{len(failed)} of {len(plans)} runs failed ({names}): see the messages above.")


def plans_of_row(root: Path, row: PaperRow, seed: int) -> list[PlannedRun]:
    """Returns the run of a multitask row, or the runs of the three tasks of a row with separate training."""
    tasks = PAPER_TASKS if row.training == "separate" else [None]
    return [PlannedRun(row, seed, task, run_folder(root, row, seed, task or "")) for task in tasks]


def check_plans(planned: Sequence[PlannedRun], test_plans: Sequence[PlannedRun], flags: Sequence[str]) -> None:
    """Raises [`InputError`] for a flag that the table sets, or if `test` needs a model that is not trained."""
    for word in flags:
        if word.split("=")[0] in OWN_FLAGS:
            raise InputError(
                f"{word.split('=')[0]} is not for a table: each run has its row's YAML and one of `seeds`."
            )
    for plan in test_plans:
        if not plan.run.is_finished and plan not in planned:
            raise InputError(f"`test` needs the row {TEST_ROW}, which is not finished in {plan.folder}.")


def check_tables(root: Path, *, own: bool) -> None:
    """Raises [`InputError`] for a file of the user with a table's name; with `own`, the tables are of this package."""
    names = [*TABLES, *(f"test/{task}-test.csv" for task in PAPER_TASKS)]
    if own:
        record(root, [name for name in names if (root / name).is_file()])
    for name in names:
        check_own("output_dir", root / name)


def noted_flags(root: Path) -> dict[Path, list[str]]:
    """Returns, by folder, the flags of each run that is finished or can be resumed."""
    runs = [RunFolder(path) for path in folders_of_runs(root)]
    return {run.path: run.read_flags() for run in runs if run.flags_file.is_file() and run.has_results}


def folders_of_runs(root: Path) -> list[Path]:
    """Returns the existing folders of all runs of the table: `ROW/seed-SEED`, or `ROW/seed-SEED/TASK`."""
    return sorted(
        path for name in TABLE1 for pattern in ("seed-*", "seed-*/*") for path in (root / name).glob(pattern)
    )


def with_precision(flags: Sequence[str], noted: dict[Path, list[str]], bf16: bool) -> list[str]:
    """Adds the precision of earlier runs with the same flags, or else `bf16`: all rows train in one precision."""
    if any(word.split("=")[0] == "--bf16" for word in flags):
        return list(flags)
    for before in noted.values():
        if before[:-2] == list(flags) and before[-2:-1] == ["--bf16"]:
            return before
    return [*flags, "--bf16", str(bf16).lower()]


def check_same_flags(flags: Sequence[str], noted: dict[Path, list[str]]) -> None:
    """Raises [`InputError`] for earlier runs with other flags: they must not be mixed into one table."""
    for folder, before in noted.items():
        if before != list(flags):
            raise InputError(
                f"{folder} was run with {' '.join(before)}, now {' '.join(flags)}: name another --output_dir, or "
                "remove that folder."
            )


def predict_test(plan: PlannedRun, run: Run, folder: Path) -> None:
    """Writes a file of the paper's Table 2: the test split of a task, predicted by the model of [`TEST_ROW`]."""
    predictor = Predictor.load(str(plan.folder), progress=True)
    task = predictor.task
    splits = load_rows(run)[task.name].splits
    if "test" not in splits:
        raise InputError(f"`test` needs a test split of {task.name}, but the data has none.")
    predictions = predictor.predict(splits["test"])
    path = folder / f"{task.name}-test.csv"
    write_submission(path, task, predictions.ids, predictions.values)
    score = ""
    if predictions.labels is not None:
        score = f", {task.metric} {predictions.score().metrics[task.metric]:.3f}"
    logger.info("%s: %s rows%s; the paper has %.3f", path, f"{len(predictions.ids):,}", score, TABLE2[task.name])


def describe_runs(root: Path) -> str:
    """Returns one line with the settings of all finished runs, from the runs' metrics."""
    runs = [run.read_metrics() for run in map(RunFolder, folders_of_runs(root)) if run.is_finished]
    first = runs[0]
    tasks = {name: task for run in runs for name, task in run.tasks.items()}
    model = next(iter(tasks.values())).model.model_name_or_path
    data = {"the Hub's" if task.data.data is None else Path(task.data.data).name for task in tasks.values()}
    rows = (f"{name} {task.rows['train']:,} / {task.rows['dev']:,}" for name, task in tasks.items())
    steps = sorted({run.training.steps for run in runs})
    rates = sorted({run.learning_rate for run in runs})
    batches = sorted({run.training.global_batch_size for run in runs})
    picked = "the best on dev" if first.is_selected_on_dev else "the last step, not selected on dev"
    parts = [
        model,
        f"data {', '.join(sorted(data))}, train / dev rows {', '.join(rows)}",
        f"{_span(steps)} optimizer steps of {_span(batches)} rows of each task",
        f"learning rate {_span(rates)}, heads {first.head_learning_rate:g}",
        f"{', '.join(sorted({PRECISIONS[run.training.precision] for run in runs}))}, {picked}",
        f"seeds {', '.join(str(seed) for seed in sorted({run.seed for run in runs}))}",
        f"{first.processor}, torch {first.versions['torch']}",
    ]
    return f"{'; '.join(parts)}."


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"


def main(words: Sequence[str]) -> None:
    """Trains the run of a worker process: folder of the table, row, seed and task, then the flags."""
    root, row, seed, task, *flags = words
    (plan,) = (plan for plan in plans_of_row(Path(root), TABLE1[row], int(seed)) if plan.task == (task or None))
    run_plan(plan, [*flags, "--disable_tqdm", "true"])


if __name__ == "__main__":
    with command_console(is_child=True):
        main(sys.argv[1:])
