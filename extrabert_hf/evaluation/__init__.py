from extrabert_hf.evaluation.metrics import (
    ConstantInputWarning,
    compute_metric,
    compute_metrics,
    metric_names,
    predictions_from_logits,
)
from extrabert_hf.evaluation.significance import bootstrap_interval, bootstrap_intervals, majority_baseline, score

__all__ = [
    "ConstantInputWarning",
    "bootstrap_interval",
    "bootstrap_intervals",
    "compute_metric",
    "compute_metrics",
    "majority_baseline",
    "metric_names",
    "predictions_from_logits",
    "score",
]
