"""An audit of rows as a page of text."""

from collections.abc import Mapping
from typing import Any


def audit_page(report: Mapping[str, Any]) -> str:
    """
    Lays out what [`audit`] gives: a table of the splits, then each defect with the ids of some of its rows.

    Args:
        report (`dict`):
            Of one task.
    """
    names = list(report["splits"])
    lines = [report["task"].ljust(34) + "".join(name.rjust(16) for name in names)]

    def line(title: str, cells: Mapping[str, str]) -> None:
        lines.append(f"  {title:<32}" + "".join(cells.get(name, "-").rjust(16) for name in names))

    splits = report["splits"]
    line("rows", {name: f"{split['rows']:,}" for name, split in splits.items()})
    line(
        "words a sentence, median / max",
        {n: f"{s['words']['median']:g} / {s['words']['max']}" for n, s in splits.items()},
    )
    if any("tokens" in split for split in splits.values()):
        limit = next(split["tokens"]["max_length"] for split in splits.values())
        cut = {name: f"{100 * split['tokens']['cut_off']:.2f} %" for name, split in splits.items()}
        line(f"longer than {limit} tokens", cut)
    for label in next((split["labels"] for split in splits.values() if "labels" in split), {}):
        shares = {
            n: f"{100 * s['labels'][label] / max(s['rows'], 1):.1f} %" for n, s in splits.items() if "labels" in s
        }
        line(f"label {label}", shares)
    for metric in ("accuracy", "mse"):
        scores = {n: f"{s[metric]:.3f}" for n, s in report["majority_baseline"].items() if metric in s}
        if scores:
            line(f"majority baseline, {metric}", scores)
    line("rows with an earlier row's text", {n: f"{s['duplicates']['rows']:,}" for n, s in splits.items()})
    line("rows whose text is in train", {name: f"{leak['rows']:,}" for name, leak in report["leaks"].items()})
    line(
        "texts with several labels",
        {n: f"{s['contradictions']['texts']:,}" for n, s in splits.items() if "contradictions" in s},
    )
    lines.append(f"  rows that can't be used: {sum(report['rejected'].values()):,}")
    lines += [f"    {count:,} {reason}" for reason, count in report["rejected"].items()]
    for name, split in splits.items():
        for title, defect in (
            (f"{name} rows with an earlier row's text", split["duplicates"]),
            (f"{name} rows with several labels for a text", split.get("contradictions", {"rows": 0})),
            (f"{name} rows whose text is in train", report["leaks"].get(name, {"rows": 0})),
        ):
            if defect["rows"]:
                more = ", ..." if defect["rows"] > len(defect["examples"]) else ""
                lines.append(f"  {title}, ids: {', '.join(defect['examples'])}{more}")
    return "\n".join(lines)
