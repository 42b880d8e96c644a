"""
Measures `extrabert audit --find_label_errors` on rows with wrong labels that this script plants.

    python -m benchmarks.label_errors sst path/to/cs224n/data dev runs/planted --model runs/sst
    python -m benchmarks.label_errors sst sample train runs/planted --folds 5

The planted rows are drawn with `--seed`. A planted class is any other class; a planted score is at least two fifths of
the range away. Other words go to the command. Rows whose label was wrong before count as false alarms, so the true
precision is higher.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from datasets import Dataset

from extrabert_hf.cli.audit import main as audit
from extrabert_hf.data.loading import load_split
from extrabert_hf.evaluation.bootstrap import wilson_interval
from extrabert_hf.files import atomic_path
from extrabert_hf.tasks import PAPER_TASKS, TaskSpec

LEAST_DISTANCE = 0.4
"""Least distance of a planted score from the score of the row, as a share of the range."""


def plant(task: TaskSpec, labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Replaces a share of the labels by wrong ones.

    Args:
        task ([`TaskSpec`]):
            The task of the labels.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores.
        share (`float`):
            Share of the rows that get a wrong label, 0 to 1.
        seed (`int`):
            Seed of the draw.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: the labels, and whether each is wrong, both of shape `(N,)`.
    """
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(labels), round(share * len(labels)), replace=False)
    planted, is_wrong = labels.copy(), np.zeros(len(labels), dtype=bool)
    is_wrong[rows] = True
    if not task.is_regression:
        classes = len(task.class_names)
        planted[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
        return planted, is_wrong
    low, high = task.label_range
    for row in rows:
        while abs(planted[row] - labels[row]) < LEAST_DISTANCE * (high - low):
            planted[row] = round(generator.uniform(low, high), 1)
    return planted, is_wrong


def write_rows(path: Path, task: TaskSpec, rows: Dataset, labels: np.ndarray) -> None:
    """Writes rows with other labels as csv; the row of index `i` is in line `i + 2`."""
    columns = [[" ".join(text.split()) for text in rows[name][:]] for name in task.sentence_columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*task.sentence_columns, "label"])
        writer.writerows(zip(*columns, labels.tolist(), strict=True))


def share_text(count: int, rows: int) -> str:
    """Returns a share with its 95 % interval."""
    if not rows:
        return "0 of 0"
    low, high = wilson_interval(count, rows)
    return f"{count} of {rows}, {count / rows:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*PAPER_TASKS])
    parser.add_argument("data", help="As --data of extrabert audit.")
    parser.add_argument("split", choices=["train", "dev"])
    parser.add_argument("folder", type=Path, help="Folder for the planted rows and for what the command writes.")
    parser.add_argument("--share", type=float, default=0.05, help="Share of the rows that get a wrong label.")
    parser.add_argument("--rows", type=int, help="Number of rows, drawn with --seed. The default is all rows.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    arguments, words = parser.parse_known_args()
    task = PAPER_TASKS[arguments.task]
    rows = load_split(task, arguments.data, arguments.split).splits[arguments.split]
    if arguments.rows is not None:
        rows = rows.shuffle(seed=arguments.seed).select(range(arguments.rows))
    labels, is_wrong = plant(task, np.asarray(rows["label"][:]), arguments.share, arguments.seed)
    planted, output = arguments.folder / f"{task.name}.csv", arguments.folder / f"{task.name}-errors.csv"
    write_rows(planted, task, rows, labels)
    if "--model" not in words:
        words += ["--like", task.name]
    audit(["--data", str(planted), "--find_label_errors", "--output", str(output), *words])
    with output.open(encoding="utf-8", newline="") as file:
        hits = [bool(is_wrong[int(row["line"]) - 2]) for row in csv.DictReader(file)]
    wrong, first = int(is_wrong.sum()), hits[: int(is_wrong.sum())]
    lines = [
        f"precision: {share_text(sum(hits), len(hits))}",
        f"recall: {share_text(sum(hits), wrong)}",
        f"precision of the first {len(first)} rows: {share_text(sum(first), len(first))}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
