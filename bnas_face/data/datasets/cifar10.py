"""CIFAR-10 as JPEG files: ten kinds of objects, no faces; to compare with the literature of searches."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

SPLITS = ("train", "test")

CARD = DatasetCard(
    title="CIFAR-10 (JPEG)",
    licence="free for research (Krizhevsky, 2009)",
    source="https://www.cs.toronto.edu/~kriz/cifar.html, written as JPEG (slightly lossy: results say so)",
    layout="""\
train/<class>/0000.jpg              50,000 images of 10 classes, 32×32   (dataset cifar10:train)
test/<class>/0000.jpg               10,000 images                        (dataset cifar10:test)
bnasface data import cifar10 cifar10_jpeg.tar.gz""",
    expected={"full": (60000, 10)},
)

IMPORT = library.ImportRules(place=library.last_parts(3), identity_level=1)


def load(argument: str | None) -> FaceImages:
    """Open ``cifar10:train``, ``cifar10:test``, or both (``cifar10``); identities are the ten classes."""
    if argument is not None and argument not in SPLITS:
        raise DatasetError(f"Dataset 'cifar10' has the splits train and test, found 'cifar10:{argument}'.")
    return library.open_images("cifar10", CARD, under=argument)
