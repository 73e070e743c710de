"""What a search learns from and what it measures on: two disjoint parts of one training set, decoded once.

Weights are trained on the *training* images. α and β are trained on the *validation* images: other images of the same
identities. Fitness ``classification`` is accuracy on those validation images; fitness ``verification`` is accuracy on
pairs of identities that nothing else of the search sees. No part of a test set is ever opened: test protocols and test
splits are refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.config import SearchConfig
from bnas_face.data import datasets, decoding, development, sources
from bnas_face.data.images import FaceImages
from bnas_face.data.selection import limited, refuse_test_protocol, select
from bnas_face.errors import DatasetError

VERB = "searched on"
ALPHA_SHARE = 0.5
"""Share of the images of the training identities that train α where whole identities are held out for fitness."""
LEAST_IMAGES = 2
"""Of each part: batch normalisation needs two."""
_SPLIT_STREAM = 201


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """Decoded images of a search.

    Attributes
    ----------
    task : str
        ``"embedding"`` (faces) or ``"classification"`` (objects): the shape of the search network.
    n_outputs : int
        Identities (or classes) in the training images, the same as in the validation images.
    training_pixels, validation_pixels : ndarray of uint8, shape (n, size_px, size_px, 3)
        RGB; in random order.
    training_labels, validation_labels : ndarray of int64, shape (n,)
    held_out_pixels : ndarray of uint8, shape (n_held_out, size_px, size_px, 3)
        Images of held-out identities; empty unless fitness is verification.
    pairs : DevelopmentPairs or None
        Pairs of held-out images.
    provenance : dict
        JSON values for ``config.json`` and the genotype's origin.
    """

    task: str
    n_outputs: int
    training_pixels: NDArray[np.uint8]
    training_labels: NDArray[np.int64]
    validation_pixels: NDArray[np.uint8]
    validation_labels: NDArray[np.int64]
    held_out_pixels: NDArray[np.uint8]
    pairs: development.DevelopmentPairs | None
    provenance: dict[str, Any]


def task_of(dataset: str) -> str:
    """``"classification"`` for sets of objects, ``"embedding"`` for faces; raises `UnknownNameError` for a typo."""
    is_objects = datasets.card(dataset.partition(":")[0]).kind == "objects"
    return "classification" if is_objects else "embedding"


def prepare(config: SearchConfig, *, progress: sources.Progress | None = None) -> SearchData:
    """Open, limit, split and decode what `config` names.

    Parameters
    ----------
    config : SearchConfig
    progress : callable or None
        Called with (images decoded, images in all).

    Raises
    ------
    ConfigError
        If a test protocol or a test split is named.
    DatasetError
        If the set is absent, or too small to split.
    """
    refuse_test_protocol(config.dataset, VERB)
    dataset = datasets.training_spec(config.dataset)
    images = select(dataset, exclude_names_of=config.exclude_names_of, min_images=max(2, config.min_images), verb=VERB)
    images = limited(images, config.max_images, seed=config.seed, is_objects=task_of(dataset) == "classification")
    known, held, pairs = images, None, None
    if config.fitness == "verification":
        known, held, pairs = _held_out(images, config)
    share = config.validation_share if held is None else ALPHA_SHARE
    training, validation = split_images(known.labels, share, seed=config.seed)
    if min(len(training), len(validation)) < LEAST_IMAGES:
        raise _too_small(images)
    pixels = decoding.decode_all(known, config.size_px, progress=progress)
    empty = np.empty((0, config.size_px, config.size_px, 3), np.uint8)
    return SearchData(
        task=task_of(dataset),
        n_outputs=known.n_identities,
        training_pixels=pixels[training],
        training_labels=known.labels[training],
        validation_pixels=pixels[validation],
        validation_labels=known.labels[validation],
        held_out_pixels=empty if held is None else decoding.decode_all(held, config.size_px),
        pairs=pairs,
        provenance={
            "dataset": images.name,
            "content_hash": images.content_hash,
            "exclude_names_of": list(config.exclude_names_of),
            "n_images": len(images),
            "n_identities": images.n_identities,
            "n_training_images": len(training),
            "n_validation_images": len(validation),
            "n_held_out_images": 0 if held is None else len(held),
            "n_held_out_identities": 0 if held is None else held.n_identities,
            "n_pairs": 0 if pairs is None else len(pairs),
        },
    )


def split_images(labels: NDArray[np.int64], share: float, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split every identity's images: each has at least one image on either side.

    Parameters
    ----------
    labels : ndarray of int64, shape (n_images,)
        Each identity has at least two images.
    share : float
        Of the images that go to the second part, in (0, 1).
    seed : int

    Returns
    -------
    training, validation : ndarray of int64
        Indices of images in random order: parts of a batch must not be of one identity, since batch normalisation
        would tell them apart.
    """
    generator = np.random.default_rng((seed, _SPLIT_STREAM))
    order = generator.permutation(len(labels))
    by_label = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    n_held = np.clip(np.rint(counts * share), 1, counts - 1).astype(np.int64)
    is_held = rank < np.repeat(n_held, counts)
    return generator.permutation(by_label[~is_held]), generator.permutation(by_label[is_held])


def _held_out(images: FaceImages, config: SearchConfig) -> tuple[FaceImages, FaceImages, development.DevelopmentPairs]:
    """Identities that stay, identities held out for fitness, and pairs of these."""
    n_held = round(config.validation_share * images.n_identities)
    if min(n_held, images.n_identities - n_held) < max(2, development.LEAST_IDENTITIES // 2):
        raise _too_small(images)
    held = np.zeros(images.n_identities, bool)
    held[np.random.default_rng((config.seed, _SPLIT_STREAM)).choice(images.n_identities, n_held, replace=False)] = True
    rest, kept = images.select_identities(held), images.select_identities(~held)
    try:
        return kept, rest, development.draw_pairs(rest.labels, config.pairs, seed=config.seed)
    except DatasetError:
        raise _too_small(images) from None


def _too_small(images: FaceImages) -> DatasetError:
    return DatasetError(
        f"Dataset '{images.name}' is too small to split for a search: {len(images)} images of {images.n_identities} "
        "identities. Use a larger set, a larger --max-images, or --fitness classification."
    )
