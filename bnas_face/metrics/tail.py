"""TAR at small FMR targets under resampling of subjects, from the highest impostor scores alone.

The bootstrap of `uncertainty` weighs every pair in every replicate, which millions of impostor pairs do not allow. At a
small FMR only the highest impostor scores decide; of all others just their number per pair of subjects is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import FloatArray, IntArray

MARGIN = 3.0
"""So many times the share of impostors that the largest target admits is kept: replicates differ in weight."""
LEAST_KEPT = 4096
"""So many impostor scores are kept at least."""
MOST_DENSE = 6000
"""Up to so many subjects their pairs are counted in a full table (288 MB), whose products are much faster."""
CHUNK = 25
"""Replicates held in memory at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tail:
    """What decides TAR at small FMR targets.

    Attributes
    ----------
    genuine : ndarray of float64, shape (n_genuine,)
        Scores, ascending.
    genuine_subject : ndarray of int64, shape (n_genuine,)
    impostor : ndarray of float64, shape (n_kept,)
        The highest scores, descending; all that equal the lowest of them are among them.
    impostor_subjects : ndarray of int64, shape (2, n_kept)
    counts : sparse array, shape (n_subjects, n_subjects)
        Number of impostor pairs of each two different subjects.
    own_counts : ndarray of int64, shape (n_subjects,)
        Number of pairs of one subject that are marked impostor (marked wrongly, or people are told from pairs).
    """

    genuine: FloatArray
    genuine_subject: IntArray
    impostor: FloatArray
    impostor_subjects: IntArray
    counts: sparse.csr_array
    own_counts: IntArray


def tail_of(
    scores: NDArray[np.floating],
    is_genuine: NDArray[np.bool_],
    reference_subject: NDArray[np.integer],
    probe_subject: NDArray[np.integer],
    largest_target: float,
    *,
    least: int = LEAST_KEPT,
) -> Tail:
    """Keep of millions of pairs what TAR needs at FMR targets up to `largest_target`.

    Parameters
    ----------
    scores : ndarray of float, shape (n_pairs,)
        Finite.
    is_genuine : ndarray of bool, shape (n_pairs,)
    reference_subject, probe_subject : ndarray of int, shape (n_pairs,)
        From 0; equal numbers mean the same person.
    largest_target : float
        In (0, 1).
    least : int
        Impostor scores to keep at least.

    Raises
    ------
    MetricError
        If a class is missing or a score is not finite.
    """
    if not np.isfinite(scores).all() or is_genuine.all() or not is_genuine.any():
        raise MetricError("TAR at an FMR target needs finite scores of both classes.")
    n_subjects = int(max(reference_subject.max(), probe_subject.max())) + 1
    impostors = np.flatnonzero(~is_genuine)
    n_kept = min(len(impostors), max(least, int(np.ceil(MARGIN * largest_target * len(impostors))) + 1))
    of_impostors = scores[impostors]
    lowest = np.partition(of_impostors, len(impostors) - n_kept)[len(impostors) - n_kept]
    kept = impostors[of_impostors >= lowest]
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    genuine = np.flatnonzero(is_genuine)
    genuine = genuine[np.argsort(scores[genuine], kind="stable")]
    first, second = reference_subject[impostors], probe_subject[impostors]
    return Tail(
        genuine=scores[genuine].astype(np.float64),
        genuine_subject=reference_subject[genuine].astype(np.int64),
        impostor=scores[kept].astype(np.float64),
        impostor_subjects=np.stack([reference_subject[kept], probe_subject[kept]]).astype(np.int64),
        counts=_counts(first, second, n_subjects),
        own_counts=np.bincount(first[first == second], minlength=n_subjects).astype(np.int64),
    )


def _counts(first: NDArray[np.integer], second: NDArray[np.integer], n_subjects: int) -> sparse.csr_array:
    """Pairs of each two different subjects, added up a few million at a time."""
    total = sparse.csr_array((n_subjects, n_subjects), dtype=np.int64)
    for start in range(0, len(first), 1 << 22):
        one, other = first[start : start + (1 << 22)], second[start : start + (1 << 22)]
        differ = (one != other).astype(np.int64)
        total = total + sparse.coo_array((differ, (one, other)), shape=total.shape).tocsr()
    return total


def tar_replicates(tail: Tail, fmr_targets: tuple[float, ...], n_replicates: int = 1000, seed: int = 0) -> FloatArray:
    """TAR at each target in every replicate: subjects drawn with replacement, pairs weighted as in `pair_weights`.

    Parameters
    ----------
    tail : Tail
    fmr_targets : tuple of float
        None above the tail's `largest_target`.
    n_replicates, seed : int

    Returns
    -------
    ndarray of float64, shape (n_replicates, n_targets)
        NaN where a replicate lost a whole class, or so many impostors that the tail does not tell its threshold.
    """
    last = np.flatnonzero(np.append(tail.impostor[1:] != tail.impostor[:-1], True))
    # above this score a genuine pair matches when the group of impostors with this score is the first not admitted
    group_score = tail.impostor[last]
    n_below = np.searchsorted(tail.genuine, group_score, side="right")
    first, second = tail.impostor_subjects
    differ = np.flatnonzero(first != second)
    counts = tail.counts.astype(np.float64)  # whole numbers up to 2**53 stay exact
    if counts.shape[0] <= MOST_DENSE:
        counts = counts.toarray()
    found = []
    for multiplicity in _draws(tail.counts.shape[0], n_replicates, seed):
        weight = multiplicity[:, first]
        weight[:, differ] *= multiplicity[:, second[differ]]
        admitted = np.cumsum(weight, axis=1)[:, last]
        of_others = np.einsum("rs,rs->r", multiplicity.astype(np.float64) @ counts, multiplicity)
        total = np.rint(of_others).astype(np.int64) + multiplicity @ tail.own_counts
        genuine = np.cumsum(multiplicity[:, tail.genuine_subject], axis=1)
        genuine = np.concatenate((np.zeros((len(genuine), 1), np.int64), genuine), axis=1)
        found.append(np.stack([_tar(admitted, total, genuine, n_below, t) for t in fmr_targets], axis=1))
    return np.concatenate(found)


def _draws(n_subjects: int, n_replicates: int, seed: int) -> Iterator[IntArray]:
    """How often each subject was drawn, int64 of shape (up to CHUNK, n_subjects)."""
    rng = np.random.default_rng(seed)
    shares = np.full(n_subjects, 1 / n_subjects)
    for start in range(0, n_replicates, CHUNK):
        yield rng.multinomial(n_subjects, shares, size=min(CHUNK, n_replicates - start))


def _tar(admitted: IntArray, total: IntArray, genuine: IntArray, n_below: IntArray, target: float) -> FloatArray:
    """TAR of each replicate at one target."""
    too_many = admitted > target * total[:, None]
    refused = np.argmax(too_many, axis=1)
    all_genuine = genuine[:, -1]
    below = np.take_along_axis(genuine, n_below[refused][:, None], axis=1)[:, 0]
    is_told = too_many.any(axis=1) & (all_genuine > 0) & (total > 0)
    return np.where(is_told, 1 - below / np.maximum(all_genuine, 1), np.nan)
