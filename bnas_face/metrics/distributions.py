"""How far apart the genuine and impostor scores lie."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import FloatArray, IntArray, scored_pairs


def d_prime(scores: ArrayLike, is_genuine: ArrayLike) -> float:
    """Decidability d′ = |μ_genuine − μ_impostor| / sqrt((σ²_genuine + σ²_impostor) / 2), with population variances.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        >= 0; higher is better. Unlike the rates it depends on the scale of the scores, not on their order alone.

    Raises
    ------
    MetricError
        If both classes are constant (the ratio is undefined), a class is missing or a score is not finite.

    References
    ----------
    Daugman, "The importance of being random: statistical principles of iris recognition", Pattern Recognition 36, 2003.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    first, second = values[genuine], values[~genuine]
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        raise MetricError("d′ is undefined: the scores of each class are constant.")
    return float(abs(first.mean() - second.mean()) / np.sqrt((first.var() + second.var()) / 2))


def histogram(scores: ArrayLike, is_genuine: ArrayLike, n_bins: int = 80) -> tuple[FloatArray, IntArray, IntArray]:
    """Counts of genuine and impostor scores in equal bins over the observed range.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)
    n_bins : int
        >= 1.

    Returns
    -------
    edges : ndarray of float64, shape (n_bins + 1,)
        Ascending; the last bin is closed on both sides.
    genuine, impostor : ndarray of int64, shape (n_bins,)
        They sum to n_genuine and n_impostor.
    """
    values, is_true = scored_pairs(scores, is_genuine)
    edges = np.histogram_bin_edges(values, n_bins)
    genuine, _ = np.histogram(values[is_true], edges)
    impostor, _ = np.histogram(values[~is_true], edges)
    return edges, genuine.astype(np.int64), impostor.astype(np.int64)
