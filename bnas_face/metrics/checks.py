"""What every metric asks of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnas_face.errors import MetricError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


def scored_pairs(scores: ArrayLike, is_genuine: ArrayLike, *, both: bool = True) -> tuple[FloatArray, BoolArray]:
    """Validated scores and labels.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Finite; higher means more alike.
    is_genuine : array-like of bool, shape (n_pairs,)
        True where both images show the same person. 0 and 1 are accepted, other numbers are not.
    both : bool
        Ask for at least one genuine and one impostor pair.

    Returns
    -------
    scores : ndarray of float64, shape (n_pairs,)
    is_genuine : ndarray of bool, shape (n_pairs,)

    Raises
    ------
    MetricError
        If shapes disagree, a score is not finite, a label is not 0 or 1, or a class is missing.
    """
    values, labels = np.asarray(scores, np.float64), np.asarray(is_genuine)
    same_length("scores", values, "is_genuine", labels)
    n_bad = int(np.count_nonzero(~np.isfinite(values)))
    if n_bad:
        raise MetricError(
            f"{n_bad} of {len(values)} scores are not finite. A metric needs finite scores: count pairs that were not "
            "compared as failures and leave them out."
        )
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise MetricError(
            "is_genuine holds values other than 0 and 1; expected True for genuine, False for impostor pairs."
        )
    labels = labels.astype(np.bool_)
    if both:
        _both_classes(labels)
    return values, labels


def same_length(name: str, first: NDArray[Any], other_name: str, second: NDArray[Any]) -> None:
    """Raise `MetricError` unless both arrays have one axis, the same length, and at least one pair."""
    if first.ndim != 1 or first.shape != second.shape:
        raise MetricError(
            f"{name} has shape {first.shape} and {other_name} has shape {second.shape}; both must be (n_pairs,)."
        )
    if not len(first):
        raise MetricError(f"{name} is empty; a metric needs at least one pair.")


def _both_classes(is_genuine: BoolArray) -> None:
    n_genuine = int(np.count_nonzero(is_genuine))
    if n_genuine in (0, len(is_genuine)):
        raise MetricError(
            f"{n_genuine} genuine and {len(is_genuine) - n_genuine} impostor pairs; the metric is undefined without "
            "both classes. Pool folds, or check the pair list."
        )
