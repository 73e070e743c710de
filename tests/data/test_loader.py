"""Training batches: decoded once, augmented repeatably, assembled ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bnas_face.data import loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.sources import Decoded
from bnas_face.errors import DatasetError


def _pixels(n=20, size=8):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _all(pixels, *, workers=0, skip_corrupt=False, **more):
    source = pixels if not isinstance(pixels, np.ndarray) else Decoded("few", pixels)
    order = loader.Order(**{"batch_size": 6, "seed": 3, "epoch": 1, "shift_px": 2} | more)
    return list(loader.batches(source, np.arange(len(source)), order, workers=workers, skip_corrupt=skip_corrupt))


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
    down = np.array([[1, 0]], np.int16)
    kept = loader.Augmentation(np.array([0]), flip=np.array([False]), shift=down).apply(pixels.copy())
    assert kept[0, :, :, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    left = np.array([[0, -1]], np.int16)
    both = loader.Augmentation(np.array([0]), flip=np.array([True]), shift=left).apply(pixels.copy())
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


def test_an_error_made_ahead_is_raised_in_front():
    def work(item):
        if item == 1:
            raise ValueError("bad image")
        return item

    ahead = loader.ahead(work, range(3))
    assert next(ahead) == 0
    with pytest.raises(ValueError, match="bad image"):
        next(ahead)


def test_what_is_made_ahead_keeps_its_order_whatever_the_threads():
    assert list(loader.ahead(lambda item: item * 2, range(50), threads=3)) == list(range(0, 100, 2))


def test_leaving_early_ends_the_threads():
    source = Decoded("few", _pixels(200))
    batches = loader.batches(source, np.zeros(200, np.int64), loader.Order(batch_size=2, seed=0, epoch=0))
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("bnas_face batches")]


def test_an_image_that_cannot_be_read_stops_the_training_and_offers_to_leave_it_out():
    source = Decoded("few", _pixels(), {7: "Image '7' cannot be decoded: it is empty."})
    with pytest.raises(DatasetError) as error:
        _all(source)
    assert str(error.value) == (
        "Training set 'few': Image '7' cannot be decoded: it is empty. Repair the set, or leave such images out: "
        "--on-corrupt skip (with --resume where the training has begun)."
    )


def test_images_that_cannot_be_read_are_left_out_and_told_and_nothing_else_changes():
    pixels = _pixels(18)
    whole = _all(pixels)
    found = _all(Decoded("few", pixels, {7: "bad", 9: "worse"}), skip_corrupt=True)
    assert _looks(found) == {label: look for label, look in _looks(whole).items() if label not in (7, 9)}
    assert {index: reason for batch in found for index, reason in batch.left_out.items()} == {7: "bad", 9: "worse"}
    for batch, before in zip(found, whole, strict=True):
        assert len(batch.labels) + len(batch.left_out) == len(before.labels) == 6
        assert len(batch.pixels) == len(batch.labels) == len(batch.indices)


def test_a_batch_of_which_one_image_is_left_is_no_accident():
    source = Decoded("few", _pixels(6), dict.fromkeys(range(5), "it is empty."))
    with pytest.raises(DatasetError, match=r"5 of the 6 images of a batch of 'few' cannot be read"):
        _all(source, skip_corrupt=True)


def test_what_is_skipped_is_not_read():
    read = []

    class Watched(Decoded):
        def read(self, indices):
            read.extend(indices.tolist())
            return super().read(indices)

    batches = _all(Watched("few", _pixels()), skip=2)
    assert len(batches) == 1 and sorted(read) == sorted(batches[0].indices.tolist())


def test_cutout_blanks_a_square_around_its_centre_cut_off_at_the_border():
    pixels = np.zeros((2, 8, 8, 3), np.uint8)
    augmentation = loader.Augmentation(
        np.arange(2),
        flip=np.zeros(2, bool),
        shift=np.zeros((2, 2), np.int16),
        cutout_px=4,
        centre=np.array([[0.5, 0.5], [0.0, 0.999]]),
    )
    middle, corner = augmentation.apply(pixels) == loader.BLANK
    assert middle[2:6, 2:6].all() and middle.sum() == 4 * 4 * 3
    assert corner[0:2, 5:8].all() and corner.sum() == 2 * 3 * 3


def test_cutout_is_drawn_anew_every_epoch_and_changes_nothing_else():
    pixels = np.random.default_rng(0).integers(0, 100, (40, 16, 16, 3)).astype(np.uint8)
    settings = {"shift_px": 2, "seed": 1}
    plain = loader.Augmentation.draw(40, epoch=0, **settings).apply(pixels.copy())
    cut = loader.Augmentation.draw(40, epoch=0, cutout_px=6, **settings).apply(pixels.copy())
    again = loader.Augmentation.draw(40, epoch=0, cutout_px=6, **settings).apply(pixels.copy())
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
