"""The metrics as `evaluate.Metric` classes that need no network, in their own module: `evaluate` is slow to import."""

from typing import Any, ClassVar

import evaluate
from datasets import Features, Value

from extrabert_hf.errors import InputError
from extrabert_hf.evaluation.metrics import CLASS_FORMULAS, checked_rows, compute_metric


class FormulaMetric(evaluate.Metric):
    """
    Base class of the metrics: checks the rows when they are added, keeps them in memory, applies one formula.

    Args:
        **kwargs:
            As for `evaluate.Metric`. `keep_in_memory` defaults to `True` in a single process. Nothing is then written
            to the cache folder, so that two runs at the same time cannot conflict there.
    """

    key: ClassVar[str]  # of FORMULAS, and of the result

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("keep_in_memory", kwargs.get("num_process", 1) == 1)
        super().__init__(**kwargs)

    def _build_data_dir(self) -> str:
        return self._data_dir_root if self.keep_in_memory else super()._build_data_dir()

    def _info(self) -> evaluate.MetricInfo:
        kind = Value("int64" if self.key in CLASS_FORMULAS else "float64")  # float32 would round the scores
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation="",
            inputs_description="predictions and references: one class id, or one score, per row.",
            features=Features({"predictions": kind, "references": kind}),
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **columns: Any) -> None:
        """Adds one row; `evaluate.combine` passes its values under the names `predictions` and `references`."""
        row = {"predictions": prediction, "references": reference, **columns}
        if unknown := sorted(row.keys() - {"predictions", "references"}):
            raise InputError(f"`add` must get `prediction` and `reference`, got {', '.join(unknown)}.")
        self.add_batch(**{column: [value] for column, value in row.items()})

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Adds one or more rows."""
        class_ids = self.key in CLASS_FORMULAS
        columns = checked_rows(predictions, references, class_ids=class_ids, names=("predictions", "references"))
        super().add_batch(predictions=columns[0], references=columns[1])

    def compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float] | None:
        """Applies the formula to these rows and all rows added before, then removes all rows."""
        if predictions is None and references is None and len(self) == 0:
            raise InputError("`predictions` must have shape (N,) with N of 1 or more, got no rows.")
        return super().compute(predictions=predictions, references=references)

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {self.key: compute_metric(self.key, predictions, references)}


class Accuracy(FormulaMetric):
    """Share of rows with the correct predicted class."""

    key = "accuracy"


class F1(FormulaMetric):
    """Harmonic mean of precision and recall of class 1; 0.0 if no row has this class as prediction or label."""

    key = "f1"


class MacroF1(FormulaMetric):
    """Unweighted mean of the F1 of each class that some row has as prediction or label."""

    key = "macro_f1"


class WithinOneAccuracy(FormulaMetric):
    """Share of rows with a predicted class at most 1 from the label."""

    key = "within_1_accuracy"


class QuadraticKappa(FormulaMetric):
    """Agreement beyond chance with squared distances as weights of errors; at most 1, 0 for chance."""

    key = "quadratic_kappa"


class Pearson(FormulaMetric):
    """Linear correlation, -1 to 1."""

    key = "pearson"


class Spearman(FormulaMetric):
    """Correlation of the ranks, -1 to 1."""

    key = "spearman"


class MeanSquaredError(FormulaMetric):
    """Mean of the squared differences."""

    key = "mse"
