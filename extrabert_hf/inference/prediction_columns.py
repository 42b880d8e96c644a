"""The columns of predictions: their names and cells, alone or beside the columns of the user's file."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from extrabert_hf.data.delimited import FIELD_LIMIT
from extrabert_hf.data.originals import cell_text
from extrabert_hf.data.reading import Row
from extrabert_hf.errors import shorten
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.models.conformal_extrabert import prediction_intervals, prediction_sets
from extrabert_hf.tasks import TaskSpec

DIGITS = 4
"""Decimal places of a probability."""

ABSTAINED = "abstained"
"""The column of [`PredictedTable`] that tells whether a row has no predicted class."""

SEPARATORS = {".csv": ",", ".tsv": "\t"}
"""Separator of a table by the suffix of its file."""

FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""First characters of a cell that a spreadsheet program may run as a formula; the last four are full-width forms."""


def prediction_columns(task: TaskSpec, conformal: Mapping[str, Any] | None = None) -> list[str]:
    """
    Returns the names of a task's columns, all different.

    For classes: `predicted_class` (the name), `class_id`, and one probability `p_CLASS` for each class. A blank of a
    class name becomes `_`, unless two names would then be equal. For scores: `predicted_score`. With the quantiles of
    a config's `conformal`, then `prediction_set`, or for scores `lower` and `upper`.

    Example:
        >>> from extrabert_hf.tasks import PAPER_TASKS
        >>> prediction_columns(PAPER_TASKS["para"]), prediction_columns(PAPER_TASKS["sts"])
        (['predicted_class', 'class_id', 'p_not_paraphrase', 'p_paraphrase'], ['predicted_score'])
    """
    if task.is_regression:
        return ["predicted_score", *([] if conformal is None else ["lower", "upper"])]
    names = [name.replace(" ", "_") for name in task.class_names]
    if len(set(names)) < len(names):
        names = list(task.class_names)
    sets = [] if conformal is None else ["prediction_set"]
    return ["predicted_class", "class_id", *(f"p_{name}" for name in names), *sets]


def prediction_cells(predictions: Predictions) -> Iterator[tuple[Any, ...]]:
    """Returns the cells of [`prediction_columns`] for each row; probabilities are rounded."""
    if predictions.probabilities is None:
        return ((score,) for score in predictions.values.tolist())
    probabilities = predictions.probabilities.round(DIGITS).tolist()
    cells = zip(predictions.names, predictions.values.tolist(), probabilities, strict=True)
    return ((name, class_id, *of_row) for name, class_id, of_row in cells)


