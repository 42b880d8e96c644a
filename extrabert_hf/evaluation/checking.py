"""What a metric may be given: finite numbers, one a row, and ids of classes where it counts classes."""

from typing import Any

import numpy as np

from extrabert_hf.errors import InputError


def checked_column(name: str, values: Any, *, class_ids: bool, num_classes: int | None = None) -> np.ndarray:
    """
    Turns numbers into an array of shape `(N,)`, N of 1 or more: int64 class ids, or float64 scores.

    Args:
        name (`str`):
            What an error message calls the values.
        values (array-like of shape `(N,)`):
            Finite numbers.
        class_ids (`bool`):
            Whether they must be class ids: of a whole-number type, 0 or more.
        num_classes (`int`, *optional*):
            What class ids must stay below.
    """
    column = np.asarray(values)
    if column.ndim != 1 or len(column) == 0:
        raise InputError(f"`{name}` must have shape (N,) with N of 1 or more, got {column.shape}.")
    if column.dtype.kind not in ("biu" if class_ids else "biuf"):
        raise InputError(f"`{name}` must be {'whole numbers' if class_ids else 'numbers'}, got {column.dtype}.")
    if not np.isfinite(column).all():
        raise InputError(f"`{name}` must be finite, got {column[~np.isfinite(column)][0]}.")
    if not class_ids:
        return column.astype(np.float64)
    column = column.astype(np.int64)
    outside = (column < 0) | (column >= (np.inf if num_classes is None else num_classes))
    if outside.any():
        allowed = "0 or more" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise InputError(f"`{name}` must be class ids {allowed}, got {column[outside][0]}.")
    return column


def checked_rows(
    predictions: Any,
    labels: Any,
    *,
    class_ids: bool,
    num_classes: int | None = None,
    names: tuple[str, str] = ("predictions", "labels"),
) -> tuple[np.ndarray, np.ndarray]:
    """
    Turns predictions and labels into arrays of the same shape `(N,)`, each as [`checked_column`] does.

    Args:
        predictions (array-like of shape `(N,)`):
            Finite numbers.
        labels (array-like of shape `(N,)`):
            Finite numbers.
        class_ids (`bool`):
            Whether they must be class ids.
        num_classes (`int`, *optional*):
            What class ids must stay below.
        names (`tuple[str, str]`, *optional*):
            What an error message calls the two.
    """
    first = checked_column(names[0], predictions, class_ids=class_ids, num_classes=num_classes)
    second = checked_column(names[1], labels, class_ids=class_ids, num_classes=num_classes)
    if len(first) != len(second):
        raise InputError(
            f"`{names[0]}` and `{names[1]}` must have equally many rows, got {len(first)} and {len(second)}."
        )
    return first, second
