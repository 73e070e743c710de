"""Scores: the cosine of two embeddings, and what becomes of a pair that could not be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import MetricError

ARITHMETIC = ("float64", "float32 distance", "float32 cosine")


def pair_scores(
    embeddings: NDArray[np.float32],
    failed: NDArray[np.bool_],
    reference: NDArray[np.int64],
    probe: NDArray[np.int64],
    *,
    arithmetic: str = "float64",
) -> NDArray[np.float64]:
    """Cosine similarity of each pair: 1 − ‖a − b‖² / 2 of the unit vectors, or their dot product.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n_images, embedding_dim)
        Any length but zero; normalised here in float64. Rows of failed images are not looked at.
    failed : ndarray of bool, shape (n_images,)
        Images without an embedding.
    reference, probe : ndarray of int64, shape (n_pairs,)
        Rows of `embeddings`.
    arithmetic : str
        ``"float64"``; ``"float32 distance"``: unit vectors rounded to float32 and the squared distance summed in
        float32, as InsightFace does; ``"float32 cosine"``: unit vectors and their dot product in float32, as FaceX-Zoo
        does.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        In [-1, 1] up to rounding; exactly 1 for equal embeddings. NaN where either image failed: such a pair was not
        compared, it has no score.

    Raises
    ------
    MetricError
        If an image that did not fail has an embedding without a direction (zero, or not finite).
    """
    vectors = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(np.where(failed[:, None], 1.0, vectors), axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if len(bad):
        raise MetricError(
            f"{len(bad)} of {len(vectors)} embeddings are zero or not finite (first: row {bad[0]}); a cosine needs a "
            "direction. Check the model's weights."
        )
    if arithmetic not in ARITHMETIC:
        raise MetricError(f"Arithmetic '{arithmetic}' is not known; expected one of {', '.join(ARITHMETIC)}.")
    unit = (vectors / length).astype(np.float64 if arithmetic == "float64" else np.float32)
    if arithmetic == "float32 cosine":
        scores = np.fromiter(map(np.dot, unit[reference], unit[probe]), np.float64, len(reference))
    else:
        distances = np.sum(np.square(unit[reference] - unit[probe]), axis=1)
        scores = 1 - distances.astype(np.float64) / 2
    return np.where(failed[reference] | failed[probe], np.nan, scores)
