"""Protocols of object recognition: which class an image shows, counted as top-1 and top-5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, ProtocolError
from bnas_face.evaluate import entries
from bnas_face.evaluate.cards import ObjectCard
from bnas_face.files import sha256_text
from bnas_face.metrics import paired, recognition, uncertainty

TASK = "classification"
CONVENTION = "top-k"
STAMP = (
    "top-k: one view of each image, no flip; right if fewer than k other classes score at least as high as the image's "
    "own; an image that cannot be read or gives no finite scores is wrong"
)
TOP = (1, 5)
NO_PAIRS = "objects are recognised, no pairs are compared"


@dataclass(frozen=True, kw_only=True)
class ObjectProtocol:
    """A card with its images; an image's identity is its class."""

    card: ObjectCard
    images: FaceImages

    @property
    def title(self) -> str:
        """What was really tested on: JPEG copies of CIFAR-10 are not CIFAR-10."""
        found = str(self.images.provenance.get("title", ""))
        return self.card.title.replace("CIFAR-10", found) if found == "CIFAR-10 (JPEG)" else self.card.title


def load(card: ObjectCard) -> ObjectProtocol:
    """Open the images of a card.

    Raises
    ------
    DatasetError
        If they are not on this machine.
    ProtocolError
        If there are other counts than the card promises.
    """
    from bnas_face.data import datasets

    return assemble(card, datasets.load(card.dataset))


def assemble(card: ObjectCard, images: FaceImages) -> ObjectProtocol:
    """Join a card and images; errors as in `load`."""
    for what, found, expected in (
        ("images", len(images), card.n_images),
        ("classes", images.n_identities, card.n_classes),
    ):
        if found != expected:
            raise ProtocolError(
                f"Dataset '{card.dataset}' has {found:,} {what}; protocol '{card.name}' version {card.version} expects "
                f"{expected:,}. Import the complete set: bnasface data where {card.dataset.partition(':')[0]}."
            )
    return ObjectProtocol(card=card, images=images)


@dataclass(frozen=True, kw_only=True)
class MeasuredObjects:
    """What one model made of the images of one protocol, with its entry of ``results``.

    Attributes
    ----------
    model : str
    protocol : ObjectProtocol
    rank : ndarray of int64, shape (n_images,)
        Of the image's own class, see `recognition.ranks`; 0 where the image failed.
    predicted : ndarray of int64, shape (n_images,)
        The class with the highest score (the first of equal ones), −1 where the image failed.
    entry : dict
        Plain Python values.
    """

    model: str
    protocol: ObjectProtocol
    rank: NDArray[np.int64]
    predicted: NDArray[np.int64]
    entry: dict[str, Any]

    def is_right(self, k: int = 1) -> NDArray[np.bool_]:
        """Whether each image is right in top-k, shape (n_images,)."""
        return (self.rank >= 1) & (self.rank <= k)


def columns_of(model: str, class_names: tuple[str, ...], protocol: ObjectProtocol) -> NDArray[np.int64]:
    """Which output of a network belongs to each class of a protocol, by name; shape (n_classes,).

    Raises
    ------
    ConfigError
        If the network does not know exactly these classes.
    """
    known = {name: index for index, name in enumerate(class_names)}
    wanted = protocol.images.identity_names
    missing = [name for name in wanted if name not in known]
    if missing or len(known) != len(wanted):
        first = f" (it does not know '{missing[0]}')" if missing else ""
        raise ConfigError(
            f"Model '{model}' tells {len(known)} classes apart{first}, and protocol '{protocol.card.name}' has "
            f"{len(wanted)}. Evaluate it on the set it was trained on, or train it with --dataset "
            f"{protocol.card.dataset.partition(':')[0]}."
        )
    return np.array([known[name] for name in wanted], np.int64)


