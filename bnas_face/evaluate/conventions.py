"""Conventions: how scores become decisions and an accuracy. Every printed number carries its stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnas_face import tables
from bnas_face.metrics import folds, thresholds

FAILURES = (
    "a pair with a failed image has no score: it counts as a wrong decision in the accuracy and is left out of the "
    "other numbers, which are over completed comparisons"
)
N_RUNS = 10


@dataclass(frozen=True, kw_only=True)
class Convention:
    """A name on the command line, the threshold rule behind it, and what it says of itself.

    Attributes
    ----------
    name : str
    rule : ThresholdRule
    arithmetic : str
        How scores are computed, one of `score.ARITHMETIC`.
    flip : bool
        Whether the embedding of an image is f(x) + f(flip x), or f(x) alone.
    ten_runs : bool
        Whether folds are ten consecutive runs of the list, whatever folds the protocol has.
    stamp : str
    """

    name: str
    rule: thresholds.ThresholdRule
    arithmetic: str = "float64"
    flip: bool = True
    ten_runs: bool = False
    stamp: str


STRICT = Convention(
    name="strict",
    rule=thresholds.STRICT,
    stamp="strict: thresholds are observed scores fitted on the other folds (the middle one of equally good ones), "
    f"match if score >= threshold, FMR never exceeds its target, nothing is interpolated; {FAILURES}",
)
INSIGHTFACE = Convention(
    name="insightface",
    rule=thresholds.INSIGHTFACE,
    arithmetic="float32 distance",
    ten_runs=True,
    stamp="insightface: accuracy by squared distance < t in float32, first best t of arange(0, 4, 0.01) on nine of ten "
    "consecutive folds (thresholds are given as cosines, 1 - t/2); AUC, EER and TAR by the strict rule, because the "
    f"reference's own VAL raises on duplicate FARs with SciPy 1.9 and newer; {FAILURES}",
)
FACEX = Convention(
    name="facex",
    rule=thresholds.FACEX,
    arithmetic="float32 cosine",
    flip=False,
    ten_runs=True,
    stamp="facex: one view of each image, no flip; match if the float32 cosine > t on ten consecutive folds, t the "
    "first best by TAR - FMR of 1,000 equal steps from the smallest to the largest score of the other nine; a score "
    'equal to t is wrong in either class; FaceX-Zoo prints the standard error of the mean as its "standard deviation"; '
    f"AUC, EER and TAR by the strict rule; {FAILURES}",
)
ALL = (STRICT, INSIGHTFACE, FACEX)


def names() -> tuple[str, ...]:
    """Names of all conventions."""
    return tuple(convention.name for convention in ALL)


def get(name: str) -> Convention:
    """The convention of a name; raises `UnknownNameError` for a typo."""
    tables.check_known("convention", name, names())
    return next(convention for convention in ALL if convention.name == name)


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What a convention made of the tested pairs.

    Attributes
    ----------
    tested : ndarray of int64, shape (n_tested,)
        Positions of the tested pairs: all of them, or fold 1 under scheme ``"train_test"``.
    fold : ndarray of int64, shape (n_tested,)
        Fold each pair was decided in: the protocol's, or the convention's ten runs.
    threshold : ndarray of float64, shape (n_tested,)
        Threshold each pair was decided at.
    is_match, is_correct, completed : ndarray of bool, shape (n_tested,)
        A pair that was not completed is no match and not correct.
    fold_threshold : ndarray of float64, shape (n_tested_folds,)
        In the order of ``accuracy.per_fold``; NaN for a fold of which no pair was completed.
    accuracy : Accuracy
    """

    tested: NDArray[np.int64]
    fold: NDArray[np.int64]
    threshold: NDArray[np.float64]
    is_match: NDArray[np.bool_]
    is_correct: NDArray[np.bool_]
    completed: NDArray[np.bool_]
    fold_threshold: NDArray[np.float64]
    accuracy: folds.Accuracy


def decide(
    convention: Convention,
    scheme: str,
    scores: NDArray[np.float64],
    is_genuine: NDArray[np.bool_],
    fold: NDArray[np.int64],
) -> Verdicts:
    """Fit thresholds, decide, and count.

    Parameters
    ----------
    convention : Convention
    scheme : str
        ``"k_fold"`` or ``"train_test"`` (threshold from fold 0, decisions on fold 1).
    scores : ndarray of float64, shape (n_pairs,)
        NaN where a pair could not be compared. Such a pair fits no threshold and is never correct, so that refusing
        hard pairs cannot raise an accuracy.
    is_genuine : ndarray of bool, shape (n_pairs,)
    fold : ndarray of int64, shape (n_pairs,)
        Unused by ``insightface`` and ``facex`` under ``"k_fold"``: both cut the list into ten consecutive runs.

    Raises
    ------
    MetricError
        If some training part lacks a class.
    """
    if convention.ten_runs and scheme == "k_fold":
        fold = folds.consecutive_folds(len(scores), N_RUNS)
    completed = ~np.isnan(scores)
    tested = np.flatnonzero(fold == 1) if scheme == "train_test" else np.arange(len(scores))
    threshold = np.full(len(scores), np.nan)
    if scheme == "train_test":
        fit = completed & (fold == 0)
        use = completed & (fold == 1)
        decisions = folds.transferred(scores[fit], is_genuine[fit], scores[use], convention.rule)
        threshold[:] = decisions.fold_threshold[0]
        fold_threshold = decisions.fold_threshold
    else:
        use = completed
        decisions = folds.cross_validated(scores[use], is_genuine[use], fold[use], convention.rule)
        threshold = _by_fold(decisions.fold_threshold, fold[use], fold)
        fold_threshold = _by_fold(decisions.fold_threshold, fold[use], np.unique(fold))
    is_match = np.zeros(len(scores), np.bool_)
    is_match[use] = decisions.is_match
    is_correct = completed & (is_match == is_genuine)
    if convention.rule.equal_is_wrong:
        is_correct &= scores != threshold
    return Verdicts(
        tested=tested,
        fold=fold[tested],
        threshold=threshold[tested],
        is_match=is_match[tested],
        is_correct=is_correct[tested],
        completed=completed[tested],
        fold_threshold=fold_threshold,
        accuracy=folds.accuracy(is_correct[tested], fold[tested]),
    )


def _by_fold(
    fold_threshold: NDArray[np.float64], completed_fold: NDArray[np.int64], fold: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Threshold of every pair by its fold; NaN in a fold of which no pair was completed."""
    numbers = np.unique(completed_fold)
    at = np.searchsorted(numbers, fold).clip(max=len(numbers) - 1)
    return np.where(numbers[at] == fold, fold_threshold[at], np.nan)
