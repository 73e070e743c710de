"""1:N identification: every probe is searched in a gallery of people, some of whom it does not hold (open set).

A gallery holds one or more templates of every subject; the score of a subject is the best of its templates. A probe
is *mated* if its subject is in the gallery. Ties count against the system, as in `recognition.ranks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnas_face.errors import MetricError, TooFewImpostorsError
from bnas_face.metrics import nearest
from bnas_face.metrics.checks import BoolArray, FloatArray, IntArray, scored_pairs

TOLERANCE = 2.0**-20
"""Scores of float32 unit vectors nearer than this (1e-6) are equal: a matrix product rounds equal rows differently."""

CHUNK_BYTES = 1 << 27
"""Size of the scores held at once; with the comparison on them the peak is about twice that."""

FAISS_FROM = 50_000
"""Templates from which faiss is asked, where it is installed: in 157,871 it took a sixth less time than numpy alone."""

UNKNOWN = -1
"""Subject of whom nothing is known: in the gallery a person of their own (a distractor), as a probe non-mated."""

MISSED = 0
"""Rank of a mated probe whose own subject was not found at all, because the probe or all its templates failed."""


@dataclass(frozen=True, kw_only=True)
class Searches:
    """What is kept of every search.

    Attributes
    ----------
    is_mated : ndarray of bool, shape (n_probes,)
    rank : ndarray of int64, shape (n_probes,)
        Of the probe's own subject: 1 + the number of other subjects that score at least as high. `MISSED` (0) where the
        probe is not mated.
    own : ndarray of float64, shape (n_probes,)
        Score of the own subject; NaN where the probe is not mated.
    best_other : ndarray of float64, shape (n_probes,)
        Best score of any other subject; −inf where the gallery holds nobody else.
    """

    is_mated: BoolArray
    rank: IntArray
    own: FloatArray
    best_other: FloatArray


def search(
    probe: NDArray[np.float32],
    gallery: NDArray[np.float32],
    probe_subject: ArrayLike,
    gallery_subject: ArrayLike,
    *,
    tolerance: float = TOLERANCE,
    chunk_bytes: int = CHUNK_BYTES,
) -> Searches:
    """Search every probe in the whole gallery, exactly, a few probes at a time.

    Where the package faiss is installed, galleries from `FAISS_FROM` templates on are searched by its exact flat index
    first; a probe whose standing its nearest templates do not tell is searched here. The numbers are the same.

    Parameters
    ----------
    probe : ndarray of float32, shape (n_probes, embedding_dim)
        Finite; unit length if scores are to be cosines. Higher products mean more alike.
    gallery : ndarray of float32, shape (n_templates, embedding_dim)
    probe_subject, gallery_subject : array-like of int, shapes (n_probes,) and (n_templates,)
        Equal numbers mean the same person; `UNKNOWN` (−1) see there.
    tolerance : float
        >= 0; another subject whose score is at least the own one minus this stands in front of it.
    chunk_bytes : int
        Memory for scores; at least one probe is searched at a time.

    Returns
    -------
    Searches

    Raises
    ------
    MetricError
        If shapes disagree, an embedding is not finite, or there is no probe or no gallery.
    """
    people = np.asarray(probe_subject, np.int64)
    column_of = _Columns(np.asarray(gallery_subject, np.int64))
    _check(probe, gallery, people, column_of.subject)
    ordered = np.ascontiguousarray(gallery[column_of.order])
    own_column = column_of.find(people)
    rank = np.full(len(probe), MISSED, np.int64)
    own, best_other = np.full(len(probe), np.nan), np.full(len(probe), np.nan)
    rows = np.arange(len(probe))
    if len(gallery) >= FAISS_FROM and (top := nearest.top_of(ordered, probe)) is not None:
        of_template = np.repeat(np.arange(len(column_of.first)), np.diff(column_of.first, append=len(gallery)))
        found = nearest.standing(*top, of_template, own_column, tolerance)
        rank, own, best_other = found.rank, found.own, found.best_other
        rows = np.flatnonzero(~found.is_told)
    n_rows = max(1, chunk_bytes // (4 * len(gallery)))
    for start in range(0, len(rows), n_rows):
        part = rows[start : start + n_rows]
        scores = column_of.best(probe[part] @ ordered.T)
        rank[part], own[part], best_other[part] = _standing(scores, own_column[part], tolerance)
    return Searches(is_mated=own_column >= 0, rank=rank, own=own, best_other=best_other)


class _Columns:
    """Which templates are whose: one column of scores per subject of the gallery."""

    def __init__(self, gallery_subject: IntArray) -> None:
        self.subject = gallery_subject
        is_known = gallery_subject != UNKNOWN
        above = int(gallery_subject.max(initial=0)) + 1
        number = np.where(is_known, gallery_subject, above + np.arange(len(gallery_subject)))
        self.order = np.argsort(number, kind="stable")
        ordered = number[self.order]
        self.first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[: len(ordered)]
        self.people = ordered[self.first]
        self.n_known = int(np.count_nonzero(self.people < above))

    def find(self, probe_subject: IntArray) -> IntArray:
        """Column of each probe's own subject; −1 where the gallery does not hold it."""
        known = self.people[: self.n_known]
        if not len(known):
            return np.full(len(probe_subject), -1, np.int64)
        at = np.searchsorted(known, probe_subject).clip(max=len(known) - 1)
        return np.where(known[at] == probe_subject, at, -1)

    def best(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Best score of every subject, shape (n_probes, n_subjects)."""
        if len(self.first) == scores.shape[1]:
            return scores
        return np.asarray(np.maximum.reduceat(scores, self.first, axis=1), np.float32)


def _standing(
    scores: NDArray[np.float32], own_column: IntArray, tolerance: float
) -> tuple[IntArray, NDArray[np.float32], NDArray[np.float32]]:
    """Rank and score of the own subject, and the best score of the others, of some probes; `scores` is written to."""
    mated = np.flatnonzero(own_column >= 0)
    own = np.full(len(scores), np.nan, np.float32)
    rank = np.full(len(scores), MISSED, np.int64)
    own[mated] = scores[mated, own_column[mated]]
    scores[mated, own_column[mated]] = -np.inf
    bar = np.where(own_column >= 0, own - np.float32(tolerance), np.inf).astype(np.float32)
    n_in_front = np.count_nonzero(scores >= bar[:, None], axis=1)
    rank[mated] = 1 + n_in_front[mated]
    return rank, own, scores.max(axis=1)


def _check(
    probe: NDArray[np.float32], gallery: NDArray[np.float32], probe_subject: IntArray, gallery_subject: IntArray
) -> None:
    for name, vectors, subject in (("probe", probe, probe_subject), ("gallery", gallery, gallery_subject)):
        if vectors.ndim != 2 or subject.shape != vectors.shape[:1]:
            raise MetricError(
                f"The {name} has embeddings of shape {vectors.shape} and subjects of shape {subject.shape}; "
                "expected (n, embedding_dim) and (n,)."
            )
        if not len(vectors):
            raise MetricError(f"The {name} is empty; identification needs at least one probe and one template.")
        if not np.isfinite(vectors).all():
            raise MetricError(f"Some embeddings of the {name} are not finite. Count them as failed and leave them out.")
        if subject.min() < UNKNOWN:
            raise MetricError(f"A subject of the {name} is {subject.min()}; expected numbers from 0, or −1 (unknown).")
    if probe.shape[1] != gallery.shape[1]:
        raise MetricError(
            f"Probes have {probe.shape[1]} dimensions and gallery templates {gallery.shape[1]}; use one network."
        )


def n_found(rank: ArrayLike, k: int) -> int:
    """How many mated probes have their own subject among the first `k`.

    Parameters
    ----------
    rank : array-like of int, shape (n_mated,)
        As in `Searches`, of mated probes; `MISSED` counts as not found.
    k : int
        >= 1.
    """
    places = np.asarray(rank)
    return int(np.count_nonzero((places >= 1) & (places <= k)))


def cmc(rank: ArrayLike, n_ranks: int) -> FloatArray:
    """Cumulative match characteristic: share of mated probes whose own subject is among the first k, k = 1 … n_ranks.

    Parameters
    ----------
    rank : array-like of int, shape (n_mated,)
        Of mated probes only; `MISSED` counts as not found at any rank.
    n_ranks : int
        >= 1.

    Returns
    -------
    ndarray of float64, shape (n_ranks,)
        In [0, 1], never falling; higher is better.

    Raises
    ------
    MetricError
        If there is no mated probe, a rank is negative, or `n_ranks` is not positive.
    """
    places = np.asarray(rank, np.int64)
    if places.ndim != 1 or not len(places) or n_ranks < 1:
        raise MetricError(
            f"CMC of {places.size} mated probes to rank {n_ranks}; it needs at least one probe whose subject is in the "
            "gallery, and one rank."
        )
    if places.min() < 0:
        raise MetricError(f"A rank is {places.min()}; expected 1 or more, or 0 where nothing was found.")
    counts = np.bincount(places[(places >= 1) & (places <= n_ranks)], minlength=n_ranks + 1)
    return np.cumsum(counts[1:]) / len(places)


@dataclass(frozen=True, kw_only=True)
class TpirAtFpir:
    """Open-set identification at the lowest threshold whose FPIR does not exceed a target.

    Attributes
    ----------
    fpir_target, fpir_achieved : float
        `fpir_achieved` <= `fpir_target`, always.
    n_false_positives : int
        Non-mated probes for which anybody was returned.
    tpir, fnir : float
        Share of mated probes that return their own subject first and at or above the threshold; 1 − that.
    n_true_positives : int
    threshold : float
    """

    fpir_target: float
    fpir_achieved: float
    n_false_positives: int
    tpir: float
    fnir: float
    n_true_positives: int
    threshold: float


def tpir_at_fpir(rank: ArrayLike, own: ArrayLike, nonmated_best: ArrayLike, fpir_target: float) -> TpirAtFpir:
    """TPIR at an FPIR target, strict: the achieved FPIR never exceeds the target, ties are kept together.

    FPIR(t) = share of non-mated probes whose best score is >= t; TPIR(t) = share of mated probes with rank 1 and own
    score >= t.

    Parameters
    ----------
    rank : array-like of int, shape (n_mated,)
        Of the own subject; `MISSED` (0) is a miss at every threshold.
    own : array-like of float, shape (n_mated,)
        Score of the own subject; not looked at where `rank` is `MISSED`.
    nonmated_best : array-like of float, shape (n_nonmated,)
        Best score of each non-mated probe.
    fpir_target : float
        In (0, 1).

    Returns
    -------
    TpirAtFpir

    Raises
    ------
    TooFewImpostorsError
        If `fpir_target` < 1 / n_nonmated: the data cannot tell such a rate from zero.
    MetricError
        If the target leaves (0, 1), no mated probe was searched, a score is not finite or shapes disagree.

    References
    ----------
    ISO/IEC 19795-1:2021, false positive and true positive identification rate (here of rank 1).
    """
    places, scores = np.asarray(rank, np.int64), np.asarray(own, np.float64)
    others = np.asarray(nonmated_best, np.float64)
    if places.shape != scores.shape or places.ndim != 1 or others.ndim != 1 or not len(places):
        raise MetricError(
            f"Ranks of shape {places.shape} and scores of shape {scores.shape}; both must be (n_mated,), of one probe "
            "or more."
        )
    _check_target(fpir_target, len(others))
    found = places != MISSED
    observed, _ = scored_pairs(np.concatenate((scores[found], others)), np.zeros(len(others) + found.sum()), both=False)
    thresholds = np.unique(observed)
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    n_false = len(others) - np.searchsorted(np.sort(others), thresholds, side="left")
    at = int(np.argmax(n_false / len(others) <= fpir_target))
    threshold = float(thresholds[at])
    n_right = int(np.count_nonzero((places[found] == 1) & (scores[found] >= threshold)))
    return TpirAtFpir(
        fpir_target=fpir_target,
        fpir_achieved=float(n_false[at] / len(others)),
        n_false_positives=int(n_false[at]),
        tpir=n_right / len(places),
        fnir=(len(places) - n_right) / len(places),
        n_true_positives=n_right,
        threshold=threshold,
    )


def _check_target(fpir_target: float, n_nonmated: int) -> None:
    if not 0 < fpir_target < 1:
        raise MetricError(f"FPIR target {fpir_target:g} was given; expected a rate between 0 and 1, such as 0.01.")
    if n_nonmated == 0:
        raise TooFewImpostorsError("Every probe's subject is in the gallery (closed set); FPIR needs non-mated probes.")
    if fpir_target < 1 / n_nonmated:
        raise TooFewImpostorsError(
            f"Insufficient data: FPIR target {fpir_target:g} needs at least {int(np.ceil(1 / fpir_target))} non-mated "
            f"probes, there are {n_nonmated}. Drop the target or use a larger probe set."
        )
