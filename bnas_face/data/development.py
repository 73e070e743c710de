"""Development accuracy: verification on pairs of identities that were held out of the training set (faces), or
recognition of held-out images of every class (objects).

It watches a training and compares settings. It is no test result: the identities come from the training set, and
nothing here ever sees a test protocol.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

LEAST_IDENTITIES = 4
LEAST_GENUINE = 10


@dataclass(frozen=True)
class DevelopmentPairs:
    """Pairs of development images.

    Attributes
    ----------
    reference, probe : ndarray of int64, shape (n_pairs,)
        Indices of images.
    is_genuine : ndarray of bool, shape (n_pairs,)
    """

    reference: NDArray[np.int64]
    probe: NDArray[np.int64]
    is_genuine: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.reference)

    def images(self) -> NDArray[np.int64]:
        """Indices of the images that occur, ascending."""
        return np.unique(np.concatenate([self.reference, self.probe]))

    def among(self, kept: NDArray[np.int64]) -> DevelopmentPairs:
        """The pairs of images `kept` (ascending), which from now on are numbered 0, 1, ….

        Pairs with any other image are left out.
        """
        whole = np.isin(self.reference, kept) & np.isin(self.probe, kept)
        reference, probe = (np.searchsorted(kept, side[whole]) for side in (self.reference, self.probe))
        return DevelopmentPairs(reference, probe, self.is_genuine[whole])


def split(images: FaceImages, share: float, *, seed: int) -> tuple[FaceImages, FaceImages]:
    """Hold out identities.

    Parameters
    ----------
    images : FaceImages
    share : float
        Share of the identities to hold out, in (0, 0.5]; at least 4 identities.
    seed : int

    Returns
    -------
    training, development : FaceImages
        Disjoint in identities; together they are `images`.

    Raises
    ------
    DatasetError
        If the set has too few identities to hold any out.
    """
    n_identities = images.n_identities
    n_held = max(LEAST_IDENTITIES, round(share * n_identities))
    if n_identities - n_held < max(2, n_held):
        raise DatasetError(
            f"Dataset '{images.name}' has {n_identities} identities to train on; holding out {n_held} of them for "
            f"development accuracy leaves too few. Use a larger set, or --development-share 0 to train on all of them."
        )
    held = np.zeros(n_identities, bool)
    held[np.random.default_rng((seed, 101)).choice(n_identities, n_held, replace=False)] = True
    return images.select_identities(~held), images.select_identities(held)


def split_images(images: FaceImages, share: float, *, seed: int) -> tuple[FaceImages, FaceImages]:
    """Hold out images of every class: for objects, whose classes are the same in training and test.

    Parameters
    ----------
    images : FaceImages
    share : float
        Share of each class to hold out, in (0, 0.5], rounded; at least one image of every class.
    seed : int

    Returns
    -------
    training, development : FaceImages
        Disjoint in images, with the same classes; together they are `images`.

    Raises
    ------
    DatasetError
        If a class has a single image.
    """
    order = np.random.default_rng((seed, 103)).permutation(len(images))
    order = order[np.argsort(images.labels[order], kind="stable")]
    counts = images.images_per_identity()
    if counts.min() < 2:
        name = images.identity_names[int(counts.argmin())]
        raise DatasetError(
            f"Class '{name}' of dataset '{images.name}' has {counts.min()} image; holding out a share for development "
            "accuracy takes two. Use --min-images 2, or --development-share 0."
        )
    n_held = np.maximum(1, np.rint(share * counts)).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(images), bool)
    held[order[rank < np.repeat(n_held, counts)]] = True
    return images.select_images(np.flatnonzero(~held)), images.select_images(np.flatnonzero(held))


def draw_pairs(labels: NDArray[np.int64], n_pairs: int, *, seed: int) -> DevelopmentPairs:
    """Draw at most `n_pairs` different pairs, half genuine and half impostor, in random order.

    Identities take turns in giving genuine pairs, so that one person with very many images does not dominate.

    Raises
    ------
    DatasetError
        If the identities have too few images for 10 genuine pairs.
    """
    generator = np.random.default_rng((seed, 102))
    genuine = _genuine(labels, n_pairs // 2, generator)
    if len(genuine) < LEAST_GENUINE:
        raise DatasetError(
            f"The development identities give {len(genuine)} genuine pairs; at least {LEAST_GENUINE} are needed. "
            "Raise --development-share, or set it to 0."
        )
    impostor = _impostor(labels, len(genuine), generator)
    pairs = np.concatenate([genuine, impostor])
    is_genuine = np.arange(len(pairs)) < len(genuine)
    order = generator.permutation(len(pairs))
    return DevelopmentPairs(pairs[order, 0], pairs[order, 1], is_genuine[order])


def _genuine(labels: NDArray[np.int64], wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    rows: list[NDArray[np.float64]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        first, second = np.triu_indices(len(members), k=1)
        kept = generator.permutation(len(first))[:wanted]
        turn = np.arange(len(kept)) + generator.random(len(kept)) * 0.5
        rows.append(np.stack([turn, members[first[kept]], members[second[kept]]], axis=1))
    table = np.concatenate(rows)
    table = table[np.argsort(table[:, 0], kind="stable")][:wanted]
    return table[:, 1:].astype(np.int64)


def _impostor(labels: NDArray[np.int64], wanted: int, generator: np.random.Generator) -> NDArray[np.int64]:
    found: set[tuple[int, int]] = set()
    for _ in range(100):
        drawn = np.sort(generator.integers(0, len(labels), (2 * wanted, 2)), axis=1)
        drawn = drawn[labels[drawn[:, 0]] != labels[drawn[:, 1]]]
        found.update((int(a), int(b)) for a, b in drawn)
        if len(found) >= wanted:
            break
    rows = np.array(sorted(found), np.int64).reshape(-1, 2)
    return rows[generator.permutation(len(rows))[:wanted]]


def accuracy(embeddings: NDArray[np.float32], pairs: DevelopmentPairs) -> float:
    """Share of right decisions by cosine score, in [0, 1], higher is better.

    Each half of the pairs is decided with the threshold that is best on the other half.

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n_images, embedding_dim)
        Any length; normalised here.
    pairs : DevelopmentPairs
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(length, 1e-12)
    scores = np.einsum("ij,ij->i", unit[pairs.reference], unit[pairs.probe]).astype(np.float64)
    half = np.arange(len(scores)) % 2 == 0
    right = 0
    for fit in (half, ~half):
        threshold = best_threshold(scores[fit], pairs.is_genuine[fit])
        right += int(((scores[~fit] >= threshold) == pairs.is_genuine[~fit]).sum())
    return right / len(scores)


def best_threshold(scores: NDArray[np.float64], is_genuine: NDArray[np.bool_]) -> float:
    """The highest observed score that, as a threshold (``score >= threshold`` matches), decides most pairs rightly."""
    order = np.argsort(-scores, kind="stable")
    ranked, genuine = scores[order], is_genuine[order]
    gain = np.cumsum(np.where(genuine, 1, -1))
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    return float(ranked[np.argmax(np.where(last_of_ties, gain, np.iinfo(np.int64).min))])
