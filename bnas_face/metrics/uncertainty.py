"""How sure a number is: Wilson interval, rule of three, and the subject-cluster bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import FloatArray, IntArray, same_length, scored_pairs

CHUNK = 50
"""Replicates held in memory at once, at most."""

CHUNK_BYTES = 1 << 26
"""Size of the weights held at once; with all that is counted from them the peak is about ten times that."""

COUNTED_TWICE = 1.5
"""How often the noise of single impostor pairs is taken off the variance of the replicates, see `corrected`."""

LEAST_DEFINED = 0.95
"""Share of replicates in which a statistic must be defined for its interval to be given."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval and how it was made; the bounds are None where `method` says why."""

    low: float | None
    high: float | None
    method: str


def wilson(n_correct: float, n_pairs: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, pairs taken as independent.

    Parameters
    ----------
    n_correct, n_pairs : int, or float where pairs have weights
        0 <= n_correct <= n_pairs, n_pairs >= 1.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float
        In [0, 1]; low is 0 when nothing, high is 1 when everything is correct.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if not 0 <= n_correct <= n_pairs or n_pairs < 1:
        raise MetricError(
            f"{n_correct} of {n_pairs} is no proportion; expected 0 <= n_correct <= n_pairs, n_pairs >= 1."
        )
    z = float(ndtri(0.5 + confidence / 2))
    share = n_correct / n_pairs
    centre = (share + z * z / (2 * n_pairs)) / (1 + z * z / n_pairs)
    half = z / (1 + z * z / n_pairs) * np.sqrt(share * (1 - share) / n_pairs + z * z / (4 * n_pairs * n_pairs))
    low = 0.0 if n_correct == 0 else float(centre - half)
    high = 1.0 if n_correct == n_pairs else float(centre + half)
    return low, high


def pair_weights(
    reference_subject: ArrayLike, probe_subject: ArrayLike, n_replicates: int, seed: int
) -> Iterator[NDArray[np.int32]]:
    """Weights of the pairs in each bootstrap replicate, in chunks of replicates.

    Subjects are drawn with replacement, as many as there are. A pair weighs the product of the multiplicities of its
    *distinct* subjects: m_i for a genuine pair of subject i, m_i·m_j for an impostor pair of subjects i and j.

    Parameters
    ----------
    reference_subject, probe_subject : array-like of int, shape (n_pairs,)
        Any integers; equal numbers mean the same person.
    n_replicates : int
        >= 1.
    seed : int

    Yields
    ------
    ndarray of int32, shape (up to CHUNK, n_pairs); fewer replicates of more pairs, see `CHUNK_BYTES`

    Notes
    -----
    Each draw of a subject brings its own genuine pairs once; pairs between two draws of one subject do not exist in the
    data, hence m_i and not m_i². For impostor pairs this is the pigeonhole bootstrap, which is slightly wide rather
    than too narrow.

    References
    ----------
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2), 2007, section 3.
    Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap", CVIU 93, 2004.
    """
    first, second = np.asarray(reference_subject), np.asarray(probe_subject)
    same_length("reference_subject", first, "probe_subject", second)
    subjects, index = np.unique(np.concatenate((first, second)), return_inverse=True)
    reference, probe = index[: len(first)], index[len(first) :]
    different = np.flatnonzero(reference != probe)
    rng = np.random.default_rng(seed)
    for n in _chunks(n_replicates, len(first)):
        multiplicity = _multiplicities(len(subjects), n, rng)
        weights = np.take(multiplicity, reference, axis=1)
        weights[:, different] *= np.take(multiplicity, probe[different], axis=1)
        yield weights


def _chunks(n_replicates: int, n_pairs: int) -> Iterator[int]:
    """Sizes of the chunks of replicates; the draws do not depend on them."""
    most = max(1, min(CHUNK, CHUNK_BYTES // (4 * n_pairs)))
    for start in range(0, n_replicates, most):
        yield min(most, n_replicates - start)


def _multiplicities(n_subjects: int, n_replicates: int, rng: np.random.Generator) -> NDArray[np.int32]:
    """How often each subject was drawn, shape (n_replicates, n_subjects); each row sums to n_subjects."""
    drawn = rng.integers(n_subjects, size=(n_replicates, n_subjects))
    drawn += np.arange(n_replicates)[:, None] * n_subjects
    counts = np.bincount(drawn.ravel(), minlength=n_replicates * n_subjects)
    return counts.reshape(n_replicates, n_subjects).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """Statistics of every bootstrap replicate; NaN where a replicate lost a whole class.

    Attributes
    ----------
    auc, eer : ndarray of float64, shape (n_replicates,)
    tar : ndarray of float64, shape (n_replicates, n_targets)
    impostor : Replicates or None
        Replicates in which impostor pairs alone were drawn, as if they shared nobody: what `corrected` needs.
    """

    auc: FloatArray
    eer: FloatArray
    tar: FloatArray
    impostor: Replicates | None = None


def bootstrap(
    scores: ArrayLike,
    is_genuine: ArrayLike,
    reference_subject: ArrayLike,
    probe_subject: ArrayLike,
    fmr_targets: tuple[float, ...] = (),
    n_replicates: int = 1000,
    seed: int = 0,
) -> Replicates:
    """AUC, EER and TAR at FMR targets under resampling of subjects.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)
    reference_subject, probe_subject : array-like of int, shape (n_pairs,)
        See `pair_weights`.
    fmr_targets : tuple of float
    n_replicates, seed : int

    Returns
    -------
    Replicates

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    order = np.argsort(-values, kind="stable")
    values, genuine = values[order], genuine[order]
    subjects = [np.asarray(subject) for subject in (reference_subject, probe_subject)]
    same_length("scores", values, "reference_subject", subjects[0])
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    by_subject = pair_weights(subjects[0][order], subjects[1][order], n_replicates, seed)
    by_pair = _impostor_weights(genuine, order, max(1, n_replicates // 4), seed)
    clustered, impostor = (_statistics(drawn, genuine, last, fmr_targets) for drawn in (by_subject, by_pair))
    return replace(clustered, impostor=impostor)


def _statistics(
    drawn: Iterator[NDArray[np.int32]], genuine: NDArray[np.bool_], last: IntArray, fmr_targets: tuple[float, ...]
) -> Replicates:
    parts = [weighted_statistics(weights, genuine, last, fmr_targets) for weights in drawn]
    auc, eer, tar = (np.concatenate([part[k] for part in parts]) for k in range(3))
    return Replicates(auc=auc, eer=eer, tar=tar)


def _impostor_weights(
    genuine: NDArray[np.bool_], order: IntArray, n_replicates: int, seed: int
) -> Iterator[NDArray[np.int32]]:
    """Weights that draw impostor pairs with replacement and leave genuine ones as they are, in chunks.

    Drawn in the order in which the pairs were given, so that two models with the same pairs get the same draws.
    """
    at = np.flatnonzero(~genuine)
    rank = np.argsort(np.argsort(order[at], kind="stable"), kind="stable")
    rng = np.random.default_rng((seed, 1))
    for n in _chunks(n_replicates, len(genuine)):
        weights = np.ones((n, len(genuine)), np.int32)
        weights[:, at] = _multiplicities(len(at), n, rng)[:, rank]
        yield weights


def weighted_statistics(
    weights: NDArray[np.int32], is_genuine: NDArray[np.bool_], last: IntArray, fmr_targets: tuple[float, ...]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """AUC, EER and TAR of weighted pairs, all replicates at once.

    Parameters
    ----------
    weights : ndarray of int32, shape (n_replicates, n_pairs)
        Pairs by falling score.
    is_genuine : ndarray of bool, shape (n_pairs,)
        In the same order.
    last : ndarray of int64, shape (n_thresholds,)
        Position of the last pair of each group of equal scores.
    fmr_targets : tuple of float

    Returns
    -------
    auc, eer : ndarray of float64, shape (n_replicates,)
    tar : ndarray of float64, shape (n_replicates, len(fmr_targets))
        All NaN where the replicate has no weight on a class.
    """
    fmr, n_impostor = _cumulative_rate(weights, ~is_genuine, last)
    tar, n_genuine = _cumulative_rate(weights, is_genuine, last)
    auc = np.einsum("rt,rt->r", np.diff(fmr, axis=1), (tar[:, 1:] + tar[:, :-1]) / 2)
    # along this axis FMR rises and FNMR falls: the curves cross between two neighbours, see `rates.eer`
    excess = fmr + tar - 1  # FMR − FNMR
    rows = np.arange(len(weights))
    crossed = np.argmax(excess >= -1e-12, axis=1)
    before = np.count_nonzero(excess <= 1e-12, axis=1) - 1
    both = [(1 + fmr[rows, at] - tar[rows, at]) / 2 for at in (crossed, before)]
    at_target = np.array([np.searchsorted(row, fmr_targets, side="right") - 1 for row in fmr], np.int64)
    tars = np.take_along_axis(tar, at_target.reshape(len(weights), len(fmr_targets)), axis=1)
    undefined = (n_impostor == 0) | (n_genuine == 0)
    eer = np.minimum(*both)
    for statistic in (auc, eer, tars):
        statistic[undefined] = np.nan
    return auc, eer, tars


def _cumulative_rate(
    weights: NDArray[np.int32], chosen: NDArray[np.bool_], last: IntArray
) -> tuple[FloatArray, IntArray]:
    """Share of the chosen weight at or above each threshold, 0 to 1, shape (n_replicates, n_thresholds + 1)."""
    passed = np.zeros((len(weights), len(last) + 1), np.int64)
    passed[:, 1:] = np.cumsum(weights * chosen, axis=1, dtype=np.int64)[:, last]
    total = passed[:, -1]
    return passed / np.maximum(total, 1)[:, None], total


def corrected(replicates: FloatArray, impostor_variance: float) -> FloatArray:
    """Replicates of `pair_weights` drawn together around their mean, because they count impostor noise too often.

    The weight m_i·m_j of an impostor pair has three times the variance of one draw, so that the noise of single
    impostor pairs enters the variance of the replicates three times. The variance that impostor pairs alone give is
    taken off `COUNTED_TWICE` times, down to a third at most. Twice would be right for a
    linear statistic of many subjects; 1.5 is what keeps the coverage of AUC, EER and TAR between 93 and 97 % in
    simulations of 100 to 500 subjects (``tests/metrics/test_coverage.py``).

    Parameters
    ----------
    replicates : ndarray of float64, shape (n_replicates,)
        NaN where undefined.
    impostor_variance : float
        Variance of the same statistic when impostor pairs alone are drawn.

    Returns
    -------
    ndarray of float64, shape (n_replicates,)

    References
    ----------
    Owen, "The pigeonhole bootstrap", 2007, theorem 3 (the factor 3); Cameron, Gelbach and Miller, "Robust inference
    with multiway clustering", JBES 29(2), 2011 (subtracting what is counted in both directions).
    """
    defined = replicates[np.isfinite(replicates)]
    variance = float(defined.var()) if len(defined) else 0.0
    if variance == 0:
        return replicates
    share = max(variance - COUNTED_TWICE * impostor_variance, variance / 3) / variance
    centre = float(defined.mean())
    found: FloatArray = centre + np.sqrt(share) * (replicates - centre)
    return found


def percentile_interval(
    replicates: ArrayLike, confidence: float = 0.95, *, impostor: ArrayLike | None = None
) -> Interval:
    """Percentile interval of bootstrap replicates.

    Parameters
    ----------
    replicates : array-like of shape (n_replicates,)
        NaN where the statistic was undefined.
    impostor : array-like of shape (n_other_replicates,), optional
        Replicates of the same statistic in which impostor pairs alone were drawn; the interval is `corrected` by them.
    confidence : float
        In (0, 1).

    Returns
    -------
    Interval
        Without bounds, and with the reason, when more than 5 % of the replicates are undefined.
    """
    values = np.asarray(replicates, np.float64)
    if impostor is not None:
        alone = np.asarray(impostor, np.float64)
        values = corrected(values, float(np.nanvar(alone)) if np.isfinite(alone).any() else 0.0)
    defined = values[np.isfinite(values)]
    if not len(values) or len(defined) < LEAST_DEFINED * len(values):
        reason = f"undefined in {len(values) - len(defined)} of {len(values)} bootstrap replicates: too few subjects"
        return Interval(low=None, high=None, method=reason)
    low, high = np.quantile(defined, (0.5 - confidence / 2, 0.5 + confidence / 2))
    how = "" if impostor is None else ", impostor noise counted once"
    method = f"subject-cluster bootstrap, {len(values)} replicates, {confidence:.0%} percentile{how}"
    return Interval(low=float(low), high=float(high), method=method)
