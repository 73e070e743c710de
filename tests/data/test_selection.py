"""A part of a set: whole people of faces, an equal share of every class of objects, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from bnas_face.data import datasets
from bnas_face.data.images import FaceImages
from bnas_face.data.selection import limited
from bnas_face.errors import DatasetError


@pytest.fixture(scope="module")
def images() -> FaceImages:
    return datasets.load("demo:9x4@64")


def test_faces_keep_whole_people(images: FaceImages) -> None:
    part = limited(images, 18, seed=0, is_objects=False)
    assert (len(part), part.n_identities) == (16, 4)
    assert part.images_per_identity().tolist() == [4] * 4
    again, other = (limited(images, 18, seed=seed, is_objects=False) for seed in (0, 1))
    assert part.image_ids == again.image_ids != other.image_ids


def test_objects_keep_every_class_in_equal_shares(images: FaceImages) -> None:
    part = limited(images, 27, seed=0, is_objects=True)
    assert part.n_identities == 9
    assert np.bincount(part.labels).tolist() == [3] * 9


@pytest.mark.parametrize("max_images", [0, 36, 100])
def test_no_limit_leaves_everything(images: FaceImages, max_images: int) -> None:
    assert limited(images, max_images, seed=0, is_objects=False) is images


@pytest.mark.parametrize(("max_images", "is_objects"), [(7, False), (17, True)])
def test_a_part_too_small_to_learn_from_says_so(images: FaceImages, max_images: int, is_objects: bool) -> None:
    with pytest.raises(DatasetError, match=f"{max_images} images of 'demo.* are too small a part to learn from"):
        limited(images, max_images, seed=0, is_objects=is_objects)
