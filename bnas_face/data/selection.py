"""What may be learned from: a dataset without the people it must not know, and never a test protocol."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnas_face.data import datasets
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError

_LIMIT_STREAM = 202
TEST_ONLY = frozenset(
    {"agedb", "agedb_30", "calfw", "cplfw", "lfw_dev", "cfp_ff", "cfp_fp", "demo_lfw", "demo_cfp", "demo_agedb"}
)


def refuse_test_protocol(dataset: str, verb: str = "trained on") -> None:
    """Raise `ConfigError` if `dataset` names a test protocol; nothing must be learned from what it is tested on.

    Parameters
    ----------
    dataset : str
        As typed: ``"lfw"``, ``"folder:PATH"``.
    verb : str
        What was going to be done with it, for the message: "trained on", "searched on".
    """
    name = dataset.partition(":")[0]
    if name in TEST_ONLY | (set(protocol_names()) - set(datasets.names())):
        trainable = ", ".join(known for known in datasets.names() if known not in TEST_ONLY)
        raise ConfigError(f"'{name}' is a test protocol and cannot be {verb}. Choose a training set: {trainable}.")


def protocol_names() -> tuple[str, ...]:
    """Names of the protocol cards that are installed."""
    from importlib import resources

    cards = resources.files("bnas_face.protocols").iterdir()
    return tuple(sorted(card.name.removesuffix(".toml") for card in cards if card.name.endswith(".toml")))


def select(
    dataset: str, *, exclude_names_of: Sequence[str] = (), min_images: int = 1, verb: str = "trained on"
) -> FaceImages:
    """Open a dataset (its training split), leave out unknown and excluded people and those with few images.

    Parameters
    ----------
    dataset : str
        What `datasets.load` opens.
    exclude_names_of : sequence of str
        Datasets whose people must not be known (matched by normalised name).
    min_images : int
        Identities with fewer images are left out.
    verb : str
        For messages, see `refuse_test_protocol`.

    Raises
    ------
    ConfigError
        If a test protocol or a test split is named.
    DatasetError
        If the set is absent, or fewer than two identities are left.
    """
    refuse_test_protocol(dataset, verb)
    images = datasets.load(datasets.training_spec(dataset))
    for other in exclude_names_of:
        images = _excluded(images, other)
    images = images.select_identities(images.images_per_identity() >= min_images)
    if images.n_identities < 2:
        raise DatasetError(
            f"Dataset '{dataset}' has {images.n_identities} identities with {min_images} or more images; two are "
            f"needed to be {verb}. Lower --min-images or use a larger set."
        )
    return images


def _excluded(images: FaceImages, other: str) -> FaceImages:
    from bnas_face.data.overlap import exclude_names_of

    return exclude_names_of(images, datasets.load(other))


def limited(images: FaceImages, max_images: int, *, seed: int, is_objects: bool) -> FaceImages:
    """At most `max_images`, drawn from the seed: whole identities of faces, an equal share of every class of objects.

    Parameters
    ----------
    images : FaceImages
    max_images : int
        0 for all.
    seed : int
    is_objects : bool

    Raises
    ------
    DatasetError
        If fewer than two identities, or fewer than two images of a class, would be left.
    """
    if not max_images or len(images) <= max_images:
        return images
    generator = np.random.default_rng((seed, _LIMIT_STREAM))
    counts = images.images_per_identity()
    if not is_objects:
        order = generator.permutation(images.n_identities)
        keep = np.zeros(images.n_identities, bool)
        keep[order[np.cumsum(counts[order]) <= max_images]] = True
        if keep.sum() < 2:
            raise _too_few(images, max_images)
        return images.select_identities(keep)
    order = generator.permutation(len(images))
    by_label = order[np.argsort(images.labels[order], kind="stable")]
    rank = np.arange(len(images)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = by_label[np.argsort(rank, kind="stable")[:max_images]]
    if np.bincount(images.labels[chosen], minlength=images.n_identities).min() < 2:
        raise _too_few(images, max_images)
    return images.select_images(np.sort(chosen))


def _too_few(images: FaceImages, max_images: int) -> DatasetError:
    return DatasetError(
        f"{max_images} images of '{images.name}' ({len(images)} images of {images.n_identities} identities) are too "
        "small a part to learn from. Raise --max-images, or leave it out."
    )
