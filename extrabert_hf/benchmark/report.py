"""Rates of all rounds -> figures to keep, and a table to look at."""

from statistics import median
from typing import Any


def entry(name: str, ours: list[float], peer: list[float], **details: Any) -> dict[str, Any]:
    """
    Sums up a comparison.

    Args:
        name (`str`):
            Of the comparison.
        ours (`list[float]`):
            Our rows a second, one figure a round.
        peer (`list[float]`):
            The peer's.
        details:
            What else the entry shall say.

    Returns:
        `dict`: `ours` and `peer` (medians), `ratio` (of the medians), `unit`, `ratios` (one a round).

    Example:
        >>> entry("train-sts", [100.0, 120.0, 110.0], [50.0, 40.0, 44.0])["ratio"]
        2.5
    """
    return {
        "name": name,
        "ours": median(ours),
        "peer": median(peer),
        "ratio": median(ours) / median(peer),
        "unit": "rows/s",
        "ratios": [our_rate / peer_rate for our_rate, peer_rate in zip(ours, peer, strict=True)],
        **details,
    }


def step_entries(rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    """
    Sums up the steps from plain to ours.

    Args:
        rates (`dict[str, list[float]]`):
            Rows a second by step, each with those before it.

    Returns:
        `list[dict]`: `name`, `rate` (median) and `gain`, the factor over the step before (1 for the first).
    """
    medians = {name: median(figures) for name, figures in rates.items()}
    before = [next(iter(medians.values())), *medians.values()]
    return [
        {"name": name, "rate": rate, "gain": rate / previous}
        for (name, rate), previous in zip(medians.items(), before, strict=False)
    ]


def table(entries: list[dict[str, Any]]) -> str:
    """
    Lays out comparisons of one run, one line each, and the steps of each below where they were measured.

    Args:
        entries (`list[dict]`):
            What [`run_benchmark`] gives, one or more.
    """
    run = entries[0]
    lines = [
        f"one epoch of {run['rows']:,} rows in batches of {run['batch_size']}, {run['model']}, ours in "
        f"{run['precision']}; median of {run['rounds']} in turn",
        ", ".join(f"{name} {value}" for name, value in run["machine"].items()),
        "",
        f"{'rows/s':<12}{'ours':>9}{'peer':>9}{'ratio':>8}  {'min-max':<11}  peer",
    ]
    for row in entries:
        spread = f"{min(row['ratios']):.2f}-{max(row['ratios']):.2f}"
        lines.append(
            f"{row['name']:<12}{row['ours']:>9.1f}{row['peer']:>9.1f}{row['ratio']:>8.2f}  {spread:<11}  "
            f"{row['peer_name']}"
        )
    for row in entries:
        if "steps" in row:
            lines += ["", f"{row['name'] + ', step by step':<40}{'rows/s':>9}{'gain':>8}"]
            lines += [_step_line(index, step) for index, step in enumerate(row["steps"])]
    return "\n".join(lines)


def _step_line(index: int, step: dict[str, Any]) -> str:
    return f"  {step['name']:<38}{step['rate']:>9.1f}" + (f"{step['gain']:>8.2f}" if index else "")
