"""Conformal prediction: sets of classes and intervals of scores, from the quantiles in a config's `conformal`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

CLASS_METHODS = ("lac", "aps", "class_conditional")
"""The methods for classes; the first is the default."""
SCORE_METHODS = ("absolute", "normalized")
"""The methods for scores; the first is the default."""


def class_nonconformity(logits: torch.Tensor, method: str) -> torch.Tensor:
    """
    Computes how little each class fits each row: 0 for a class that fits best, 1 for one that does not fit at all.

    `"lac"` and `"class_conditional"` use `1 - p(c)`: Sadinle, Lei and Wasserman (2019), Least Ambiguous Set-Valued
    Classifiers with Bounded Error Levels, https://arxiv.org/abs/1609.00451. `"aps"` uses the total probability of the
    classes that are more probable than `c`: Romano, Sesia and Candes (2020), Classification with Valid and Adaptive
    Coverage, https://arxiv.org/abs/2006.02544, Section 2, with `u = 1`. So no random numbers are drawn, and the most
    probable class is in each set.

    Args:
        logits (`torch.Tensor` of shape `(rows, C)`):
            Logits of `C` classes.
        method (`str`):
            One of [`CLASS_METHODS`].

    Returns:
        `torch.Tensor` of shape `(rows, C)`, float32: values from 0 to 1.

    Example:
        >>> class_nonconformity(torch.tensor([[0.5, 0.3, 0.2]]).log(), "aps").round(decimals=1)
        tensor([[0.0000, 0.5000, 0.8000]])
    """
    probabilities = logits.float().softmax(dim=-1)
    if method != "aps":
        return 1 - probabilities
    ranked, classes = probabilities.sort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(ranked).scatter(-1, classes, ranked.cumsum(dim=-1) - ranked)


def prediction_sets(logits: torch.Tensor, conformal: Mapping[str, Any]) -> torch.Tensor:
    """
    Selects the classes of each row that are in its prediction set.

    Args:
        logits (`torch.Tensor` of shape `(rows, C)`):
            Logits of `C` classes.
        conformal (`Mapping`):
            The config's `conformal`, with a method of [`CLASS_METHODS`].

    Returns:
        `torch.Tensor` of shape `(rows, C)`, bool: a set has 0 to `C` classes, with `"aps"` 1 or more.

    Example:
        >>> logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
        >>> prediction_sets(logits, {"method": "lac", "coverage": 0.9, "rows": 99, "quantiles": [0.75]})
        tensor([[ True,  True, False]])
    """
    scores = class_nonconformity(logits, conformal["method"])
    return scores <= scores.new_tensor(conformal["quantiles"])


def residual_scale(scores: torch.Tensor, knots: Sequence[Sequence[float]]) -> torch.Tensor:
    """
    Interpolates the expected absolute error of scores; it is constant outside of the knots.

    Args:
        scores (`torch.Tensor` of shape `(rows,)`):
            Predicted scores.
        knots (`Sequence` of pairs):
            Two or more pairs of a score and the mean absolute error near it, in ascending order of the scores.

    Example:
        >>> residual_scale(torch.tensor([1.0, 2.5, 9.0]), [[2.0, 0.4], [3.0, 0.8]]).round(decimals=1)
        tensor([0.4000, 0.6000, 0.8000])
    """
    at, errors = scores.new_tensor(knots).unbind(dim=-1)
    after = torch.searchsorted(at.contiguous(), scores.contiguous()).clamp(1, len(at) - 1)
    share = ((scores - at[after - 1]) / (at[after] - at[after - 1])).clamp(0, 1)
    return errors[after - 1].lerp(errors[after], share)


def prediction_intervals(
    scores: torch.Tensor, conformal: Mapping[str, Any], score_range: Sequence[float]
) -> torch.Tensor:
    """
    Computes the interval of each score.

    The interval is the score, clamped to `score_range`, plus and minus the quantile of the absolute errors: Vovk,
    Gammerman and Shafer (2005), Algorithmic Learning in a Random World, Chapter 4. With `"normalized"` the errors
    are divided by [`residual_scale`]: Lei et al. (2018), Distribution-Free Predictive Inference for Regression,
    https://arxiv.org/abs/1604.04173, Section 5.2. Labels are in `score_range`, so the interval is cut off there.

    Args:
        scores (`torch.Tensor` of shape `(rows,)`):
            Predicted scores.
        conformal (`Mapping`):
            The config's `conformal`, with a method of [`SCORE_METHODS`].
        score_range (`Sequence[float]`):
            Smallest and largest score.

    Returns:
        `torch.Tensor` of shape `(rows, 2)`, float32: the lower and the upper end.

    Example:
        >>> conformal = {"method": "absolute", "coverage": 0.9, "rows": 99, "quantiles": [0.5]}
        >>> prediction_intervals(torch.tensor([2.0, 4.75]), conformal, [0.0, 5.0])
        tensor([[1.5000, 2.5000],
                [4.2500, 5.0000]])
    """
    scores = scores.float().clamp(*score_range)
    margin = scores.new_tensor(conformal["quantiles"]).expand_as(scores)
    if conformal["method"] == "normalized":
        margin = margin * residual_scale(scores, conformal["knots"])
    return torch.stack([scores - margin, scores + margin], dim=-1).clamp(*score_range)


def check_conformal(conformal: Mapping[str, Any], num_labels: int) -> None:
    """
    Raises `ValueError` if a config's `conformal` does not fit the head.

    Args:
        conformal (`Mapping`):
            The field of the config.
        num_labels (`int`):
            Number of classes, or 1 for a head that scores.
    """
    method, methods = conformal.get("method"), SCORE_METHODS if num_labels == 1 else CLASS_METHODS
    if method not in methods:
        names = ", ".join(map(repr, methods))
        raise ValueError(f"`conformal` must have a `method`, for this head one of {names}, got {method!r}.")
    due = {"method", "coverage", "rows", "quantiles"} | ({"knots"} if method == "normalized" else set())
    if set(conformal) != due:
        raise ValueError(f"`conformal` must have the fields {sorted(due)} for {method!r}, got {sorted(conformal)}.")
    count = num_labels if method == "class_conditional" else 1
    if len(conformal["quantiles"]) != count:
        raise ValueError(
            f"`conformal` must have {count} `quantiles` for {method!r} and {num_labels} labels, got "
            f"{len(conformal['quantiles'])}: after a change of the classes, load the model with `conformal=None`."
        )
