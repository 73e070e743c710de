"""Pairs drawn from identity folders: reproducible, as many genuine as impostor, nobody in two folds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.errors import ProtocolError
from bnas_face.evaluate.protocol import PAIR_COLUMNS

SEED = 0
N_FOLDS = 10
MOST_PAIRS = 300
"""Genuine pairs of a fold, and impostor pairs: as LFW."""
Pairs = NDArray[np.int64]


def draw(images: FaceImages, n_folds: int = N_FOLDS, most: int = MOST_PAIRS, seed: int = SEED) -> pd.DataFrame:
    """Draw a protocol.

    Parameters
    ----------
    images : FaceImages
    n_folds : int
        Fewer are made where there are too few people: a fold needs two with two images.
    most : int
        Genuine pairs of a fold at most, and impostor pairs; every fold has as many as the poorest one can give.
    seed : int

    Returns
    -------
    DataFrame
        Columns of `PAIR_COLUMNS`, genuine first in each fold; the same for the same images and seed.

    Raises
    ------
    ProtocolError
        If there are not four people with two images.
    """
    counts = images.images_per_identity()
    able = np.flatnonzero(counts >= 2)
    n_folds = min(n_folds, len(able) // 2)
    if n_folds < 2:
        raise ProtocolError(
            f"'{images.name}' has {len(able)} people with two or more images; drawing pairs in two folds needs 4. Add "
            "images, or write the pairs yourself: csv:PATH."
        )
    rng = np.random.default_rng(seed)
    rng.shuffle(able)
    # the richest first, one to each fold in turn: folds of about equal size
    able = able[np.argsort(-counts[able], kind="stable")]
    members = [np.flatnonzero(np.isin(images.labels, able[k::n_folds])) for k in range(n_folds)]
    genuine = [_genuine(images.labels, own, most, rng) for own in members]
    n = min(most, *(len(found) for found in genuine), *(_n_impostor(images.labels[own]) for own in members))
    folds = []
    for k, own in enumerate(members):
        rows = np.concatenate((genuine[k][:n], _impostor(images.labels, own, n, rng)))
        folds.append(_table(images, k, rows, n))
    return pd.concat(folds, ignore_index=True)


def _genuine(labels: NDArray[np.int64], own: NDArray[np.int64], most: int, rng: np.random.Generator) -> Pairs:
    """Genuine pairs in random order, a round of one pair of everybody before anybody's second."""
    ranked: list[tuple[int, tuple[int, int]]] = []
    for label in np.unique(labels[own]):
        images = own[labels[own] == label]
        ranked += [(place, (images[i], images[j])) for place, (i, j) in enumerate(_two_of(len(images), most, rng))]
    rng.shuffle(ranked)
    ranked.sort(key=lambda entry: entry[0])
    return np.array([pair for _, pair in ranked], np.int64)


def _two_of(n: int, most: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Different pairs i < j < n in random order, at most `most`; every pair is as likely to be among them."""
    n_pairs = n * (n - 1) // 2
    for number in rng.choice(n_pairs, min(most, n_pairs), replace=False).tolist():
        j = (1 + math.isqrt(1 + 8 * number)) // 2  # pair number j(j − 1)/2 + i
        yield number - j * (j - 1) // 2, j


def _n_impostor(labels: NDArray[np.int64]) -> int:
    """Number of pairs of images of different people."""
    counts = np.unique(labels, return_counts=True)[1]
    return int((len(labels) ** 2 - (counts**2).sum()) // 2)


def _impostor(labels: NDArray[np.int64], own: NDArray[np.int64], n: int, rng: np.random.Generator) -> Pairs:
    """`n` different pairs of different people, people drawn before images: nobody rules by the number of images."""
    people = [own[labels[own] == label] for label in np.unique(labels[own])]
    found: dict[tuple[int, int], None] = {}
    for _ in range(50 * n):
        if len(found) == n:
            break
        first, second = rng.choice(len(people), 2, replace=False)
        pair = sorted((int(rng.choice(people[first])), int(rng.choice(people[second]))))
        found.setdefault((pair[0], pair[1]))
    if len(found) < n:  # nearly all pairs are wanted: list what is left
        rest = [pair for pair in itertools.combinations(own.tolist(), 2) if labels[pair[0]] != labels[pair[1]]]
        missing = [pair for pair in map(tuple, rng.permutation(rest).tolist()) if pair not in found]
        found |= dict.fromkeys(missing[: n - len(found)])
    return np.array(list(found), np.int64)


def _table(images: FaceImages, fold: int, rows: Pairs, n_genuine: int) -> pd.DataFrame:
    ids = np.array(images.image_ids, dtype=object)
    columns = (np.full(len(rows), fold), ids[rows[:, 0]], ids[rows[:, 1]], np.arange(len(rows)) < n_genuine)
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True)))
