"""Recognising objects: where the right class stands among the scores of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import IntArray


def ranks(scores: ArrayLike, labels: ArrayLike) -> IntArray:
    """Rank of each image's own class: 1 + the number of other classes that score at least as high.

    An image is right in top-k if its rank is at most k. Equal scores count against it, so that a network that gives
    every class the same score is right nowhere.

    Parameters
    ----------
    scores : array-like of float, shape (n_images, n_classes)
        Finite; higher is more likely.
    labels : array-like of int, shape (n_images,)
        In [0, n_classes).

    Returns
    -------
    ndarray of int64, shape (n_images,)
        In [1, n_classes].

    Raises
    ------
    MetricError
        If shapes disagree, a label is out of range, or a score is not finite.
    """
    table, own = np.asarray(scores, np.float64), np.asarray(labels, np.int64)
    if table.ndim != 2 or own.shape != table.shape[:1]:
        raise MetricError(f"Scores of shape {table.shape} and labels of shape {own.shape}; expected (n, k) and (n,).")
    if not np.isfinite(table).all():
        raise MetricError("Some scores are not finite; such an image has no rank. Count it as failed.")
    if len(own) and not (own.min() >= 0 and own.max() < table.shape[1]):
        raise MetricError(f"Labels from {own.min()} to {own.max()} do not fit scores of {table.shape[1]} classes.")
    right = np.take_along_axis(table, own[:, None], axis=1)
    return np.asarray((table >= right).sum(axis=1), np.int64)
