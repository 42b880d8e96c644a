"""Rows as they came -> rows that can be trained on: clean text, a label of the task, an id; the others rejected."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from extrabert_hf.data.columns import Columns
from extrabert_hf.data.labels import BadValueError, label_reader, optional_label
from extrabert_hf.data.reading import RejectedRow, Rows, reject
from extrabert_hf.tasks import TaskSpec

LabelUse = Literal["required", "optional", "ignored"]

REASONS_SHOWN = 4  # reasons for rejection that a notice spells out


def valid_rows(
    rows: Rows,
    columns: Columns,
    task: TaskSpec,
    file: str,
    rejected: list[RejectedRow] | None,
    labels: LabelUse = "required",
) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Gives the good rows under their canonical names: `sentence1`, `sentence2` of a pair, `label`, `id`.

    Text is stripped and must not be empty, a label must be one of the task's (see [`label_reader`]), and a row without
    an id gets its line for one.

    Args:
        rows (iterator of `(line, row)`):
            The rows as [`read_rows`] gives them.
        columns (`Columns`):
            Which of their columns hold what.
        task (`TaskSpec`):
            The task the labels belong to.
        file (`str`):
            What a rejected row calls the file.
        rejected (`list[RejectedRow]`, *optional*):
            Collects the bad rows; `None` makes the first of them an error.
        labels (`str`, *optional*, defaults to `"required"`):
            `"required"` rejects a row without a label, `"optional"` gives it the label `None`, `"ignored"` reads none.
    """
    texts = [("sentence1", columns.sentence1)]
    if columns.sentence2 is not None:
        texts.append(("sentence2", columns.sentence2))
    read_label = label_reader(task)
    for line, row in rows:
        try:
            values: dict[str, Any] = {name: _clean(row.get(column), name) for name, column in texts}
            if labels == "required":
                values["label"] = read_label(row.get(columns.label))
            elif labels == "optional":
                values["label"] = optional_label(row.get(columns.label), read_label)
        except BadValueError as error:
            shown = {name: row[name] for name in vars(columns).values() if row.get(name) is not None}
            reject(file, rejected, line, str(error), shown)
            continue
        row_id = row.get(columns.id)
        values["id"] = str(line) if row_id is None or row_id == "" else str(row_id)
        yield line, values


def rejection_notice(rejected: Sequence[RejectedRow], total: int, file: str) -> str:
    """Says in one line how many of a file's rows were rejected and why, the commonest reason first."""
    reasons = Counter(row.reason for row in rejected).most_common()
    shown = [f"{count:,} {reason}" for reason, count in reasons[:REASONS_SHOWN]]
    if len(reasons) > REASONS_SHOWN:
        shown.append(f"{sum(count for _, count in reasons[REASONS_SHOWN:]):,} for other reasons")
    return f"{len(rejected):,} of {total:,} rows of {file} rejected ({', '.join(shown)})"


def write_rejected_rows(path: str | Path, rejected: Sequence[RejectedRow], *, append: bool = False) -> None:
    """Writes rejected rows as jsonl: a line is an object of `file`, `line`, `reason` and `row`."""
    with Path(path).open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rejected)


def _clean(raw: Any, name: str) -> str:
    if not isinstance(raw, str | None):
        raise BadValueError(f"{name} is not text")
    text = (raw or "").strip()
    if not text:
        raise BadValueError(f"empty {name}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise BadValueError(f"{name} is not valid Unicode") from None
    return text
