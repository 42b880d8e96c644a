"""What a multitask run has noted of how far its tasks pull against each other."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFLICTS_FILE = "gradient_conflicts.csv"
COLUMNS = ("step", "first", "second", "cosine")

Conflict = tuple[int, str, str, float]
"""An optimizer step, two tasks, and the cosine of their gradients of the encoder."""


def summarize_conflicts(rows: Sequence[Conflict]) -> dict[str, Any]:
    """
    Sums up the noted steps.

    Args:
        rows (`Sequence[Conflict]`):
            The steps.

    Returns:
        `dict`: `steps` with at least one pair; `conflicting_steps`, the share of them, 0 to 1, at which some pair's
        cosine is below 0 (`None` without a step); `pairs`, by `"first_second"` the `mean_cosine`, -1 to 1, and the
        `conflicting_steps` of that pair.
    """
    pairs: dict[str, list[float]] = {}
    worst: dict[int, float] = {}
    for step, first, second, cosine in rows:
        pairs.setdefault(f"{first}_{second}", []).append(cosine)
        worst[step] = min(cosine, worst.get(step, 1.0))
    return {
        "steps": len(worst),
        "conflicting_steps": _share_below_zero(list(worst.values())),
        "pairs": {
            pair: {"mean_cosine": sum(cosines) / len(cosines), "conflicting_steps": _share_below_zero(cosines)}
            for pair, cosines in pairs.items()
        },
    }


def read_conflicts(path: Path) -> list[Conflict]:
    """Reads a run's file, if it has one; a last line cut short by a kill is left out, its step is run again."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = file.read().split("\n")
    rows = csv.reader(lines[1:-1])  # what follows the last line break is empty, or cut short
    return [(int(step), first, second, float(cosine)) for step, first, second, cosine in rows]


def _share_below_zero(values: Sequence[float]) -> float | None:
    return sum(value < 0 for value in values) / len(values) if values else None
