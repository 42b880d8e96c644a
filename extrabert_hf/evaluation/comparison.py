"""Settings that answered the same rows, each with each: how much they differ, and whether that is more than chance."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.formulas import pearson
from extrabert_hf.evaluation.paired import (
    PairedDifference,
    holm_adjusted,
    mcnemar_test,
    paired_bootstrap,
    williams_test,
)
from extrabert_hf.evaluation.scored_runs import TaskResults, check_same_rows

SIGNIFICANT = 0.05


def compare(a: TaskResults, b: TaskResults) -> PairedDifference:
    """Bootstraps the difference of two settings' mean scores over the rows that both have answered."""
    check_same_rows(a.runs[0], b.runs[0])
    return paired_bootstrap(a.formula, a.predictions, b.predictions, a.labels)


def second_p(a: TaskResults, b: TaskResults) -> float | None:
    """Gives the p-value of McNemar's test for accuracies, of Williams' for correlations; `None` for several runs."""
    if len(a.runs) > 1 or len(b.runs) > 1:
        return None
    labels, (answers_a,), (answers_b,) = a.labels, a.predictions, b.predictions
    if a.task.is_regression:
        pairs = ((answers_a, labels), (answers_b, labels), (answers_a, answers_b))
        return williams_test(*(float(pearson(*pair)) for pair in pairs), rows=len(labels))[1]
    return mcnemar_test(answers_a == labels, answers_b == labels)


def verdict(difference: float, holm_p: float) -> str:
    """Says `"up"` or `"down"` of a difference whose corrected p-value is below 5 %, else `"level"`."""
    if holm_p >= SIGNIFICANT:
        return "level"
    return "up" if difference > 0 else "down"


def compare_all(sides: Mapping[str, Mapping[str, TaskResults]], against: str | None = None) -> list[dict[str, Any]]:
    """
    Compares each two settings on each task that both of them have, with Holm's correction over all comparisons.

    Args:
        sides (`Mapping[str, Mapping[str, TaskResults]]`):
            By the name of a setting its results by task; two or more settings.
        against (`str`, *optional*):
            The one setting that the others are compared with, in place of each with each.

    Returns:
        `list[dict]`: a line a comparison, with `task`, `metric`, `a`, `b`, `score_a`, `score_b`, `difference` (b minus
        a), `low`, `high`, `runs_a`, `runs_b`, `bootstrap_p`, `second_p`, `holm_p` (of `bootstrap_p`) and `verdict`.

    Raises:
        [`InputError`]: if settings have answered other rows, or have no task in common.
    """
    if len(sides) < 2:
        raise InputError(f"`sides` must be two settings or more, got {len(sides)}.")
    if against is not None and against not in sides:
        raise InputError(f"`against` must be one of {', '.join(map(repr, sides))}, got {against!r}.")
    pairs = combinations(sides, 2) if against is None else [(against, name) for name in sides if name != against]
    tasks_of_pairs = [(task, a, b) for a, b in pairs for task in sides[a] if task in sides[b]]
    if not tasks_of_pairs:
        told = "; ".join(f"{name}: {', '.join(results)}" for name, results in sides.items())
        raise InputError(f"`sides` must have a task in common, got {told}.")
    lines = [_line(task, a, b, sides[a][task], sides[b][task]) for task, a, b in tasks_of_pairs]
    for line, p_value in zip(lines, holm_adjusted([line["bootstrap_p"] for line in lines]).tolist(), strict=True):
        line |= {"holm_p": p_value, "verdict": verdict(line["difference"], p_value)}
    return lines


def _line(task: str, name_a: str, name_b: str, a: TaskResults, b: TaskResults) -> dict[str, Any]:
    found = compare(a, b)
    return {
        **{"task": task, "metric": a.task.metric, "a": name_a, "b": name_b, "score_a": a.mean, "score_b": b.mean},
        **{"difference": found.difference, "low": found.low, "high": found.high},
        **{"runs_a": found.runs_a, "runs_b": found.runs_b, "bootstrap_p": found.p_value, "second_p": second_p(a, b)},
    }
