"""
The result of an audit of rows: the fields, the JSON file, the findings, and the page of text.

[`audit`] makes an [`Audit`].
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from extrabert_hf.data.rejected_rows import ExtraRows
from extrabert_hf.errors import printable
from extrabert_hf.files import write_json
from extrabert_hf.terminal import in_columns

MAX_TOKENIZED = 50_000
"""Maximum number of sentences of a split that are tokenized; a larger split is represented by a random sample."""
MAX_EXAMPLES = 5
"""Maximum number of ids that are listed for a defect."""
MOST_LINES = 30
"""Maximum number of classes, and of reasons for rejected rows, in the page of text."""
AUDIT_WIDTHS = (34, 12, 12, 12)
"""Least widths of the columns in the page of text, so that the tables of most tasks have the same."""
BASELINE_METRICS = ("accuracy", "mse")
"""The metrics of the majority baseline in an audit: accuracy of classes, mean squared error of scores."""


@dataclass(frozen=True)
class Defect:
    """
    Rows with the same kind of defect.

    Args:
        rows (`int`):
            Number of rows.
        examples (`list[str]`):
            Ids of the first `MAX_EXAMPLES` rows.
    """

    rows: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Contradictions:
    """
    Texts with several labels.

    Args:
        texts (`int`):
            Number of texts.
        rows (`int`):
            Number of rows with these texts.
        examples (`list[str]`):
            Ids of the first `MAX_EXAMPLES` of these rows.
        largest_difference (`float`):
            Largest difference between two labels of a text, in class ids or in units of the scores.
    """

    texts: int
    rows: int
    examples: list[str]
    largest_difference: float


@dataclass(frozen=True)
class WordCounts:
    """
    Words of a sentence, separated by whitespace.

    Args:
        mean, median (`float`):
            Mean and median over the sentences of a split.
        max (`int`):
            Words of the longest sentence.
    """

    mean: float
    median: float
    max: int


@dataclass(frozen=True)
class TokenCounts:
    """
    Tokens of a sentence, special tokens included.

    Args:
        sentences (`int`):
            Number of tokenized sentences, at most `MAX_TOKENIZED`.
        max_length (`int`):
            The tokenizer's `model_max_length`.
        cut_off (`float`):
            Share of the sentences with more than `max_length` tokens, 0 to 1.
        mean, median (`float`):
            Mean and median over the tokenized sentences.
        max (`int`):
            Tokens of the longest sentence.
    """

    sentences: int
    max_length: int
    cut_off: float
    mean: float
    median: float
    max: int


@dataclass(frozen=True)
class SplitAudit:
    """
    The audit of one split.

    Args:
        rows (`int`):
            Number of rows.
        words ([`WordCounts`]):
            Words of the split's sentences.
        duplicates ([`Defect`]):
            Rows with the text of an earlier row.
        tokens ([`TokenCounts`], *optional*):
            Tokens of the split's sentences; `None` without a tokenizer.
        labels (`dict[str, int]`, *optional*):
            Number of rows by class name, or by fifth of the score range (`"0 to 1"`); `None` without labels.
        contradictions ([`Contradictions`], *optional*):
            Texts with several labels; `None` without labels.
    """

    rows: int
    words: WordCounts
    duplicates: Defect
    tokens: TokenCounts | None = None
    labels: dict[str, int] | None = None
    contradictions: Contradictions | None = None


@dataclass(frozen=True)
class Audit:
    """
    The audit of a task's rows.

    Args:
        task (`str`):
            Name of the task.
        rejected (`dict[str, int]`):
            Number of rejected rows by reason, the most frequent reason first.
        splits (`dict[str, SplitAudit]`):
            The audit of each split.
        leaks (`dict[str, Defect]`):
            By split, except `train`, the rows with the text of a train row.
        majority_baseline (`dict[str, dict[str, float]]`):
            By labelled split, the `BASELINE_METRICS` of a constant prediction; empty without a train split.
        extra (`tuple[ExtraRows, ...]`):
            Counts of the further train rows by file.
    """

    task: str
    rejected: dict[str, int]
    splits: dict[str, SplitAudit]
    leaks: dict[str, Defect]
    majority_baseline: dict[str, dict[str, float]]
    extra: tuple[ExtraRows, ...] = ()

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Audit":
        """Makes an audit from a JSON object, see [`read_audit`]."""
        splits = {
            name: SplitAudit(
                rows=split["rows"],
                words=WordCounts(**split["words"]),
                duplicates=Defect(**split["duplicates"]),
                tokens=TokenCounts(**split["tokens"]) if "tokens" in split else None,
                labels=split.get("labels"),
                contradictions=Contradictions(**split["contradictions"]) if "contradictions" in split else None,
            )
            for name, split in fields["splits"].items()
        }
        leaks = {name: Defect(**leak) for name, leak in fields["leaks"].items()}
        extra = tuple(ExtraRows(**counts) for counts in fields.get("extra", ()))
        return cls(fields["task"], fields["rejected"], splits, leaks, fields["majority_baseline"], extra)

    def to_dict(self) -> dict[str, Any]:
        """Returns the JSON object of the audit, without an empty `extra` and the fields of a split that are `None`."""
        fields = {name: value for name, value in asdict(self).items() if name != "extra" or value}
        for name, split in fields["splits"].items():
            fields["splits"][name] = {key: value for key, value in split.items() if value is not None}
        return fields


def findings(report: Audit, *, severe: bool = False) -> list[str]:
    """
    Returns a line for each defect that a user should know about before training.

    Args:
        report ([`Audit`]):
            The audit of a task's rows.
        severe (`bool`, defaults to `False`):
            Whether to return only leaks and cut off sentences, which an argument of the run can remove.
    """
    lines = []
    for name, split in report.splits.items():
        if split.duplicates.rows and not severe:
            lines.append(f"{split.duplicates.rows:,} of {split.rows:,} {name} rows have the text of an earlier row")
        if split.contradictions is not None and split.contradictions.texts and not severe:
            lines.append(f"texts of {name} with several labels: {split.contradictions.texts:,}")
        if split.tokens is not None and split.tokens.cut_off:
            lines.append(f"{100 * split.tokens.cut_off:.1f} % of the sentences of {name} are cut off")
    for name, leak in report.leaks.items():
        if leak.rows:
            lines.append(f"{leak.rows:,} of {report.splits[name].rows:,} {name} rows are also in train")
    return [f"{report.task}: {line}" for line in lines]


def write_audit(path: Path, reports: Mapping[str, Audit]) -> None:
    """Writes the audit of each task as JSON and creates the folder if necessary."""
    fields = {task: report.to_dict() for task, report in reports.items()}
    write_json(path, fields)


def read_audit(path: Path) -> dict[str, Audit]:
    """Reads the audit of each task from a file of [`write_audit`]."""
    reports = json.loads(path.read_text(encoding="utf-8"))
    return {task: Audit.from_dict(fields) for task, fields in reports.items()}


def audit_page(report: Audit) -> str:
    """Returns an audit as text: a table with a column for each split, then each defect with the ids of some rows."""
    splits = report.splits
    labelled = {name: split for name, split in splits.items() if split.labels is not None}
    tokenized = {name: split.tokens for name, split in splits.items() if split.tokens is not None}
    rows = [[printable(report.task, 40), *splits]]

    def line(title: str, cells: Mapping[str, str]) -> None:
        rows.append([f"  {title}", *(cells.get(name, "-") for name in splits)])

    line("rows", {name: f"{split.rows:,}" for name, split in splits.items()})
    words = {name: f"{split.words.median:g} / {split.words.max}" for name, split in splits.items()}
    line("words a sentence, median / max", words)
    if tokenized:
        limit = next(iter(tokenized.values())).max_length
        line(f"longer than {limit} tokens", {name: f"{100 * t.cut_off:.2f} %" for name, t in tokenized.items()})
    labels = next((split.labels for split in labelled.values()), {})
    frequent = sorted(labels, key=labels.__getitem__, reverse=True)[:MOST_LINES]
    for label in [label for label in labels if label in frequent]:
        shares = {name: 100 * split.labels[label] / max(split.rows, 1) for name, split in labelled.items()}
        line(f"label {printable(label, 40)}", {name: f"{share:.1f} %" for name, share in shares.items()})
    if len(labels) > MOST_LINES:
        rows.append([f"  and {len(labels) - MOST_LINES:,} classes with fewer rows", *("" for _ in splits)])
    for metric in BASELINE_METRICS:
        scores = {name: f"{score[metric]:.3f}" for name, score in report.majority_baseline.items() if metric in score}
        if scores:
            line(f"majority baseline, {metric}", scores)
    line("rows with an earlier row's text", {name: f"{split.duplicates.rows:,}" for name, split in splits.items()})
    line("rows whose text is in train", {name: f"{leak.rows:,}" for name, leak in report.leaks.items()})
    line("texts with several labels", {name: f"{split.contradictions.texts:,}" for name, split in labelled.items()})
    lines = in_columns(rows, right=[False, *(True for _ in splits)], least=AUDIT_WIDTHS)
    lines.append(f"  rows that can't be used: {sum(report.rejected.values()):,}")
    reasons = list(report.rejected.items())
    lines += [f"    {count:,} {printable(reason, 200)}" for reason, count in reasons[:MOST_LINES]]
    if len(reasons) > MOST_LINES:
        others = sum(count for _, count in reasons[MOST_LINES:])
        lines.append(f"    {others:,} for {len(reasons) - MOST_LINES:,} other reasons")
    lines += [f"  further train rows: {printable(str(counts), 500)}" for counts in report.extra]
    for name, split in splits.items():
        lines += _example_lines(name, split, report.leaks.get(name))
    return "\n".join(lines)


def _example_lines(name: str, split: SplitAudit, leak: Defect | None) -> list[str]:
    defects = {
        f"{name} rows with an earlier row's text": split.duplicates,
        f"{name} rows with several labels for a text": split.contradictions,
        f"{name} rows whose text is in train": leak,
    }

    def ids_of(defect: Defect) -> str:
        ids = [printable(row_id, 60) for row_id in defect.examples]
        return ", ".join([*ids, "..."] if defect.rows > len(ids) else ids)

    return [
        f"  {title}, ids: {ids_of(defect)}" for title, defect in defects.items() if defect is not None and defect.rows
    ]
