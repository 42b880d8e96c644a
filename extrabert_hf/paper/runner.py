"""Runs the rows of the paper's Table 1, each once."""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from extrabert_hf.errors import InputError
from extrabert_hf.inference.predictor import score_split
from extrabert_hf.machine import PRECISIONS
from extrabert_hf.paper.results import run_folder
from extrabert_hf.paper.rows import TABLE1, TABLE2, PaperRow
from extrabert_hf.paper.table1 import write_tables
from extrabert_hf.pretrained.loading import load_model
from extrabert_hf.runs.folder import write_submission
from extrabert_hf.tasks import PAPER_TASKS
from extrabert_hf.training.checkpoints import last_checkpoint
from extrabert_hf.training.command_line import Run, parse_multitask_run, parse_run
from extrabert_hf.training.finetune import finetune, load_rows
from extrabert_hf.training.setup import prepare_process

logger = logging.getLogger(__name__)

TEST_ROW = "sft_ma_cs"
"""The row of the paper's Table 2."""

FLAGS_FILE = "flags.json"
"""In a run's folder, what the run was told beside its YAML."""

OWN_FLAGS = (
    *("--config", "--seed", "--predict_test", "--resume_from_checkpoint", "--overwrite_output_dir", "--tasks"),
    *("--pooling", "--multiplicative_weight", "--feed_forward_depth", "--feed_forward_residual", "--train_tasks"),
    *("--pair_features", "--pair_encoding", "--similarity", "--similarity_bounds", "--aggregator", "--mixing"),
)
"""What each run of a table is told by the table: with others a row would not be what its name says."""


@dataclass
class Table1Arguments:
    """Which rows; every other flag goes to each of their runs."""

    _argument_group_name: ClassVar[str] = "table"

    rows: list[str] = field(
        default_factory=lambda: list(TABLE1),
        metadata={"help": f"The rows to run: {', '.join(f'{name} ({row.label})' for name, row in TABLE1.items())}."},
    )
    seeds: list[int] = field(default_factory=lambda: [42], metadata={"help": "Each row is run with each of them."})
    output_dir: str = field(
        default="runs/table1", metadata={"help": "Folder of the runs and of table1.md, .csv and .tex."}
    )
    test: bool = field(
        default=False,
        metadata={"help": f"Also predict the test splits with {TEST_ROW}, as in the paper's Table 2, in test/."},
    )

    def __post_init__(self) -> None:
        for name in self.rows:
            if name not in TABLE1:
                raise InputError(f"`rows` must be of {', '.join(map(repr, TABLE1))}, got {name!r}.")
        for name, values in (("rows", self.rows), ("seeds", self.seeds)):
            if len(set(values)) != len(values):
                raise InputError(f"`{name}` must differ from each other, got {values}.")


def run_table1(arguments: Table1Arguments, flags: Sequence[str], configs: Path) -> str:
    """
    Runs what is not finished yet, then writes the tables.

    A run that was killed goes on from its last checkpoint.

    Args:
        arguments ([`Table1Arguments`]):
            Which rows and seeds.
        flags (`Sequence[str]`):
            For every run, over what the row's YAML says.
        configs (`Path`):
            Folder of the rows' YAMLs.

    Returns:
        `str`: the tables, in Markdown; of several processes the first gets them, the others nothing.

    Raises:
        [`InputError`]: if a flag is not valid, or there is a run that was made with other flags.
    """
    root = Path(arguments.output_dir)
    planned = [
        plan for seed in arguments.seeds for name in arguments.rows for plan in plans_of_row(root, TABLE1[name], seed)
    ]
    test_plans = plans_of_row(root, TABLE1[TEST_ROW], arguments.seeds[0]) if arguments.test else []
    check_plans(planned, test_plans, flags)
    noted = noted_flags(root)
    for plan in planned:  # what can't be used is said before the first run, not after hours
        training = plan.parse(configs, flags).training
    training = prepare_process(training)  # decides the precision of all runs
    flags = with_precision(flags, noted, training.bf16)
    check_same_flags(flags, noted)
    for number, plan in enumerate(planned, start=1):
        title = f"{number} of {len(planned)}: {plan.row.label}, {plan.task or 'all tasks'}, seed {plan.seed}"
        if plan.is_finished:
            logger.info("%s: finished, in %s", title, plan.folder)
            continue
        logger.info("\n%s", title)
        found = last_checkpoint(plan.folder) is not None
        start = ["--resume_from_checkpoint", "last"] if found else ["--overwrite_output_dir"]
        if training.process_index == 0:
            plan.note_flags(flags)
        finetune(plan.parse(configs, [*flags, *start]))
        if training.process_index == 0:
            for checkpoint in plan.folder.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
    if training.process_index != 0:
        return ""
    markdown = write_tables(root, settings=describe_runs(root))
    for plan in test_plans:
        predict_test(plan, plan.parse(configs, flags), root / "test")
    return markdown