def conformal_cells(predictions: Predictions, conformal: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Returns the cells of the columns that `conformal` adds: a list of classes, or the two ends of an interval."""
    logits = torch.as_tensor(predictions.logits)
    if predictions.task.is_regression:
        return map(tuple, prediction_intervals(logits[:, 0], conformal, predictions.task.label_range).tolist())
    names = predictions.task.class_names
    sets = prediction_sets(logits, conformal).tolist()
    return (([name for name, is_in in zip(names, row, strict=True) if is_in],) for row in sets)


def free_names(names: Sequence[str], taken: Collection[str]) -> list[str]:
    """
    Returns `names`; a name that is taken, or that comes twice, gets the first free number.

    Example:
        >>> free_names(["class_id", "p_a"], taken=["text", "class_id"])
        ['class_id_2', 'p_a']
    """
    used, free = {*taken}, []
    counts = Counter(names)
    for name in names:
        number, candidate = 1, name
        while candidate in used or (number > 1 and candidate in counts):
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        free.append(candidate)
    return free


def is_formula(cell: str) -> bool:
    """
    Whether a spreadsheet program may run a cell as a formula. A number or a single character is no formula.

    Example:
        >>> [is_formula(cell) for cell in ("=1+1", "-1.5", "- good", "+", "a=b")]
        [True, False, True, False, False]
    """
    if cell[:1] not in FORMULA_STARTS or len(cell) == 1:
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


def without_formulas(cells: Sequence[Any]) -> list[Any]:
    """Returns the cells of a row; one that [`is_formula`] gets an apostrophe in front."""
    return [f"'{cell}" if isinstance(cell, str) and is_formula(cell) else cell for cell in cells]


def formula_notice(formulas: int) -> str:
    """Returns the message about a number of cells that a spreadsheet program may run as a formula."""
    return (
        f"{formulas:,} cells start like a formula (= + - @): before you open the file in a spreadsheet program, write "
        "it with --csv_safe true"
    )


@dataclass(eq=False)
class PredictedTable:
    """
    Writes rows of a file with all their columns and their predictions, as csv, tsv or jsonl.

    Args:
        task ([`TaskSpec`]):
            The task.
        present (`Sequence[str]`):
            Names of the file's columns.
        has_ids (`bool`):
            Whether a column of the file is the id. If not, the ids become the first column.
        suffix (`str`):
            `".csv"`, `".tsv"` or `".jsonl"`.
        csv_safe (`bool`):
            Whether a cell of a table that [`is_formula`] gets an apostrophe in front.
        conformal (`Mapping`, *optional*):
            Quantiles of the model's config, for the columns of [`conformal_cells`]. A table has a set as a JSON list.
        abstain_below (`float`, *optional*):
            Rows whose predicted class has a smaller probability get no class, and a last column `abstained` tells
            whether a row is one of them.
    """

    task: TaskSpec
    present: Sequence[str]
    has_ids: bool
    suffix: str
    csv_safe: bool
    conformal: Mapping[str, Any] | None = None
    abstain_below: float | None = None
    formulas: int = field(default=0, init=False)
    lost: Counter[str] = field(default_factory=Counter, init=False)

    @cached_property
    def added(self) -> list[str]:
        """Names of the columns that are added to those of the file: the id, unless the file has it; predictions."""
        return free_names([*([] if self.has_ids else ["id"]), *self._predicted], self.present)

    @property
    def renamed(self) -> list[str]:
        """The added columns that have another name, because the file has a column of this name."""
        usual = {"id", *self._predicted}
        return [name for name in self.added if name not in usual]

    @property
    def is_table(self) -> bool:
        """Whether the rows are written as csv or tsv."""
        return self.suffix in SEPARATORS

    @property
    def _predicted(self) -> list[str]:
        columns = prediction_columns(self.task, self.conformal)
        return columns if self.abstain_below is None else [*columns, ABSTAINED]

    @cached_property
    def _kept(self) -> frozenset[str]:
        return frozenset(self.present)

    def job(self) -> dict[str, Any]:
        """Describes everything that determines the lines beside the rows and the model."""
        described = {"suffix": self.suffix, "csv_safe": self.csv_safe, "conformal": self.conformal}
        return {"columns": [*self.present, *self.added], **described, "abstain_below": self.abstain_below}

    def head(self) -> str:
        """Returns the line of column names; empty for jsonl."""
        if not self.is_table:
            return ""
        self.formulas += sum(map(is_formula, self.present))
        ids = [] if self.has_ids else self.added[:1]
        return self._table([[*ids, *self.present, *self.added[len(ids) :]]])

    def check(self, original: Row) -> None:
        """Counts what the output of a row will lose, and the formulas in its cells."""
        for name in original.keys() - self._kept:
            if self.is_table or name in self.added:
                self.lost[name] += 1
        if self.is_table:
            self.formulas += sum(is_formula(cell) for cell in original.values() if isinstance(cell, str))

    def lines(self, rows: Iterable[tuple[str, Row]], predictions: Predictions) -> str:
        """Returns the lines of rows, each an id and the row in the file, with their predictions."""
        cells = prediction_cells(predictions)
        if self.conformal is not None:
            more = conformal_cells(predictions, self.conformal)
            cells = ((*of_row, *added) for of_row, added in zip(cells, more, strict=True))
        if self.task.is_regression:
            cells = (tuple(round(number, DIGITS) for number in of_row) for of_row in cells)
        elif self.abstain_below is not None:
            cells = self._with_abstained(cells, predictions.confidences < self.abstain_below)
        numbered = zip(rows, cells, strict=True)
        ids = [] if self.has_ids else self.added[:1]
        if self.is_table:
            return self._table(
                [
                    *([row_id] * len(ids)),
                    *(cell_text(row.get(name)) for name in self.present),
                    *map(_list_text, of_row),
                ]
                for (row_id, row), of_row in numbered
            )
        names = self.added[len(ids) :]
        return "".join(
            _json_line({**dict.fromkeys(ids, row_id), **row, **dict(zip(names, of_row, strict=True))})
            for (row_id, row), of_row in numbered
        )

    def _with_abstained(self, cells: Iterable[tuple[Any, ...]], abstained: np.ndarray) -> Iterator[tuple[Any, ...]]:
        """Empties the name and the id of the class where `abstained` `(N,)` is true, and adds the column."""
        for (name, class_id, *probabilities), is_abstained in zip(cells, abstained.tolist(), strict=True):
            of_class = (None, None) if is_abstained else (name, class_id)
            yield (*of_class, *probabilities, cell_text(is_abstained) if self.is_table else is_abstained)

    def count_abstained(self, text: str) -> int:
        """Counts the rows without a predicted class in the result of [`PredictedTable.lines`]."""
        if not self.is_table:
            return sum(json.loads(line)[self.added[-1]] for line in text.split("\n")[:-1])
        csv.field_size_limit(FIELD_LIMIT)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=SEPARATORS[self.suffix])
        return sum(row[-1] == cell_text(True) for row in rows)

    def _table(self, rows: Iterable[Sequence[Any]]) -> str:
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=SEPARATORS[self.suffix])
        writer.writerows(map(without_formulas, rows) if self.csv_safe else rows)
        return text.getvalue()

    def notices(self) -> list[str]:
        """Returns messages about what [`PredictedTable.check`] has counted, one line each."""
        found = []
        if self.lost:
            names = shorten(", ".join(map(repr, self.lost)))
            found.append(
                f"columns that the first rows lack are not in the output: {names}, in up to "
                f"{max(self.lost.values()):,} rows"
            )
        if self.formulas and not self.csv_safe:
            found.append(formula_notice(self.formulas))
        return found


def _list_text(cell: Any) -> Any:
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, list) else cell


def _json_line(row: Row) -> str:
    plain = {name: None if isinstance(cell, float) and math.isnan(cell) else cell for name, cell in row.items()}
    return json.dumps(plain, ensure_ascii=False, default=str) + "\n"
