"""Scores as a few lines of text."""

from typing import Any


def summarize(title: str, report: dict[str, Any]) -> str:
    """
    Lays out a split's scores, one line a metric: value, 95 % interval, majority baseline.

    Args:
        title (`str`):
            First line, such as `"sts dev"`.
        report (`dict`):
            What [`score`] gives.

    Example:
        >>> report = {"rows": 9, "metrics": {"accuracy": 0.5}, "intervals": {"accuracy": [0.2, 0.8]},
        ...           "majority_baseline": {"accuracy": 0.25}}
        >>> print(summarize("sst dev", report))
        sst dev, 9 rows                 score   95 % interval     majority
          accuracy                      0.500   [0.200, 0.800]    0.250
    """
    baseline = report["majority_baseline"] or {}
    lines = [f"{title}, {report['rows']:,} rows".ljust(32) + "score   95 % interval     majority"]
    for name, value in report["metrics"].items():
        low, high = report["intervals"][name]
        majority = f"{baseline[name]:.3f}" if name in baseline else "-"
        lines.append(f"  {name:<30}{value:<8.3f}{f'[{low:.3f}, {high:.3f}]':<18}{majority}")
    return "\n".join(lines)
