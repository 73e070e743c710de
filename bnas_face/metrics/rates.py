"""Error rates over all observed thresholds: nothing is interpolated, ties are kept together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from bnas_face.errors import MetricError, TooFewImpostorsError
from bnas_face.metrics.checks import BoolArray, FloatArray, IntArray, scored_pairs


@dataclass(frozen=True, kw_only=True)
class ErrorCurve:
    """Error rates at each distinct observed score, and one step above the largest (where nobody matches).

    Attributes
    ----------
    threshold : ndarray of float64, shape (n_thresholds,)
        Ascending. All are observed scores but the last, the next float64 above the largest score.
    n_false_matches, n_false_non_matches : ndarray of int64, shape (n_thresholds,)
        Impostor pairs with ``score >= threshold``; genuine pairs with ``score < threshold``.
    n_genuine, n_impostor : int
    """

    threshold: FloatArray
    n_false_matches: IntArray
    n_false_non_matches: IntArray
    n_genuine: int
    n_impostor: int

    @property
    def fmr(self) -> FloatArray:
        """False match rate in [0, 1], never rising along the axis; lower is better."""
        return self.n_false_matches / self.n_impostor

    @property
    def fnmr(self) -> FloatArray:
        """False non-match rate in [0, 1], never falling along the axis; lower is better."""
        return self.n_false_non_matches / self.n_genuine


def error_curve(scores: ArrayLike, is_genuine: ArrayLike) -> ErrorCurve:
    """Count both errors at every threshold that can change a decision.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Finite similarities.
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    ErrorCurve
        n_thresholds is the number of distinct scores plus one.

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.
    """
    values, genuine = scored_pairs(scores, is_genuine)
    order = np.argsort(values, kind="stable")
    values, genuine = values[order], genuine[order]
    first = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
    genuine_before = np.concatenate(([0], np.cumsum(genuine)))
    at = np.append(first, len(values))
    n_genuine = int(genuine_before[-1])
    n_impostor = len(values) - n_genuine
    return ErrorCurve(
        threshold=np.append(values[first], np.nextafter(values[-1], np.inf)),
        n_false_matches=n_impostor - (at - genuine_before[at]),
        n_false_non_matches=genuine_before[at],
        n_genuine=n_genuine,
        n_impostor=n_impostor,
    )


def auc(scores: ArrayLike, is_genuine: ArrayLike) -> float:
    """Area under the ROC curve: P(genuine > impostor) + ½ P(genuine = impostor).

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance, higher is better. Exact under ties.

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.

    References
    ----------
    Hanley and McNeil, "The meaning and use of the area under a ROC curve", Radiology 143, 1982: the Mann–Whitney form.
    """
    return auc_of(error_curve(scores, is_genuine))


def auc_of(curve: ErrorCurve) -> float:
    """`auc` of a curve already counted."""
    genuine_here = np.diff(curve.n_false_non_matches)
    impostor_here = -np.diff(curve.n_false_matches)
    impostor_below = curve.n_impostor - curve.n_false_matches[:-1]
    twice_wins = int(np.sum(genuine_here * (2 * impostor_below + impostor_here)))
    return twice_wins / (2 * curve.n_genuine * curve.n_impostor)


@dataclass(frozen=True, kw_only=True)
class EqualErrorRate:
    """EER with both bounds; `low` equals `high` only where the two step curves meet exactly.

    Attributes
    ----------
    value, low, high : float
        In [0, 1], lower is better; `value` is the middle of the bounds.
    threshold : float
        The threshold the bounds are read at.
    """

    value: float
    low: float
    high: float
    threshold: float


def eer(scores: ArrayLike, is_genuine: ArrayLike) -> EqualErrorRate:
    """Equal error rate: where FMR and FNMR cross, with the bounds of the jump.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)

    Returns
    -------
    EqualErrorRate

    Raises
    ------
    MetricError
        If a class is missing, a score is not finite or shapes disagree.

    Notes
    -----
    With t1 the largest threshold where FNMR <= FMR and t2 the smallest where FNMR >= FMR, the bounds are
    [FNMR(t1), FMR(t1)] if their sum is at most that at t2, else [FMR(t2), FNMR(t2)].

    References
    ----------
    Maio, Maltoni, Cappelli, Wayman and Jain, "FVC2000: Fingerprint Verification Competition", IEEE TPAMI 24(3), 2002,
    section 5.2 (EER and its interval).
    """
    return eer_of(error_curve(scores, is_genuine))


def eer_of(curve: ErrorCurve) -> EqualErrorRate:
    """`eer` of a curve already counted."""
    # rates are compared as integers over a common denominator: two equal fractions never differ by a rounding
    fnmr, fmr = curve.n_false_non_matches * curve.n_impostor, curve.n_false_matches * curve.n_genuine
    first = int(np.searchsorted(fnmr - fmr, 0, side="right")) - 1
    second = int(np.argmax(fnmr >= fmr))
    at = first if fmr[first] + fnmr[first] <= fmr[second] + fnmr[second] else second
    low, high = sorted((float(curve.fmr[at]), float(curve.fnmr[at])))
    return EqualErrorRate(value=(low + high) / 2, low=low, high=high, threshold=float(curve.threshold[at]))


@dataclass(frozen=True, kw_only=True)
class TarAtFmr:
    """True accept rate at the lowest threshold whose FMR does not exceed a target.

    Attributes
    ----------
    fmr_target, fmr_achieved : float
        `fmr_achieved` <= `fmr_target`, always.
    tar : float
        1 − FNMR at the threshold, in [0, 1]; higher is better.
    n_false_matches : int
    fmr_upper : float
        Upper 95 % bound of the FMR by the rule of three (3 / n_impostor) when no impostor matched; else `fmr_achieved`.
    threshold : float
    """

    fmr_target: float
    tar: float
    fmr_achieved: float
    n_false_matches: int
    fmr_upper: float
    threshold: float


def tar_at_fmr(scores: ArrayLike, is_genuine: ArrayLike, fmr_target: float) -> TarAtFmr:
    """TAR at an FMR target, strict: the achieved FMR never exceeds the target.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
    is_genuine : array-like of bool, shape (n_pairs,)
    fmr_target : float
        In (0, 1).

    Returns
    -------
    TarAtFmr

    Raises
    ------
    TooFewImpostorsError
        If `fmr_target` < 1 / n_impostor: the data cannot tell such a rate from zero.
    MetricError
        If the target leaves (0, 1), a class is missing, a score is not finite or shapes disagree.
    """
    return tar_of(error_curve(scores, is_genuine), fmr_target)


def tar_of(curve: ErrorCurve, fmr_target: float) -> TarAtFmr:
    """`tar_at_fmr` of a curve already counted."""
    if not 0 < fmr_target < 1:
        raise MetricError(f"FMR target {fmr_target:g} was given; expected a rate between 0 and 1, such as 0.001.")
    if fmr_target < 1 / curve.n_impostor:
        raise TooFewImpostorsError(
            f"Insufficient data: FMR target {fmr_target:g} needs at least {int(np.ceil(1 / fmr_target))} impostor "
            f"pairs, there are {curve.n_impostor}. Drop the target or pool the folds."
        )
    fmr = curve.fmr
    at = int(np.argmax(fmr <= fmr_target))
    n_false = int(curve.n_false_matches[at])
    return TarAtFmr(
        fmr_target=fmr_target,
        tar=(curve.n_genuine - int(curve.n_false_non_matches[at])) / curve.n_genuine,
        fmr_achieved=float(fmr[at]),
        n_false_matches=n_false,
        fmr_upper=float(fmr[at]) if n_false else min(1.0, 3 / curve.n_impostor),
        threshold=float(curve.threshold[at]),
    )


def reduce_curve(curve: ErrorCurve, n_points: int = 400) -> BoolArray:
    """Mark the points worth drawing: spread evenly along the curve, on linear and normal-deviate axes at once.

    Parameters
    ----------
    curve : ErrorCurve
    n_points : int
        At most this many points are kept, at least 2; first and last always are.

    Returns
    -------
    ndarray of bool, shape (n_thresholds,)
        True for the points to keep. No point is moved or invented.
    """
    if n_points < 2:
        raise MetricError(f"n_points is {n_points}; a curve needs at least 2.")
    keep = np.zeros(len(curve.threshold), np.bool_)
    if len(keep) <= n_points:
        keep[:] = True
        return keep
    steps = np.zeros(len(keep) - 1)
    for rate, n in ((curve.fmr, curve.n_impostor), (curve.fnmr, curve.n_genuine)):
        deviate = ndtri(np.clip(rate, 0.5 / n, 1 - 0.5 / n))
        steps += np.abs(np.diff(deviate)) / 3 + np.abs(np.diff(rate))
    length = np.concatenate(([0.0], np.cumsum(steps)))
    keep[np.searchsorted(length, np.linspace(0, length[-1], n_points)).clip(0, len(keep) - 1)] = True
    keep[[0, -1]] = True
    return keep
