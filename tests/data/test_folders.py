"""Folders of images, and what decoding refuses."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats import encoded, folders
from bnas_face.errors import BrokenImageError, DatasetError


def test_images_are_listed_sorted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    small_sets.write_files(
        tmp_path,
        {
            name: b""
            for name in (
                "b/2.PNG",
                "b/1.jpg",
                "a/x/1.webp",
                "a/notes.txt",
                ".hidden/1.jpg",
                "a/.2.jpg.part",
                "a/._1.jpg",
            )
        },
    )
    assert folders.list_images(tmp_path) == ("a/x/1.webp", "b/1.jpg", "b/2.PNG")


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere' is not a folder of images"):
        folders.list_images(tmp_path / "nowhere")


def test_labels_come_from_the_chosen_folder() -> None:
    labels, names = folders.label_by_folder(("train/cat/1.jpg", "train/ant/1.jpg", "test/cat/1.jpg"), 1)
    assert (labels.tolist(), names) == ([1, 0, 1], ("ant", "cat"))
    with pytest.raises(DatasetError, match=r"Image '1\.jpg' lies in no identity folder"):
        folders.label_by_folder(("1.jpg",), 0)


def test_labels_come_from_file_names_only_if_all_fit() -> None:
    found = folders.label_by_pattern(("Bo_Ek_2.jpg", "Ann_1.jpg"), r"(.+)_\d+\.jpg")
    assert found is not None
    assert (found[0].tolist(), found[1]) == ([1, 0], ("Ann", "Bo_Ek"))
    assert folders.label_by_pattern(("Bo_Ek_2.jpg", "Ann.jpg"), r"(.+)_\d+\.jpg") is None


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    cv2.imwrite(str(tmp_path / "x.png"), red[..., ::-1])
    assert np.array_equal(folders.read_square(tmp_path, "x.png", 4), red)
    assert np.array_equal(encoded.decode(encoded.encode_png(red), "x"), red)
    assert encoded.decode(encoded.encode_jpeg(red), "x")[0, 0, 0] > 250


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images_have_three_channels(channels: int) -> None:
    content = cv2.imencode(".png", np.full((4, 4, channels), 7, np.uint8))[1].tobytes()
    assert encoded.decode(content, "x").tolist() == np.full((4, 4, 3), 7).tolist()


@pytest.mark.parametrize("n", [1, 3, 50])
def test_a_batch_equals_single_reads_also_through_a_copy_by_pickle(tmp_path: Path, n: int) -> None:
    files = small_sets.lfw_files()
    reader = folders.FolderReader(small_sets.write_files(tmp_path, files), tuple(files), 16)
    indices = np.random.default_rng(n).integers(0, len(files), n)
    expected = np.stack([encoded.decode(files[list(files)[i]], "x") for i in indices])
    assert np.array_equal(reader(indices), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(reader))(indices), expected)
    assert reader(indices[:0]).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_an_image_truncated_at_any_byte_is_named_with_its_length(kind: str) -> None:
    pixels = encoded.decode(small_sets.jpeg(0), "x")
    content = encoded.encode_jpeg(pixels) if kind == ".jpg" else encoded.encode_png(pixels)
    for length in range(len(content) - (1 if kind == ".jpg" else 4)):
        with pytest.raises(BrokenImageError, match=r"Image 'a/b' cannot be decoded: .*[0-9]"):
            encoded.decode(content[:length], "a/b")


def test_a_truncated_jpeg_says_where_it_ends() -> None:
    content = small_sets.jpeg(0)[:-20]
    with pytest.raises(BrokenImageError) as caught:
        encoded.decode(content, "a/b.jpg")
    assert str(caught.value) == (
        f"Image 'a/b.jpg' cannot be decoded: the JPEG ends at byte {len(content)} without its end marker."
    )


def test_an_image_that_claims_too_many_pixels_is_refused() -> None:
    png = bytearray(encoded.encode_png(np.zeros((4, 4, 3), np.uint8)))
    png[16:24] = (60000).to_bytes(4, "big") * 2
    jpeg = bytearray(small_sets.jpeg(0))
    size = jpeg.index(b"\xff\xc0") + 5
    jpeg[size : size + 4] = b"\xff\xff\xff\xff"
    for content in (png, jpeg):
        with pytest.raises(BrokenImageError, match=r"claims 6[05][0-9]+×6[05][0-9]+ pixels"):
            encoded.decode(bytes(content), "x")


starts = st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"GIF89a"])


@given(start=starts, rest=st.binary(max_size=120))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_broken(start: bytes, rest: bytes) -> None:
    with pytest.raises(BrokenImageError):
        encoded.decode(start + rest, "x")


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    small_sets.write_files(tmp_path, {"a/1.jpg": small_sets.jpeg(0, 16), "a/2.jpg": small_sets.jpeg(0, 32)})
    reader = folders.FolderReader(tmp_path, ("a/1.jpg", "a/2.jpg"), 16)
    with pytest.raises(DatasetError, match=r"Image 'a/2\.jpg' is 32×32 px; the first image of the set is 16×16"):
        reader(np.array([0, 1]))


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        BrokenImageError, match=r"Image 'a\.jpg' cannot be decoded: '.*a\.jpg' cannot be read \(No such file"
    ):
        folders.FolderReader(tmp_path, ("a.jpg",), 16)(np.array([0]))


def test_the_hash_changes_with_an_id_and_with_a_byte_and_not_otherwise(tmp_path: Path) -> None:
    def of(name: str, files: dict[str, bytes]) -> str:
        root = small_sets.write_files(tmp_path / name, files)
        ids = folders.list_images(root)
        return folders.content_hash(ids, folders.digests(root, ids))

    first = of("1", {"a.jpg": b"1", "b.jpg": b"2"})
    assert of("2", {"a.jpg": b"1", "b.jpg": b"2"}) == first
    assert of("3", {"a.jpg": b"1", "b.jpg": b"3"}) != first
    assert of("4", {"a.jpg": b"1", "c.jpg": b"2"}) != first


def test_the_suffix_fits_the_content() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert encoded.suffix(encoded.encode_png(pixels)) == ".png"
    assert encoded.suffix(encoded.encode_jpeg(pixels)) == ".jpg"
    assert encoded.suffix(b"?") == ".img"


def test_a_file_name_that_is_no_utf8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "anna") + b"/Jos\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"file name 'anna/Jos\\xe9\.jpg', which is not UTF-8") as caught:
        folders.list_images(tmp_path)
    str(caught.value).encode()


def test_an_oblong_image_is_told_as_such() -> None:
    with pytest.raises(DatasetError, match=r"'a\.jpg' is 20×10 px; the images of a set are square"):
        folders.native_size(np.zeros((10, 20, 3), np.uint8), "a.jpg")


@pytest.mark.parametrize("ending", [".tiff", ".gif", ".ppm"])
def test_a_format_nobody_asked_for_is_not_decoded(ending: str) -> None:
    content = bytes(cv2.imencode(ending, np.zeros((8, 8, 3), np.uint8))[1])
    with pytest.raises(BrokenImageError, match=r"no known image format \(JPEG, PNG, BMP, WebP\)"):
        encoded.decode(content, "a.jpg")


@pytest.mark.parametrize("ending", [".bmp", ".webp"])
def test_a_truncated_image_is_told_by_us_alone(ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    content = bytes(cv2.imencode(ending, pixels)[1])
    assert encoded.decode(content, "a").shape == (32, 32, 3)
    with pytest.raises(BrokenImageError, match="damaged or of no known image format"):
        encoded.decode(content[:-100], "a")
    assert capfd.readouterr().err == ""
