"""
Measures the coverage and the size of prediction sets and intervals on held-out halves of labelled rows.

    python -m benchmarks.conformal_coverage runs/sst runs/sts --data path/to/cs224n/data

Each draw splits the rows at random: one half fits the quantiles, the other half is scored. Prints a Markdown table of
the means over the draws, with the middle 95 % of the draws in brackets.
"""

import argparse

import numpy as np
import torch

from extrabert_hf.data.loading import load_split
from extrabert_hf.inference.conformal import fit_intervals, fit_sets
from extrabert_hf.inference.predictor import Predictions, Predictor
from extrabert_hf.models.conformal_extrabert import (
    CLASS_METHODS,
    SCORE_METHODS,
    prediction_intervals,
    prediction_sets,
)
from extrabert_hf.runs.train_rows import find_overlap

HEAD = """\
| rows | coverage | method | coverage measured | classes a set, or width | empty sets | lowest coverage of a group |
| --- | --- | --- | --- | --- | --- | --- |"""


def predict_rows(run: str, data: str) -> Predictions:
    """Predicts the dev rows that a run was not trained on."""
    predictor = Predictor.load(run)
    rows = load_split(predictor.task, data, "dev").splits["dev"]
    overlap = find_overlap(run, predictor.task, rows)
    return predictor.predict(rows.select(np.flatnonzero(~overlap.in_train)) if overlap.count else rows)


def measure(predictions: Predictions, coverage: float, method: str, draws: int) -> str:
    """
    Returns a row of the table.

    A group is a class, or a third of the rows by predicted score: the lowest coverage is that of the group whose mean
    over the draws is the lowest.
    """
    task, logits = predictions.task, torch.as_tensor(predictions.logits)
    labels = predictions.labels.astype(float if task.is_regression else int)
    thirds = np.quantile(logits[:, 0], [1 / 3, 2 / 3])
    groups = np.digitize(logits[:, 0], thirds) if task.is_regression else labels
    found = []
    for seed in range(draws):
        fit, new = np.array_split(np.random.default_rng(seed).permutation(len(labels)), 2)
        if task.is_regression:
            scores = logits[fit, 0].numpy()
            fitted = fit_intervals(scores, labels[fit], coverage, task.label_range, method, seed=seed)
            low, high = prediction_intervals(logits[new, 0], fitted, task.label_range).numpy().T
            hits, sizes = (low <= labels[new]) & (labels[new] <= high), high - low
        else:
            fitted = fit_sets(logits[fit].numpy(), labels[fit], coverage, method)
            sets = prediction_sets(logits[new], fitted).numpy()
            hits, sizes = sets[np.arange(len(new)), labels[new]], sets.sum(axis=1)
        by_group = [hits[groups[new] == group].mean() for group in np.unique(groups)]
        found.append([hits.mean(), sizes.mean(), (sizes == 0).mean(), *by_group])
    table = np.array(found)
    mean, (low, high) = table.mean(axis=0), np.quantile(table, [0.025, 0.975], axis=0)
    measured = f"{_share(mean[0])} [{_share(low[0])}, {_share(high[0])}]"
    size = f"{mean[1]:.2f} [{low[1]:.2f}, {high[1]:.2f}]"
    empty = "-" if task.is_regression else _share(mean[2])
    rows = f"{task.name}, {len(labels):,}"
    return f"| {rows} | {coverage:g} | `{method}` | {measured} | {size} | {empty} | {_share(mean[3:].min())} |"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="Folders of finished runs.")
    parser.add_argument("--data", required=True, help="Data set with a dev split.")
    parser.add_argument("--coverages", nargs="+", type=float, default=[0.9, 0.8])
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    print(HEAD)  # noqa: T201 - the output of the command
    for run in arguments.runs:
        predictions = predict_rows(run, arguments.data)
        for coverage in arguments.coverages:
            for method in SCORE_METHODS if predictions.task.is_regression else CLASS_METHODS:
                print(measure(predictions, coverage, method, arguments.draws), flush=True)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    main()
