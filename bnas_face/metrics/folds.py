"""Decisions with a threshold that never saw the pair, and accuracy over folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import BoolArray, FloatArray, IntArray, same_length, scored_pairs
from bnas_face.metrics.thresholds import ThresholdRule


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What was decided of each pair, and at which threshold.

    Attributes
    ----------
    is_match : ndarray of bool, shape (n_pairs,)
    threshold : ndarray of float64, shape (n_pairs,)
        The threshold each pair was decided at.
    fold_threshold : ndarray of float64, shape (n_folds,)
        The threshold of each tested fold, in the order of their numbers.
    """

    is_match: BoolArray
    threshold: FloatArray
    fold_threshold: FloatArray


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of right decisions: mean over folds, and both things that others call "±".

    Attributes
    ----------
    value : float
        Mean over folds, in [0, 1]; higher is better.
    std : float or None
        Population standard deviation over folds (ddof 0); None with one fold.
    sem : float or None
        Standard error of the mean: sample standard deviation (ddof 1) / sqrt(n_folds); None with one fold.
    per_fold : ndarray of float64, shape (n_folds,)
    n_correct, n_pairs : int
        Pooled counts.
    """

    value: float
    std: float | None
    sem: float | None
    per_fold: FloatArray
    n_correct: int
    n_pairs: int


def consecutive_folds(n_pairs: int, n_folds: int) -> IntArray:
    """Fold of each pair when cut into runs as equal as possible, longer ones first (``KFold(n_folds, shuffle=False)``).

    Returns
    -------
    ndarray of int64, shape (n_pairs,)
        Values 0 … n_folds − 1.
    """
    if not 2 <= n_folds <= n_pairs:
        raise MetricError(f"{n_pairs} pairs cannot be cut into {n_folds} folds; expected 2 <= n_folds <= n_pairs.")
    sizes = np.full(n_folds, n_pairs // n_folds)
    sizes[: n_pairs % n_folds] += 1
    return np.repeat(np.arange(n_folds, dtype=np.int64), sizes)


def cross_validated(scores: ArrayLike, is_genuine: ArrayLike, fold: ArrayLike, rule: ThresholdRule) -> Decisions:
    """Decide each fold at the threshold fitted on all other folds.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Finite similarities.
    is_genuine : array-like of bool, shape (n_pairs,)
    fold : array-like of int, shape (n_pairs,)
        At least two different values.
    rule : ThresholdRule
        `thresholds.STRICT` or `thresholds.INSIGHTFACE`.

    Returns
    -------
    Decisions

    Raises
    ------
    MetricError
        If there is one fold only, or the other folds of some fold lack a class.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    folds = np.asarray(fold)
    same_length("scores", values, "fold", folds)
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise MetricError(f"All pairs are in fold {numbers[0]}; a threshold cannot be fitted on other folds.")
    fitted = np.array([rule.fit(values[folds != k], genuine[folds != k]) for k in numbers])
    threshold = fitted[np.searchsorted(numbers, folds)]
    return Decisions(is_match=rule.matches(values, threshold), threshold=threshold, fold_threshold=fitted)


def transferred(
    development_scores: ArrayLike, development_is_genuine: ArrayLike, scores: ArrayLike, rule: ThresholdRule
) -> Decisions:
    """Decide `scores` at the one threshold fitted on development pairs.

    Parameters
    ----------
    development_scores : array-like of shape (n_development_pairs,)
    development_is_genuine : array-like of bool, shape (n_development_pairs,)
    scores : array-like of shape (n_pairs,)
        Finite similarities of the pairs to decide.
    rule : ThresholdRule

    Returns
    -------
    Decisions
        Of the n_pairs tested; `fold_threshold` has one entry.
    """
    fitted = rule.fit(*scored_pairs(development_scores, development_is_genuine))
    values = np.asarray(scores, np.float64)
    threshold = np.full(values.shape, fitted)
    return Decisions(is_match=rule.matches(values, threshold), threshold=threshold, fold_threshold=np.array([fitted]))


def accuracy(is_correct: ArrayLike, fold: ArrayLike) -> Accuracy:
    """Accuracy per fold, its mean and its spread.

    Parameters
    ----------
    is_correct : array-like of bool, shape (n_pairs,)
    fold : array-like of int, shape (n_pairs,)

    Returns
    -------
    Accuracy
    """
    correct, folds = np.asarray(is_correct, np.bool_), np.asarray(fold)
    same_length("is_correct", correct, "fold", folds)
    _, index = np.unique(folds, return_inverse=True)
    per_fold = np.bincount(index, correct) / np.bincount(index)
    several = len(per_fold) > 1
    return Accuracy(
        value=float(per_fold.mean()),
        std=float(per_fold.std()) if several else None,
        sem=float(per_fold.std(ddof=1) / np.sqrt(len(per_fold))) if several else None,
        per_fold=per_fold,
        n_correct=int(np.count_nonzero(correct)),
        n_pairs=len(correct),
    )


def weights(fold: ArrayLike) -> FloatArray | None:
    """Weight of each pair in the mean over folds, with mean 1; None where folds have one size and all weigh alike.

    n_pairs / (n_folds · size of the pair's fold): a pair of a small fold counts more.

    Parameters
    ----------
    fold : array-like of int, shape (n_pairs,)

    Returns
    -------
    ndarray of float64, shape (n_pairs,), or None
    """
    _, index, sizes = np.unique(np.asarray(fold), return_inverse=True, return_counts=True)
    return None if np.ptp(sizes) == 0 else len(index) / (len(sizes) * sizes[index])


def effective_size(weight: FloatArray) -> float:
    """As many pairs of equal weight tell as much: (Σ w)² / Σ w².

    References
    ----------
    Kish, "Survey Sampling", Wiley 1965, section 11.7.
    """
    return float(weight.sum() ** 2 / (weight @ weight))
