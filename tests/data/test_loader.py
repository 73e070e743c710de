"""Training batches: decoded once, augmented repeatably, assembled ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from bnas_face.config import cache_root
from bnas_face.data import loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError, DatasetError


def _pixels(n=20, size=8):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _images(pixels, read=None):
    n = len(pixels)
    return FaceImages(
        name="few",
        image_ids=tuple(map(str, range(n))),
        labels=np.zeros(n, np.int64),
        identity_names=("one",),
        content_hash="h",
        size_px=pixels.shape[1],
        read=read or (lambda indices: pixels[indices]),
    )


def _all(pixels, **more):
    settings = {"batch_size": 6, "seed": 3, "epoch": 1, "shift_px": 2} | more
    return list(loader.batches(pixels, np.arange(len(pixels)), **settings))


def test_decoding_keeps_every_pixel_in_order():
    pixels = _pixels(300)
    assert np.array_equal(loader.decode_all(_images(pixels), 8, threads=3), pixels)


def test_decoding_resizes_and_reports_progress():
    seen = []
    decoded = loader.decode_all(_images(_pixels(300)), 4, progress=lambda done, total: seen.append((done, total)))
    assert decoded.shape == (300, 4, 4, 3) and decoded.dtype == np.uint8
    assert seen[-1] == (300, 300) and len(seen) == 3


def test_a_set_that_does_not_fit_memory_is_refused_before_it_is_read():
    def read(indices):
        raise AssertionError("must not be read")

    with pytest.raises(DatasetError, match=r"'few' needs 0\.0 GB as 20 uint8 images of 8 px"):
        loader.decode_all(_images(_pixels(), read), 8, memory_bytes=100)


def test_a_broken_image_is_named():
    def read(indices):
        raise BrokenImageError("7.jpg", "it is no JPEG")

    with pytest.raises(BrokenImageError, match=r"'7\.jpg' cannot be decoded"):
        loader.decode_all(_images(_pixels(), read), 8)


def test_available_memory_is_more_than_a_megabyte():
    assert loader.available_memory() > 1e6


def test_an_epoch_visits_every_image_at_most_once_and_leaves_out_the_rest_of_a_batch():
    labels = np.concatenate([batch.labels for batch in _all(_pixels())])
    assert len(labels) == 18 and len(set(labels)) == 18


def test_a_set_smaller_than_a_batch_is_one_batch():
    (batch,) = _all(_pixels(5))
    assert sorted(batch.labels) == [0, 1, 2, 3, 4]


def _looks(batches):
    return {int(label): pixels.tobytes() for b in batches for label, pixels in zip(b.labels, b.pixels, strict=True)}


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    pixels = _pixels(18)
    reference = _looks(_all(pixels))
    assert _looks(_all(pixels, batch_size=3)) == reference
    shared = [b for rank in range(2) for b in _all(pixels, rank=rank, world_size=2)]
    assert _looks(shared) == reference
    assert _looks(_all(pixels, epoch=2)) != reference
    assert _looks(_all(pixels, seed=4)) != reference


def test_a_resumed_epoch_goes_on_with_the_same_batches():
    pixels = _pixels()
    whole, rest = _all(pixels), _all(pixels, skip=1)
    assert len(rest) == len(whole) - 1
    for before, after in zip(whole[1:], rest, strict=True):
        assert np.array_equal(before.pixels, after.pixels) and np.array_equal(before.labels, after.labels)


def test_two_epochs_have_different_orders():
    assert not np.array_equal(loader.epoch_order(50, seed=0, epoch=0), loader.epoch_order(50, seed=0, epoch=1))


def test_flip_and_shift_by_hand():
    pixels = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1).repeat(3, axis=3)
    kept = loader.Augmentation(flip=np.array([False]), shift=np.array([[1, 0]])).apply(pixels[[0]], np.array([0]))
    assert kept[0, :, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    both = loader.Augmentation(flip=np.array([True]), shift=np.array([[0, -1]])).apply(pixels, np.array([0]))
    assert both[0, :, :, 0].tolist() == [[1, 0, 0], [4, 3, 3], [7, 6, 6]]


def test_augmentation_leaves_the_decoded_images_alone():
    pixels = _pixels()
    before = pixels.copy()
    _all(pixels)
    assert np.array_equal(pixels, before)


def test_half_of_the_images_are_flipped_and_shifts_reach_both_bounds():
    drawn = loader.Augmentation.draw(4000, shift_px=2, seed=0, epoch=0)
    assert 0.45 < drawn.flip.mean() < 0.55
    assert set(np.unique(drawn.shift)) == {-2, -1, 0, 1, 2}


def test_an_error_in_the_background_is_raised_in_front():
    def items():
        yield loader.Batch(_pixels(2), np.zeros(2, np.int64))
        raise ValueError("bad image")

    ahead = loader.in_background(items())
    next(ahead)
    with pytest.raises(ValueError, match="bad image"):
        next(ahead)


def test_leaving_early_ends_the_background_thread():
    batches = loader.batches(_pixels(200), np.zeros(200, np.int64), batch_size=2, seed=0, epoch=0)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name == "bnas_face batches"]


def _counting_set(calls: list[int], *, costly: bool, content_hash: str = "a" * 64) -> FaceImages:
    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        calls.append(len(indices))
        return np.repeat(indices.astype(np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)

    return FaceImages(
        name="counted",
        image_ids=tuple(f"{i}.jpg" for i in range(6)),
        labels=np.repeat(np.arange(3), 2).astype(np.int64),
        identity_names=("a", "b", "c"),
        content_hash=content_hash,
        size_px=8,
        read=read,
        costly=costly,
    )


def test_a_costly_set_is_read_once_and_kept_by_content_size_and_ids() -> None:
    calls: list[int] = []
    images = _counting_set(calls, costly=True)
    first = loader.decode_all(images, 8)
    assert np.array_equal(loader.decode_all(images, 8), first)
    assert sum(calls) == 6
    part = images.select_identities(np.array([False, True, True]))
    assert np.array_equal(loader.decode_all(part, 8), first[2:])
    assert sum(calls) == 10
    loader.decode_all(_counting_set(calls, costly=True, content_hash="b" * 64), 8)
    assert sum(calls) == 16


def test_a_cheap_set_is_not_kept() -> None:
    calls: list[int] = []
    images = _counting_set(calls, costly=False)
    loader.decode_all(images, 8)
    loader.decode_all(images, 8)
    assert sum(calls) == 12
    assert not cache_root().exists()


def test_a_damaged_kept_file_is_made_again() -> None:
    calls: list[int] = []
    images = _counting_set(calls, costly=True)
    first = loader.decode_all(images, 8)
    (kept,) = (cache_root() / "decoded").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(loader.decode_all(images, 8), first)
    assert sum(calls) == 12


def test_cutout_blanks_a_square_around_its_centre_cut_off_at_the_border():
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    augmentation = loader.Augmentation(
        flip=np.zeros(2, bool),
        shift=np.zeros((2, 2), np.int64),
        cutout_px=4,
        centre=np.array([[0.5, 0.5], [0.0, 0.999]]),
    )
    middle, corner = augmentation.apply(pixels, np.array([0, 1])) == loader.BLANK
    assert middle[2:6, 2:6].all() and middle.sum() == 4 * 4 * 3
    assert corner[0:2, 5:8].all() and corner.sum() == 2 * 3 * 3


def test_cutout_is_drawn_anew_every_epoch_and_changes_nothing_else():
    pixels = np.random.default_rng(0).integers(0, 100, (40, 16, 16, 3)).astype(np.uint8)
    settings = {"shift_px": 2, "seed": 1}
    plain = loader.Augmentation.draw(40, epoch=0, **settings).apply(pixels, np.arange(40))
    cut = loader.Augmentation.draw(40, epoch=0, cutout_px=6, **settings).apply(pixels, np.arange(40))
    again = loader.Augmentation.draw(40, epoch=0, cutout_px=6, **settings).apply(pixels, np.arange(40))
    blank = cut == loader.BLANK
    assert np.array_equal(cut, again)
    assert np.array_equal(cut[~blank], plain[~blank])
    counts = blank[..., 0].sum(axis=(1, 2))
    assert counts.max() == 36 and counts.min() >= 9 and (counts < 36).any()
    other = loader.Augmentation.draw(40, epoch=1, cutout_px=6, **settings)
    assert not np.array_equal(other.centre, loader.Augmentation.draw(40, epoch=0, cutout_px=6, **settings).centre)


def test_augmented_images_depend_on_seed_epoch_and_index_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)

    def images(**more):
        found = _all(pixels, augmenter=LEVELS["strong"], **more)
        return {
            index: image for batch in found for index, image in zip(batch.indices.tolist(), batch.pixels, strict=True)
        }

    small, large, other = images(batch_size=4), images(batch_size=8), images(batch_size=8, epoch=2)
    assert all((small[index] == large[index]).all() for index in range(24))
    assert all((small[index] != other[index]).any() for index in range(24))
