"""Fixed views of a set: the plain image first, the others changed, and always the same."""

from __future__ import annotations

import numpy as np
import pytest

from bnas_face.data.augment import LEVELS
from bnas_face.data.images import FaceImages
from bnas_face.data.views import views

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture
def faces() -> FaceImages:
    return FaceImages(
        name="five",
        image_ids=tuple("abcde"),
        labels=np.array([0, 0, 1, 1, 2]),
        identity_names=("x", "y", "z"),
        content_hash="0" * 64,
        size_px=32,
        read=lambda indices: PIXELS[indices],
    )


def test_the_first_view_is_the_image_and_the_others_are_not(faces: FaceImages) -> None:
    three = views(faces, 3, LEVELS["strong"], seed=0)
    found = three.read(np.arange(15))
    np.testing.assert_array_equal(found[:5], PIXELS)
    assert all((found[i] != PIXELS[i % 5]).any() for i in range(5, 15))
    assert all((found[i] != found[i + 5]).any() for i in range(5, 10))
    assert three.image_ids[4:7] == ("e", "a#2", "b#2")
    np.testing.assert_array_equal(three.labels, np.tile(faces.labels, 3))
    assert three.n_identities == 3 and len(set(three.image_ids)) == 15


def test_a_view_does_not_depend_on_how_it_is_asked_for(faces: FaceImages) -> None:
    three = views(faces, 3, LEVELS["strong"], seed=0)
    whole = three.read(np.arange(15))
    order = np.random.default_rng(1).permutation(15)
    np.testing.assert_array_equal(three.read(order), whole[order])


def test_another_seed_or_strength_is_another_set(faces: FaceImages) -> None:
    first, again, other, weaker = (
        views(faces, 2, LEVELS[level], seed=seed)
        for level, seed in (("strong", 0), ("strong", 0), ("strong", 1), ("photo", 0))
    )
    assert first.content_hash == again.content_hash
    assert len({first.content_hash, other.content_hash, weaker.content_hash, faces.content_hash}) == 4
    assert (first.read(np.arange(5, 10)) != other.read(np.arange(5, 10))).any()


def test_a_subset_has_the_views_of_the_whole(faces: FaceImages) -> None:
    whole = views(faces, 3, LEVELS["strong"], seed=0)
    part = views(faces.select_images(np.array([1, 4])), 3, LEVELS["strong"], seed=0)
    assert part.image_ids == ("b", "e", "b#2", "e#2", "b#3", "e#3")
    same = [whole.image_ids.index(image_id) for image_id in part.image_ids]
    np.testing.assert_array_equal(part.read(np.arange(6)), whole.read(np.array(same)))
    assert part.content_hash == whole.content_hash, "what a teacher saw of one, it saw of the other"


def test_one_view_is_the_set_itself(faces: FaceImages) -> None:
    assert views(faces, 1, LEVELS["strong"], seed=0) is faces
