"""Where pixels are kept: in memory, in a file, or nowhere; the pixels are the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from bnas_face.config import cache_root
from bnas_face.data import decoding
from bnas_face.data.images import FaceImages
from bnas_face.data.sources import Cached, Decoded, Streamed, Without
from bnas_face.errors import BrokenImageError, DatasetError, FormatError


def _pixels(n=20, size=8):
    return np.random.default_rng(1).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def _images(pixels, read=None, *, costly=False):
    n = len(pixels)
    return FaceImages(
        name="few",
        image_ids=tuple(map(str, range(n))),
        labels=np.zeros(n, np.int64),
        identity_names=("one",),
        content_hash="h",
        size_px=pixels.shape[1],
        costly=costly,
        read=read or (lambda indices: pixels[indices]),
    )


def test_decoding_keeps_every_pixel_in_order():
    pixels = _pixels(300)
    assert np.array_equal(decoding.decode_all(_images(pixels), 8, threads=3), pixels)


def test_decoding_resizes_and_reports_progress():
    seen = []
    decoded = decoding.decode_all(_images(_pixels(300)), 4, progress=lambda done, total: seen.append((done, total)))
    assert decoded.shape == (300, 4, 4, 3) and decoded.dtype == np.uint8
    assert seen[-1] == (300, 300) and len(seen) == 3


def test_a_set_that_does_not_fit_memory_is_refused_before_it_is_read():
    def read(indices):
        raise AssertionError("must not be read")

    with pytest.raises(DatasetError, match=r"'few' needs 0\.0 GB as 20 uint8 images of 8 px"):
        decoding.decode_all(_images(_pixels(), read), 8, memory_bytes=100)


def test_a_broken_image_is_named():
    def read(indices):
        raise BrokenImageError("7.jpg", "it is no JPEG")

    with pytest.raises(BrokenImageError, match=r"'7\.jpg' cannot be decoded"):
        decoding.decode_all(_images(_pixels(), read), 8)


def test_available_memory_is_more_than_a_megabyte():
    assert decoding.available_memory() > 1e6


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
    first = decoding.decode_all(images, 8)
    assert np.array_equal(decoding.decode_all(images, 8), first)
    assert sum(calls) == 6
    part = images.select_identities(np.array([False, True, True]))
    assert np.array_equal(decoding.decode_all(part, 8), first[2:])
    assert sum(calls) == 10
    decoding.decode_all(_counting_set(calls, costly=True, content_hash="b" * 64), 8)
    assert sum(calls) == 16


def test_a_cheap_set_is_not_kept() -> None:
    calls: list[int] = []
    images = _counting_set(calls, costly=False)
    decoding.decode_all(images, 8)
    decoding.decode_all(images, 8)
    assert sum(calls) == 12
    assert not cache_root().exists()


def test_a_damaged_kept_file_is_made_again() -> None:
    calls: list[int] = []
    images = _counting_set(calls, costly=True)
    first = decoding.decode_all(images, 8)
    (kept,) = (cache_root() / "decoded").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(decoding.decode_all(images, 8), first)
    assert sum(calls) == 12


def _broken(pixels, *bad):
    """A set of which some images cannot be read."""

    def read(indices):
        for index in indices.tolist():
            if index in bad:
                raise BrokenImageError(str(index), "it is empty")
        return pixels[indices]

    return _images(pixels, read)


WAYS = pytest.mark.parametrize("how", ["memory", "cache", "stream"])


@WAYS
def test_the_way_of_loading_does_not_change_a_pixel(how):
    pixels = _pixels(300)
    source = decoding.open_source(_images(pixels), 4, how=how)
    order = np.random.default_rng(0).permutation(300)
    found, reasons = source.read(order)
    assert np.array_equal(found, decoding.decode_all(_images(pixels), 4)[order]) and not reasons
    assert len(source) == 300 and source.name == "few" and source.in_memory == (how == "memory")


@WAYS
def test_what_is_read_may_be_written_to(how):
    source = decoding.open_source(_images(_pixels()), 8, how=how)
    first, _ = source.read(np.array([3]))
    first[...] = 0
    again, _ = source.read(np.array([3]))
    assert np.array_equal(again[0], _pixels()[3])


@WAYS
def test_images_that_cannot_be_read_are_told_in_every_way(how):
    images = _broken(_pixels(300), 5, 200)
    source = decoding.open_source(images, 8, how=how, skip_corrupt=True)
    pixels, reasons = source.read(np.array([4, 5, 200, 6]))
    assert set(reasons) == {5, 200} and "Image '5' cannot be decoded: it is empty" in reasons[5]
    assert np.array_equal(pixels[[0, 3]], _pixels(300)[[4, 6]])


@pytest.mark.parametrize("how", ["memory", "cache"])
def test_an_image_that_cannot_be_read_stops_the_decoding(how):
    with pytest.raises(DatasetError, match=r"Training set 'few': Image '5' cannot be decoded.*--on-corrupt skip"):
        decoding.open_source(_broken(_pixels(), 5), 8, how=how)


def test_a_cache_that_was_made_leaving_images_out_stops_who_does_not_want_that():
    images = _broken(_pixels(), 5)
    decoding.open_source(images, 8, how="cache", skip_corrupt=True)
    with pytest.raises(DatasetError, match="--on-corrupt skip"):
        decoding.open_source(images, 8, how="cache")


def test_auto_takes_memory_if_it_fits_and_else_streams_or_caches_what_is_costly():
    pixels = _pixels()
    assert isinstance(decoding.open_source(_images(pixels), 8), Decoded)
    assert isinstance(decoding.open_source(_images(pixels), 8, memory_bytes=100), Streamed)
    assert isinstance(decoding.open_source(_images(pixels, costly=True), 8, memory_bytes=100), Cached)


def test_memory_that_does_not_suffice_is_told_with_what_else_there_is():
    with pytest.raises(DatasetError, match=r"needs 0\.0 GB of memory at 8 px.*Use --loading stream"):
        decoding.open_source(_images(_pixels()), 8, how="memory", memory_bytes=100)


def test_a_cache_is_made_once():
    calls = []
    images = _counting_set(calls, costly=False)
    for _ in range(2):
        source = decoding.cached(images, 8)
        assert np.array_equal(source.read(np.arange(6))[0][:, 0, 0, 0], np.arange(6))
    assert sum(calls) == 6


def test_a_killed_cache_goes_on_after_its_last_whole_part(monkeypatch):
    monkeypatch.setattr(decoding, "PART", 1)
    pixels, seen = _pixels(600), []

    def read(indices):
        seen.extend(indices.tolist())
        if len(seen) == 400:
            raise KeyboardInterrupt
        return pixels[indices]

    with pytest.raises(KeyboardInterrupt):
        decoding.cached(_images(pixels, read), 8)
    assert not list((cache_root() / "decoded").glob("*.npy"))
    seen.clear()
    source = decoding.cached(_images(pixels, read=lambda at: (seen.extend(at.tolist()), pixels[at])[1]), 8)
    assert np.array_equal(source.read(np.arange(600))[0], pixels)
    assert 0 < seen[0] == 600 - len(seen) and seen[0] % decoding.CHUNK == 0
    assert sorted(path.suffix for path in (cache_root() / "decoded").iterdir()) == [".json", ".lock", ".npy"]


def test_a_set_that_changed_has_another_cache():
    pixels = _pixels()
    first = decoding.cached(_images(pixels), 8)
    assert decoding.cached(_images(pixels), 4).path != first.path
    assert decoding.cached(_images(pixels).select_images(np.arange(5)), 8).path != first.path


def test_a_disk_that_is_too_small_is_told_with_the_sizes(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DatasetError, match=r"'few' takes 1\.2 GB decoded at 2000 px, and '.*' has 0\.0 GB free"):
        decoding.cached(_images(_pixels(100)), 2000)


def test_a_damaged_list_of_a_cache_is_named():
    images = _images(_pixels())
    described = decoding.cached(images, 8).path.with_suffix(".json")
    described.write_text(json.dumps({"left_out": [1]}))
    with pytest.raises(FormatError, match=r"is damaged\. Delete it"):
        decoding.cached(images, 8)


def test_a_source_without_images_of_no_use_tells_them_after_those_that_cannot_be_read():
    source = Without(Streamed.of(_broken(_pixels(), 5), 8), {5: "of no use", 7: "of no use"})
    pixels, reasons = source.read(np.array([4, 5, 7]))
    assert np.array_equal(pixels[[0, 2]], _pixels()[[4, 7]])
    assert set(reasons) == {5, 7} and "it is empty" in reasons[5] and reasons[7] == "of no use"
    assert (len(source), source.name, source.in_memory) == (20, "few", False)


@pytest.mark.parametrize("first", ["memory", "cache"])
@pytest.mark.parametrize("second", ["memory", "cache"])
def test_what_a_costly_set_left_out_is_left_out_when_it_is_opened_again(first, second):
    images = replace(_broken(_pixels(), 5), costly=True)
    decoding.open_source(images, 8, how=first, skip_corrupt=True)
    _, reasons = decoding.open_source(images, 8, how=second, skip_corrupt=True).read(np.arange(20))
    assert set(reasons) == {5}
    with pytest.raises(DatasetError, match="--on-corrupt skip"):
        decoding.open_source(images, 8, how=second)
