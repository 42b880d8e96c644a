"""Labels that are not all as frequent: how much each row should count, or how often it should come."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

from extrabert_hf.tasks import TaskSpec

BINS = 50
"""Of a score's range."""
SIGMA = 2
"""Width of the kernel, in bins, that smooths the frequency of scores."""


def balanced_weights(task: TaskSpec, labels: np.ndarray) -> np.ndarray:
    """
    Weighs each row by how rare its label is; the mean of all weights is 1.

    A class by its share of the rows. A score by the frequency of scores around it: label distribution smoothing, Yang
    et al. (2021), https://arxiv.org/abs/2102.09554, Section 3.1.

    Args:
        task ([`TaskSpec`]):
            Says whether labels are classes, or the range of the score.
        labels (`np.ndarray` of shape `(N,)`):
            Class ids or scores of the training rows.

    Returns:
        `np.ndarray` of shape `(N,)`, float32.
    """
    if task.is_regression:
        counts, edges = np.histogram(labels, bins=BINS, range=task.label_range)
        places = np.clip(np.digitize(labels, edges) - 1, 0, BINS - 1)
        frequency = gaussian_filter1d(counts.astype(np.float64), SIGMA, mode="reflect")[places]
    else:
        frequency = np.bincount(labels, minlength=len(task.class_names))[labels]
    weights = 1 / frequency
    return (weights / weights.mean()).astype(np.float32)


def balanced_rows(task: TaskSpec, labels: np.ndarray, seed: int) -> np.ndarray:
    """
    Draws as many rows as there are, those of rare labels more often, those of frequent ones less.

    Args:
        task ([`TaskSpec`]):
            As for [`balanced_weights`].
        labels (`np.ndarray` of shape `(N,)`):
            As for [`balanced_weights`].
        seed (`int`):
            Of the draw.

    Returns:
        `np.ndarray` of shape `(N,)`: row numbers, each as often as its weight says, rounded up or down by chance.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    ends = np.cumsum(balanced_weights(task, labels)[order].astype(np.float64))
    ends *= len(labels) / ends[-1]
    return np.sort(order[np.searchsorted(ends, np.arange(len(labels)) + generator.random()).clip(max=len(labels) - 1)])
