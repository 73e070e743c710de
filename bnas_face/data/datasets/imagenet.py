"""ImageNet (ILSVRC 2012): a thousand kinds of objects, in the folders torchvision's ImageFolder reads."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

SPLITS = ("train", "val")
SIZE_PX = 224

CARD = DatasetCard(
    title="ImageNet (ILSVRC 2012)",
    licence="for research and teaching, by agreement with the owners; rights remain with the photographers",
    source="https://image-net.org/challenges/LSVRC/2012/ (training images and validation images, task 1 & 2)",
    layout="""\
train/<wnid>/*.JPEG                 1,281,167 images of 1,000 classes   (dataset imagenet:train)
val/<wnid>/*.JPEG                   50,000 images, sorted into folders  (dataset imagenet:val)
bnasface data import imagenet PATH  PATH holds train/ and val/; they are read where they are
Images of any shape: the shorter side is resized to 256, the central square of 224 cut out.""",
    expected={"full": (1281167 + 50000, 1000)},
    kind="objects",
    training_split="train",
    test_split="val",
    size_px=SIZE_PX,
)

IMPORT = library.ImportRules(place=library.last_parts(3), identity_level=1, by_reference=True, crop_px=SIZE_PX)


def load(argument: str | None) -> FaceImages:
    """Open ``imagenet:train``, ``imagenet:val``, or both (``imagenet``); identities are the classes, by wnid."""
    if argument is not None and argument not in SPLITS:
        raise DatasetError(f"Dataset 'imagenet' has the splits train and val, found 'imagenet:{argument}'.")
    return library.open_images("imagenet", CARD, under=argument)
