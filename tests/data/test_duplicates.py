"""The same photograph twice: equal pixels, encoded again, and what is none."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from bnas_face.data import duplicates
from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError

SIZE_PX = 64


def smooth(seed: int) -> Any:
    """A picture with large shapes, as photographs have."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), np.uint8)
    return cv2.resize(small, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)


def encoded_again(image: Any, quality: int = 60) -> Any:
    ok, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


def images_of(pixels: list[Any], broken: tuple[int, ...] = ()) -> FaceImages:
    def read(indices: Any) -> Any:
        for k in indices:
            if int(k) in broken:
                raise BrokenImageError(f"{k}.jpg", "it is broken for this test")
        return np.stack([pixels[int(k)] for k in indices])

    return FaceImages(
        name="set",
        image_ids=tuple(f"{k}.jpg" for k in range(len(pixels))),
        labels=np.arange(len(pixels)),
        identity_names=tuple(map(str, range(len(pixels)))),
        content_hash="",
        size_px=SIZE_PX,
        read=read,
    )


def pairs(*sets: FaceImages) -> list[tuple[int, int]]:
    found = duplicates.find(sets, [duplicates.prints(images) for images in sets])
    return [(duplicate.first, duplicate.second) for duplicate in found]


def test_copies_and_images_encoded_again_are_found_and_others_are_not() -> None:
    own = [smooth(k) for k in range(12)]
    images = images_of([*own, own[3].copy(), encoded_again(own[5]), cv2.convertScaleAbs(own[7], alpha=1.0, beta=3)])
    assert pairs(images) == [(3, 12), (5, 13), (7, 14)]


def test_of_three_equal_images_two_are_copies_of_the_first() -> None:
    found = duplicates.find([images_of([smooth(1)] * 3)], [duplicates.prints(images_of([smooth(1)] * 3))])
    assert [(d.first, d.second, d.correlation) for d in found] == [(0, 1, 1.0), (0, 2, 1.0)]


def test_positions_count_through_two_sets() -> None:
    first, second = images_of([smooth(1), smooth(2)]), images_of([smooth(3), encoded_again(smooth(2))])
    assert pairs(first, second) == [(1, 3)]


def test_a_mirror_image_and_images_of_one_colour_are_no_near_copies() -> None:
    flat = [np.full((SIZE_PX, SIZE_PX, 3), value, np.uint8) for value in (10, 200)]
    assert pairs(images_of([smooth(1), smooth(1)[:, ::-1].copy(), *flat])) == []


def test_broken_images_are_told_and_are_copies_of_nothing() -> None:
    images = images_of([smooth(k) for k in range(4)], broken=(1, 2))
    found = duplicates.prints(images)
    assert sorted(found.broken) == [1, 2]
    assert "it is broken for this test" in found.broken[1]
    assert duplicates.find([images], [found]) == []


@pytest.mark.parametrize("bits", [(), (0,), (63,), (5, 20, 44)])
def test_candidates_are_all_pairs_whose_hashes_differ_in_three_bits_at_most(bits: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 40, dtype=np.uint64)
    hashes[7] = hashes[30] ^ np.uint64(sum(1 << bit for bit in bits))
    found = set(duplicates._candidates(hashes, np.arange(40)))
    slow = {(a, b) for a in range(40) for b in range(a + 1, 40) if bin(int(hashes[a]) ^ int(hashes[b])).count("1") <= 3}
    assert found == slow
    assert (7, 30) in found
