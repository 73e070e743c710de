"""The nearest templates of large galleries by faiss, an optional package, and what they tell of a search.

faiss keeps the best scores while it multiplies and never writes the table of all of them; the index is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnas_face.metrics.checks import BoolArray, FloatArray, IntArray

N_NEAREST = 128
PROBES_AT_ONCE = 1024


def top_of(gallery: NDArray[np.float32], probe: NDArray[np.float32]) -> tuple[NDArray[np.float32], IntArray] | None:
    """Scores (falling) and positions of the nearest templates of each probe; None where faiss is not installed.

    Parameters
    ----------
    gallery, probe : ndarray of float32, shapes (n_templates, embedding_dim) and (n_probes, embedding_dim)

    Returns
    -------
    scores, templates : ndarray of float32 and int64, shape (n_probes, up to N_NEAREST)
    """
    try:
        from faiss import IndexFlatIP
    except ImportError:
        return None
    index = IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    n_nearest = min(N_NEAREST, len(gallery))
    parts = [
        index.search(np.ascontiguousarray(probe[start : start + PROBES_AT_ONCE]), n_nearest)
        for start in range(0, len(probe), PROBES_AT_ONCE)
    ]
    scores, templates = (np.concatenate([part[k] for part in parts]) for k in range(2))
    return scores, templates.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Rank and scores of probes as in `identification.Searches`, meaningful where `is_told`."""

    rank: IntArray
    own: FloatArray
    best_other: FloatArray
    is_told: BoolArray


def standing(
    scores: NDArray[np.float32], templates: IntArray, of_template: IntArray, own_column: IntArray, tolerance: float
) -> Standing:
    """What lists of nearest templates tell of their probes: all, or nothing.

    A list tells the rank if the own subject is in it, and its last score lies below all that could stand in front; and
    the best other score if another subject is in it.

    Parameters
    ----------
    scores, templates : ndarray, shape (n_probes, n_nearest)
        As from `top_of`.
    of_template : ndarray of int64, shape (n_templates,)
        Subject of each template, as a number from 0.
    own_column : ndarray of int64, shape (n_probes,)
        The probe's own subject, −1 where the gallery does not hold it.
    tolerance : float
        As in `identification.search`.
    """
    subject = of_template[templates]
    is_own = subject == own_column[:, None]
    mated = own_column >= 0
    rows = np.arange(len(scores))
    own = np.where(is_own.any(axis=1), scores[rows, np.argmax(is_own, axis=1)], np.nan)
    best_other = np.where(is_own.all(axis=1), np.nan, scores[rows, np.argmin(is_own, axis=1)])
    bar = (own.astype(np.float32) - np.float32(tolerance))[:, None]
    in_front = ~is_own & (scores >= bar)
    rank = np.zeros(len(scores), np.int64)
    for row in np.flatnonzero(mated):
        rank[row] = 1 + len(np.unique(subject[row][in_front[row]]))
    is_complete = (scores[:, -1:] < bar)[:, 0]
    is_told = ~np.isnan(best_other) & (~mated | (is_own.any(axis=1) & is_complete))
    return Standing(rank=rank, own=own.astype(np.float64), best_other=best_other.astype(np.float64), is_told=is_told)