@dataclass(frozen=True)
class PlannedRun:
    """
    One run of a row.

    Args:
        row ([`PaperRow`]):
            The row.
        seed (`int`):
            The run's.
        task (`str`, *optional*):
            The task of a separate run.
        folder (`Path`):
            Where it is left.
    """

    row: PaperRow
    seed: int
    task: str | None
    folder: Path

    @property
    def is_finished(self) -> bool:
        """Whether its scores are there."""
        return (self.folder / "metrics.json").is_file()

    def parse(self, configs: Path, flags: Sequence[str]) -> Run:
        """Reads the row's YAML and the flags."""
        own = ["--config", str(configs / f"{self.row.name}.yaml"), "--seed", str(self.seed)]
        argv = [*own, "--output_dir", str(self.folder), "--predict_test", "false", *flags]
        return parse_multitask_run(argv) if self.task is None else parse_run(self.task, argv)

    def note_flags(self, flags: Sequence[str]) -> None:
        """Writes down what the run is told beside its YAML."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / FLAGS_FILE).write_text(json.dumps(list(flags)) + "\n", encoding="utf-8")


def plans_of_row(root: Path, row: PaperRow, seed: int) -> list[PlannedRun]:
    """Gives the run of a multitask row, or those of the three tasks of a separate one."""
    tasks = PAPER_TASKS if row.training == "separate" else [None]
    return [PlannedRun(row, seed, task, run_folder(root, row, seed, task or "")) for task in tasks]


def check_plans(planned: Sequence[PlannedRun], test_plans: Sequence[PlannedRun], flags: Sequence[str]) -> None:
    """Refuses flags that say what the table itself says, and a test of models that there will not be."""
    for word in flags:
        if word.split("=")[0] in OWN_FLAGS:
            raise InputError(
                f"{word.split('=')[0]} is not for a table: each run has its row's YAML and one of `seeds`."
            )
    for plan in test_plans:
        if not plan.is_finished and plan not in planned:
            raise InputError(f"`test` needs the row {TEST_ROW}, which is not finished in {plan.folder}.")


def noted_flags(root: Path) -> dict[Path, list[str]]:
    """Reads what each run that got as far as a checkpoint was told, by its folder."""
    files = [path for path in root.glob(f"*/seed-*/**/{FLAGS_FILE}") if any_results(path.parent)]
    return {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in files}


def any_results(folder: Path) -> bool:
    """Whether a run left something that another one would be mixed with."""
    return (folder / "metrics.json").is_file() or last_checkpoint(folder) is not None


def with_precision(flags: Sequence[str], noted: dict[Path, list[str]], bf16: bool) -> list[str]:
    """Adds the precision of earlier runs with the same flags, else `bf16`: all rows are trained in one precision."""
    if any(word.split("=")[0] == "--bf16" for word in flags):
        return list(flags)
    for before in noted.values():
        if before[:-2] == list(flags) and before[-2:-1] == ["--bf16"]:
            return before
    return [*flags, "--bf16", str(bf16).lower()]


def check_same_flags(flags: Sequence[str], noted: dict[Path, list[str]]) -> None:
    """Refuses to mix runs of different flags into one table."""
    for folder, before in noted.items():
        if before != list(flags):
            raise InputError(
                f"{folder} was run with {' '.join(before)}, now {' '.join(flags)}: name another --output_dir, or take "
                "that folder away."
            )


def predict_test(plan: PlannedRun, run: Run, folder: Path) -> None:
    """Writes a prediction file of the paper's Table 2: a task's test split by its model of [`TEST_ROW`]."""
    model, tokenizer, task = load_model(str(plan.folder))
    splits = load_rows(run)[task.name].splits
    if "test" not in splits:
        raise InputError(f"`test` needs a test split of {task.name}, the data has none.")
    rows = splits["test"]
    predictions, report = score_split([(model, tokenizer)], task, rows)
    path = folder / f"{task.name}-test.csv"
    write_submission(path, task, rows["id"], predictions)
    score = "" if report is None else f", {task.metric} {report['metrics'][task.metric]:.3f}"
    logger.info("%s: %s rows%s; the paper has %.3f", path, f"{len(rows):,}", score, TABLE2[task.name])


def describe_runs(root: Path) -> str:
    """Says in one line how all finished runs were made, from their own files."""
    files = sorted(path for name in TABLE1 for path in (root / name).glob("seed-*/**/metrics.json"))
    metrics = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    arguments, machine = metrics[0]["arguments"], metrics[0]["machine"]
    tasks = {name: task for entry in metrics for name, task in entry["tasks"].items()}
    model = next(iter(tasks.values()))["model"]["model_name_or_path"]
    data = {
        "the Hub's" if task["data"]["data"] is None else Path(task["data"]["data"]).name for task in tasks.values()
    }
    rows = (f"{name} {task['rows']['train']:,} / {task['rows']['dev']:,}" for name, task in tasks.items())
    steps = sorted({entry["training"]["steps"] for entry in metrics})
    rates = sorted({entry["arguments"]["learning_rate"] for entry in metrics})
    batches = sorted({entry["training"]["global_batch_size"] for entry in metrics})
    picked = "the best on dev" if arguments["load_best_model_at_end"] else "the last step, not picked on dev"
    said = [
        model,
        f"data {', '.join(sorted(data))}, train / dev rows {', '.join(rows)}",
        f"{_span(steps)} optimizer steps of {_span(batches)} rows of each task",
        f"learning rate {_span(rates)}, heads {arguments['head_learning_rate']:g}",
        f"{', '.join(sorted({PRECISIONS[entry['training']['precision']] for entry in metrics}))}, {picked}",
        f"seeds {', '.join(str(seed) for seed in sorted({entry['arguments']['seed'] for entry in metrics}))}",
        f"{machine.get('accelerator', machine['cpu'])}, torch {machine['torch']}",
    ]
    return f"{'; '.join(said)}."


def _span(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
