"""CIFAR-10: ten kinds of objects, no faces; to compare with the literature of searches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.formats import cifar_batches
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

SPLITS = ("train", "test")

CARD = DatasetCard(
    title="CIFAR-10",
    licence="free for research (Krizhevsky, 2009)",
    source="https://www.cs.toronto.edu/~kriz/cifar.html (through torchvision: bnasface data fetch cifar10)",
    layout="""\
cifar-10-python.tar.gz              the official archive, or its folder cifar-10-batches-py; kept as PNG, without loss
  or train/<class>/0000.jpg         50,000 images of 10 classes, 32×32   (dataset cifar10:train)
     test/<class>/0000.jpg          10,000 images                        (dataset cifar10:test)
bnasface data import cifar10 cifar-10-python.tar.gz
JPEG is slightly lossy: results on such files say 'CIFAR-10 (JPEG)'.""",
    expected={"full": (60000, 10)},
    kind="objects",
    training_split="train",
    test_split="test",
    size_px=32,
)

_images = library.last_parts(3)


def _place(path: PurePosixPath) -> str | None:
    return cifar_batches.place(path) or _images(path)


IMPORT = library.ImportRules(place=_place, identity_level=1, finish=cifar_batches.write_images)


def load(argument: str | None) -> FaceImages:
    """Open ``cifar10:train``, ``cifar10:test``, or both (``cifar10``); identities are the ten classes."""
    if argument is not None and argument not in SPLITS:
        raise DatasetError(f"Dataset 'cifar10' has the splits train and test, found 'cifar10:{argument}'.")
    images = library.open_images("cifar10", CARD, under=argument)
    is_lossy = any(not image_id.endswith(".png") for image_id in images.image_ids)
    title = f"{CARD.title} (JPEG)" if is_lossy else CARD.title
    return replace(images, provenance={**images.provenance, "title": title})
