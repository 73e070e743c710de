"""People that two image sets share, found by an embedder: names differ in spelling, faces do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError
from bnas_face.evaluate.embed import Embeddings

FOUND_SHARE = 0.95
LEAST_PEOPLE = 20
_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class SimilarPeople:
    """Pairs of identities, one of each set, whose mean embeddings are as alike as those of one person.

    Attributes
    ----------
    pairs : list of (int, int, float)
        Identity of the first set, of the second, cosine; most alike first.
    threshold : float
        The cosine that `FOUND_SHARE` of the people with several images reach between two halves of their images.
    n_people : int
        How many people the threshold was measured on.
    false_share : float
        Share of pairs of different people within the sets that reach the threshold too.
    n_compared : int
        Pairs of identities that were compared.
    """

    pairs: list[tuple[int, int, float]]
    threshold: float
    n_people: int
    false_share: float
    n_compared: int


def find(first: FaceImages, of_first: Embeddings, second: FaceImages, of_second: Embeddings) -> SimilarPeople:
    """Compare everybody of one set with everybody of the other.

    Parameters
    ----------
    first, second : FaceImages
        With identities.
    of_first, of_second : Embeddings
        Of all their images, in their order.

    Raises
    ------
    DatasetError
        If fewer than `LEAST_PEOPLE` people have two usable images, so that no threshold can be measured.
    """
    sets = ((first, of_first), (second, of_second))
    halves = [_halves(images, found) for images, found in sets]
    same = np.concatenate([np.einsum("pd,pd->p", half[0], half[1]) for half in halves])
    if len(same) < LEAST_PEOPLE:
        raise DatasetError(
            f"'{first.name}' and '{second.name}' have {len(same)} people with two usable images; finding shared people "
            f"by embedding needs {LEAST_PEOPLE}, to see how alike one person's images are. Compare by name alone."
        )
    threshold = float(np.quantile(same, 1 - FOUND_SHARE))
    means = [_means(images, found) for images, found in sets]
    within = [_within(mean, threshold) for mean, _ in means]
    pairs = _across(means, threshold)
    return SimilarPeople(
        pairs=pairs,
        threshold=threshold,
        n_people=len(same),
        false_share=sum(n for n, _ in within) / max(1, sum(total for _, total in within)),
        n_compared=len(means[0][0]) * len(means[1][0]),
    )


def _usable(images: FaceImages, found: Embeddings) -> NDArray[np.bool_]:
    return np.asarray((images.labels >= 0) & ~found.failed)


def _mean_of(labels: NDArray[np.int64], values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit mean of each label that occurs, and the labels."""
    known, index = np.unique(labels, return_inverse=True)
    total = np.zeros((len(known), values.shape[1]), np.float32)
    np.add.at(total, index, values)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12), known


def _means(images: FaceImages, found: Embeddings) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    usable = _usable(images, found)
    return _mean_of(images.labels[usable], found.values[usable])


def _halves(images: FaceImages, found: Embeddings) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit means of every other image and of the rest, of the people with two or more; shape (n_people, dim) each."""
    usable = np.flatnonzero(_usable(images, found))
    labels = images.labels[usable]
    order = np.argsort(labels, kind="stable")
    usable, labels = usable[order], labels[order]
    start = np.searchsorted(labels, labels, side="left")
    odd = (np.arange(len(labels)) - start) % 2 == 1
    both = np.isin(labels, labels[odd])
    sides = [_mean_of(labels[side], found.values[usable[side]])[0] for side in (both & ~odd, odd)]
    return sides[0], sides[1]


def _within(means: NDArray[np.float32], threshold: float) -> tuple[int, int]:
    """Pairs of different people of one set that reach the threshold, and all such pairs."""
    n_above = sum(
        int(np.count_nonzero(np.triu(means[k : k + _ROWS] @ means.T >= threshold, k=k + 1)))
        for k in range(0, len(means), _ROWS)
    )
    return n_above, len(means) * (len(means) - 1) // 2


def _across(
    means: list[tuple[NDArray[np.float32], NDArray[np.int64]]], threshold: float
) -> list[tuple[int, int, float]]:
    (first, first_labels), (second, second_labels) = means
    found: list[tuple[int, int, float]] = []
    for k in range(0, len(first), _ROWS):
        cosines = first[k : k + _ROWS] @ second.T
        rows, columns = np.nonzero(cosines >= threshold)
        values = cosines[rows, columns].astype(float)
        labels = zip(first_labels[k + rows].tolist(), second_labels[columns].tolist(), values.tolist(), strict=True)
        found += [(a, b, cosine) for a, b, cosine in labels]
    return sorted(found, key=lambda entry: -entry[2])
