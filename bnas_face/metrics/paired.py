"""Two models on the same pairs: how large the gap is, and whether it could be chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import BoolArray, FloatArray, same_length
from bnas_face.metrics.uncertainty import corrected, pair_weights

ALPHA = 0.05


def discordant(is_correct: ArrayLike, other_is_correct: ArrayLike) -> tuple[int, int]:
    """How many pairs only the first, and only the other model decided rightly.

    Parameters
    ----------
    is_correct, other_is_correct : array-like of bool, shape (n_pairs,)
        The same pairs in the same order.

    Returns
    -------
    n_only_first, n_only_other : int
    """
    first, other = _same_pairs(is_correct, other_is_correct)
    return int(np.count_nonzero(first & ~other)), int(np.count_nonzero(~first & other))


def gain(is_correct: ArrayLike, other_is_correct: ArrayLike) -> float:
    """Share of pairs that the first model decides rightly minus that of the other, in [-1, 1]; parameters as above."""
    b, c = discordant(is_correct, other_is_correct)
    return (b - c) / len(np.asarray(is_correct))


def mcnemar(is_correct: ArrayLike, other_is_correct: ArrayLike) -> float:
    """Exact two-sided McNemar p-value: min(1, 2·P(X <= min(b, c))), X ~ Binomial(b + c, ½).

    Parameters
    ----------
    is_correct, other_is_correct : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        In (0, 1]; 1 when no pair is discordant.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12, 1947; the
    exact form is the sign test on the discordant pairs.
    """
    b, c = discordant(is_correct, other_is_correct)
    return float(min(1.0, 2 * binom.cdf(min(b, c), b + c, 0.5)))


def smallest_gap(n_discordant: int, n_pairs: int, alpha: float = ALPHA) -> float | None:
    """The smallest gap that McNemar's exact test calls significant where `n_discordant` pairs are discordant.

    (n_discordant − 2·k) / n_pairs for the largest k with 2·P(X <= k) < alpha, X ~ Binomial(n_discordant, ½).

    Parameters
    ----------
    n_discordant, n_pairs : int
        0 <= n_discordant <= n_pairs, n_pairs >= 1.
    alpha : float
        In (0, 1).

    Returns
    -------
    float or None
        A difference of two accuracies, in (0, 1]; None where even all discordant pairs on one side would not do.

    Raises
    ------
    MetricError
        If the counts are no counts of a part and its whole.
    """
    if not 0 <= n_discordant <= n_pairs or n_pairs < 1:
        raise MetricError(f"{n_discordant} discordant of {n_pairs} pairs; expected 0 <= n_discordant <= n_pairs.")
    p_values = 2 * binom.cdf(np.arange(n_discordant // 2 + 1), n_discordant, 0.5)
    n_significant = int(np.count_nonzero(p_values < alpha))  # p rises with k
    return (n_discordant - 2 * (n_significant - 1)) / n_pairs if n_significant else None


def difference_replicates(
    is_correct: ArrayLike,
    other_is_correct: ArrayLike,
    reference_subject: ArrayLike,
    probe_subject: ArrayLike,
    n_replicates: int = 1000,
    seed: int = 0,
    *,
    weight: FloatArray | None = None,
) -> FloatArray:
    """Accuracy of the first minus accuracy of the other model under resampling of subjects.

    Both models are reweighted alike, so what is hard for both cancels. The decisions stay as they were made: the
    interval does not include the (small) uncertainty of the fitted thresholds.

    Parameters
    ----------
    is_correct, other_is_correct : array-like of bool, shape (n_pairs,)
    reference_subject, probe_subject : array-like of int, shape (n_pairs,)
        See `uncertainty.pair_weights`.
    n_replicates, seed : int
    weight : ndarray of float64, shape (n_pairs,), optional
        How much each pair counts in the accuracy, as from `folds.weights`; None: all alike.

    Returns
    -------
    ndarray of float64, shape (n_replicates,)
        Around the observed difference, `corrected`; NaN where no pair kept any weight.
    """
    first, other = _same_pairs(is_correct, other_is_correct)
    reference, probe = np.asarray(reference_subject), np.asarray(probe_subject)
    same_length("is_correct", first, "reference_subject", reference)
    counts = np.ones(len(first)) if weight is None else weight
    gain = (first.astype(np.float64) - other) * counts
    parts = []
    for weights in pair_weights(reference, probe, n_replicates, seed):
        total = weights.sum(axis=1, dtype=np.float64) if weight is None else weights @ counts
        parts.append(np.where(total > 0, weights @ gain / np.where(total > 0, total, 1), np.nan))
    of_impostors = (gain - counts * gain.sum() / counts.sum())[reference != probe]
    return corrected(np.concatenate(parts), float(of_impostors @ of_impostors) / len(gain) ** 2)


def independent_difference_replicates(
    is_correct: ArrayLike, other_is_correct: ArrayLike, n_replicates: int = 1000, seed: int = 0
) -> FloatArray:
    """As `difference_replicates` where the cases are independent (images of different objects): the plain bootstrap.

    A replicate draws n cases with replacement; only how many of them are right for one model alone matters, which is
    multinomial with the observed shares.

    Parameters
    ----------
    is_correct, other_is_correct : array-like of bool, shape (n_cases,)
        n_cases >= 1.
    n_replicates, seed : int

    Returns
    -------
    ndarray of float64, shape (n_replicates,)
        In [-1, 1].

    Raises
    ------
    MetricError
        If there is no case, or the lengths differ.
    """
    b, c = discordant(is_correct, other_is_correct)
    n_cases = len(np.asarray(is_correct))
    shares = np.array([b, c, n_cases - b - c]) / n_cases
    drawn = np.random.default_rng(seed).multinomial(n_cases, shares, size=n_replicates)
    return (drawn[:, 0] - drawn[:, 1]) / n_cases


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values, in the order given.

    Parameters
    ----------
    p_values : array-like of shape (n_comparisons,)
        In [0, 1].

    Returns
    -------
    ndarray of float64, shape (n_comparisons,)
        Each at least its p-value, at most 1.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise MetricError("Holm's correction needs p-values between 0 and 1 along one axis.")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1)
    return adjusted


def _same_pairs(is_correct: ArrayLike, other_is_correct: ArrayLike) -> tuple[BoolArray, BoolArray]:
    first, other = np.asarray(is_correct, np.bool_), np.asarray(other_is_correct, np.bool_)
    same_length("is_correct", first, "other_is_correct", other)
    return first, other
