"""The rules that fit an accuracy threshold on some pairs and apply it to others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnas_face.metrics.checks import BoolArray, FloatArray, scored_pairs
from bnas_face.metrics.rates import error_curve

INSIGHTFACE_DISTANCES = (0.0, 4.0, 0.01)
FACEX_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class ThresholdRule:
    """How a threshold is fitted and when a score passes it.

    Attributes
    ----------
    name : str
    fit : callable
        (scores, is_genuine) → threshold as a score.
    matches : callable
        (scores, thresholds) → bool, elementwise.
    equal_is_wrong : bool
        Whether a score that equals its threshold is neither a match nor a non-match, and so wrong in either class.
    """

    name: str
    fit: Callable[[FloatArray, BoolArray], float]
    matches: Callable[[FloatArray, FloatArray], BoolArray]
    equal_is_wrong: bool = False


def fit_observed(scores: ArrayLike, is_genuine: ArrayLike) -> float:
    """The observed score that, as a threshold, decides most pairs rightly (strict rule).

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        An observed score, or the next float64 above the largest one where matching nobody is best.

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.

    Notes
    -----
    Several thresholds are often equally good on the pairs at hand. The middle one of them is taken (of an even number,
    the lower middle), never a point between two scores: so the choice depends on the order of the scores alone.
    """
    curve = error_curve(scores, is_genuine)
    n_errors = curve.n_false_matches + curve.n_false_non_matches
    best = np.flatnonzero(n_errors == n_errors.min())
    return float(curve.threshold[best[(len(best) - 1) // 2]])


def fit_insightface(scores: ArrayLike, is_genuine: ArrayLike) -> float:
    """The first best distance threshold of ``arange(0, 4, 0.01)``, as a cosine.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Cosines in [-1, 1]; the squared distance of the unit vectors is d = 2 − 2·cosine.
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        1 − t/2 for the first t that maximises the share of pairs where (d < t) = is_genuine.

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.

    Notes
    -----
    d and t are compared as float32. The reference hands float32 distances and a float64 t to ``np.less``: NumPy 1
    rounds t to float32 first, NumPy 2 does not. On LFW embeddings the reference's own ROC was seen to differ between
    the two by one pair at one distance; the way of NumPy 1 is followed.

    References
    ----------
    InsightFace, ``recognition/arcface_torch/eval/verification.py``, ``calculate_roc``.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    distances, grid = _distances(values), insightface_distances()
    compared = grid.astype(np.float32)
    true_matches = np.searchsorted(np.sort(distances[genuine]), compared, side="left")
    false_matches = np.searchsorted(np.sort(distances[~genuine]), compared, side="left")
    return float(1 - grid[np.argmax(true_matches - false_matches)] / 2)


def insightface_distances() -> FloatArray:
    """The 400 squared distances 0, 0.01, … 3.99 that the reference tries, ndarray of float64, shape (400,)."""
    return np.arange(*INSIGHTFACE_DISTANCES)


def fit_facex(scores: ArrayLike, is_genuine: ArrayLike) -> float:
    """The first of 1,000 equal steps from the smallest to the largest score that maximises TAR − FMR.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Cosines; rounded to float32, as FaceX-Zoo keeps them.
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        smallest + k·step for a k in 1 … 1000; a pair matches if its score is above it.

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.

    Notes
    -----
    The steps are as NumPy 2 computes them from float32 scores: the step in float32, its multiples in float64.

    References
    ----------
    FaceX-Zoo (arXiv 2101.04407), ``test_protocol/lfw/lfw_evaluator.py``, ``getThreshold``.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    singles = values.astype(np.float32)
    smallest, span = singles.min(), np.ptp(singles)
    grid = smallest + (span / np.float32(FACEX_STEPS)) * np.arange(1, FACEX_STEPS + 1)
    sides = [np.sort(singles[chosen].astype(np.float64)) for chosen in (genuine, ~genuine)]
    tar, fmr = ((len(side) - np.searchsorted(side, grid, side="right")) / len(side) for side in sides)
    return float(grid[np.argmax(tar - fmr)])


def _distances(scores: FloatArray) -> NDArray[np.float32]:
    """Squared distances 2 − 2·score; a score made of a float32 distance gives that very distance back."""
    return (2 - 2 * np.asarray(scores)).astype(np.float32)


def _at_least(scores: FloatArray, thresholds: FloatArray) -> BoolArray:
    return np.asarray(scores >= thresholds)


def _above(scores: FloatArray, thresholds: FloatArray) -> BoolArray:
    return np.asarray(scores > thresholds)


def _nearer_than(scores: FloatArray, thresholds: FloatArray) -> BoolArray:
    """``distance < t`` with the very numbers of the grid: 2 − 2·(1 − t/2) is rounded back to its grid point."""
    grid = insightface_distances().astype(np.float32)
    nearest = np.rint((2 - 2 * np.asarray(thresholds)) / INSIGHTFACE_DISTANCES[2]).astype(np.int64)
    return np.asarray(_distances(scores) < grid[nearest])


STRICT = ThresholdRule(name="strict", fit=fit_observed, matches=_at_least)
INSIGHTFACE = ThresholdRule(name="insightface", fit=fit_insightface, matches=_nearer_than)
FACEX = ThresholdRule(name="facex", fit=fit_facex, matches=_above, equal_is_wrong=True)