def measure(
    model: str, protocol: ObjectProtocol, scores: NDArray[np.float32], failed: NDArray[np.bool_]
) -> MeasuredObjects:
    """Top-1 and top-5 with their Wilson intervals.

    Parameters
    ----------
    model : str
    protocol : ObjectProtocol
    scores : ndarray of float32, shape (n_images, n_classes)
        In the protocol's order of images and classes.
    failed : ndarray of bool, shape (n_images,)
        Images without scores; they count as wrong.
    """
    rank = np.zeros(len(scores), np.int64)
    predicted = np.full(len(scores), -1, np.int64)
    rank[~failed] = recognition.ranks(scores[~failed], protocol.images.labels[~failed])
    predicted[~failed] = scores[~failed].argmax(axis=1)
    top = {k: _top(rank, k, protocol.card.n_classes) for k in TOP}
    undefined: dict[str, Any] = dict.fromkeys(("value", "ci_low", "ci_high", "ci_method")) | {"reason": NO_PAIRS}
    entry: dict[str, Any] = {
        "model": model,
        "protocol": protocol.card.name,
        "task": TASK,
        "convention": CONVENTION,
        "convention_stamp": STAMP,
        "n_images": len(scores),
        "n_classes": protocol.card.n_classes,
        "n_failed": int(failed.sum()),
        **{f"top{k}": value for k, value in top.items()},
        "n_pairs": 0,
        "n_genuine": 0,
        "n_impostor": 0,
        "accuracy": {
            **top[1],
            **{"std": None, "std_method": "one test set has no folds"},
            **{"sem": None, "sem_method": "one test set has no folds"},
            **{"per_fold": [], "thresholds": []},
        },
        "auc": undefined,
        "eer": {**undefined, "low": None, "high": None, "threshold": None},
        "tar_at_fmr": [],
        "curve": None,
        "histogram": None,
        "failures": [],
    }
    return MeasuredObjects(model=model, protocol=protocol, rank=rank, predicted=predicted, entry=entry)


def _top(rank: NDArray[np.int64], k: int, n_classes: int) -> dict[str, Any]:
    if n_classes <= k:
        keys = ("value", "ci_low", "ci_high", "ci_method")
        return dict.fromkeys(keys) | {"reason": f"top-{k} of {n_classes} classes is always right"}
    n_right = int(np.count_nonzero((rank >= 1) & (rank <= k)))
    low, high = uncertainty.wilson(n_right, len(rank))
    return {
        "value": n_right / len(rank),
        "ci_low": low,
        "ci_high": high,
        "ci_method": "Wilson 95 %, images taken as independent",
        "reason": None,
    }


def compare(first: MeasuredObjects, twin: MeasuredObjects, *, n_replicates: int, seed: int) -> dict[str, Any]:
    """One entry of ``comparisons``: top-1 of a model against its full-precision twin on the same images."""
    right, other = first.is_right(), twin.is_right()
    interval = uncertainty.percentile_interval(
        paired.independent_difference_replicates(right, other, n_replicates, seed)
    )
    return {
        "protocol": first.protocol.card.name,
        "model": first.model,
        "twin": twin.model,
        "difference": paired.gain(right, other),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "ci_method": "paired bootstrap over images 95 %",
        **entries.mcnemar(right, other, "images"),
    }


def protocol_entry(protocol: ObjectProtocol) -> dict[str, Any]:
    """One entry of ``protocols``."""
    card, images = protocol.card, protocol.images
    labels = zip(images.image_ids, images.labels.tolist(), strict=True)
    rows = (f"{image_id}\t{images.identity_names[label]}" for image_id, label in labels)
    return {
        "name": card.name,
        "title": protocol.title,
        "version": card.version,
        "task": TASK,
        "dataset": card.dataset,
        "n_images": card.n_images,
        "n_classes": card.n_classes,
        **{"n_pairs": 0, "n_genuine": 0, "n_impostor": 0, "n_folds": 0},
        "scheme": "one test set",
        "alignment": "none",
        "source": card.source,
        "licence": card.licence,
        "labels_sha256": sha256_text(*rows),
        "images_hash": images.content_hash,
        "n_images_used": len(images),
        "metadata_columns": [],
    }
