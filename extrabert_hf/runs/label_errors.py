"""The labels that are probably wrong: the csv file, the HTML page and the line about them."""

import csv
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from extrabert_hf.evaluation.label_doubts import LARGEST_RESIDUAL, LabelDoubts, doubt_classes, doubt_scores
from extrabert_hf.files import atomic_path, write_text
from extrabert_hf.inference.prediction_columns import formula_notice, is_formula, without_formulas
from extrabert_hf.inference.predictor import Predictions
from extrabert_hf.runs.page import page_template

logger = logging.getLogger(__name__)

MOST_SHOWN = 1000
"""Number of rows on the page; the csv file has all rows."""
MOST_CHANGES = 30
"""Number of lines in the table of given and suggested classes."""
DOUBT_OF_CLASSES = "Doubt: 1 minus the probability of the given label."
DOUBT_OF_SCORES = (
    "Doubt: size of label minus prediction, in robust standard deviations of all rows; the rows "
    f"above {LARGEST_RESIDUAL} are listed."
)


@dataclass(frozen=True)
class DoubtfulLabel:
    """
    A row whose label is probably wrong.

    Args:
        line (`int`):
            First line of the row in its file.
        id (`str`):
            Id of the row.
        label, suggested (`str`):
            The given label and the predicted one: class names, or scores.
        doubt (`float`):
            See [`LabelDoubts`].
        texts (`tuple[str, ...]`):
            The sentences.
    """

    line: int
    id: str
    label: str
    suggested: str
    doubt: float
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """
    The rows whose label is probably wrong.

    Args:
        title (`str`):
            The rows that were searched, such as "sst train".
        predictor (`str`):
            What predicted the rows, in words for the page.
        predictions ([`Predictions`]):
            Predictions for N labelled rows, by models that were not trained on them.
        doubts ([`LabelDoubts`]):
            The doubt about each of the N labels.
    """

    title: str
    predictor: str
    predictions: Predictions
    doubts: LabelDoubts

    @classmethod
    def of(cls, title: str, predictor: str, predictions: Predictions) -> "LabelErrors":
        """Finds the labels that are probably wrong, see [`doubt_classes`] and [`doubt_scores`]."""
        labels, probabilities = predictions.labels, predictions.probabilities
        if probabilities is None:
            return cls(title, predictor, predictions, doubt_scores(labels, predictions.values))
        return cls(title, predictor, predictions, doubt_classes(labels, probabilities))

    @property
    def rows(self) -> Iterator[DoubtfulLabel]:
        """The rows whose label is probably wrong, the largest doubt first."""
        of = self.predictions
        for row in self.doubts.rows:
            label, suggested = of.labels[row], self.doubts.suggested[row]
            names = (
                (f"{label:g}", f"{suggested:.2f}")
                if of.task.is_regression
                else (of.task.class_names[label], of.task.class_names[suggested])
            )
            yield DoubtfulLabel(of.lines[row], of.ids[row], *names, float(self.doubts.sizes[row]), of.sentences[row])

    def __str__(self) -> str:
        found, total = len(self.doubts.rows), len(self.predictions.ids)
        return f"{self.title}: {found:,} of {total:,} labels ({found / total:.1%}) are doubtful"

    def write(self, file: Path, *, csv_safe: bool = False) -> None:
        """
        Writes the rows as csv, and the page beside it, with the ending `.html`.

        The columns are `line`, `id`, `label`, `suggested_label`, `doubt`, and the sentences.

        Args:
            file (`Path`):
                The csv file.
            csv_safe (`bool`, defaults to `False`):
                Whether a cell that [`is_formula`] gets an apostrophe in front. Without, the cells are counted and a
                warning is logged.
        """
        formulas = 0
        with atomic_path(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            columns = self.predictions.task.sentence_columns
            writer.writerow(["line", "id", "label", "suggested_label", "doubt", *columns])
            for row in self.rows:
                cells = [row.line, row.id, row.label, row.suggested, f"{row.doubt:.4f}", *row.texts]
                formulas += sum(isinstance(cell, str) and is_formula(cell) for cell in cells)
                writer.writerow(without_formulas(cells) if csv_safe else cells)
        if formulas and not csv_safe:
            logger.warning(formula_notice(formulas))
        write_text(page_of(file), self._page(file))

    def _page(self, file: Path) -> str:
        rows, is_regression = list(self.rows), self.predictions.task.is_regression
        changes = [] if is_regression else Counter((row.label, row.suggested) for row in rows).most_common()
        return page_template("label_errors.html.jinja").render(
            title=f"Doubtful labels of {self.title}",
            summary=str(self),
            predictor=self.predictor,
            file=file.name,
            explanation=DOUBT_OF_SCORES if is_regression else DOUBT_OF_CLASSES,
            are_numbers=is_regression,
            changes=changes[:MOST_CHANGES],
            rows=rows[:MOST_SHOWN],
            found=len(rows),
        )


def page_of(file: Path) -> Path:
    """Returns the page that belongs to a csv file of doubtful labels."""
    return file.with_suffix(".html")
