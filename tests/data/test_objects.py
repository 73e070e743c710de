"""CIFAR-10 and ImageNet: files in the exact published formats, their splits, and what may be learned from."""

from __future__ import annotations

import pickle
import struct
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pytest
import small_sets
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnas_face import torchvision_compat
from bnas_face.cli import cli
from bnas_face.config import data_root
from bnas_face.data import datasets, fetching, library
from bnas_face.data.datasets import cifar10
from bnas_face.data.formats import cifar_batches, folders
from bnas_face.data.importing import Request, import_dataset
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError, FormatError

torchvision_compat.ensure_torchvision()

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def python_2_batch(pixels: np.ndarray, labels: list[int], label: bytes = b"training batch 1 of 5") -> bytes:
    """Byte for byte the shape of the published files: Python 2, pickle protocol 2, numpy 1, keys as byte strings."""

    def short(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text

    rows = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    shape = b"K" + bytes([len(rows)]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x06cnumpy\nndarray\nq\x07K\x00\x85U\x01b\x87Rq\x08(K\x01" + shape
        + b"cnumpy\ndtype\nq\tU\x02u1K\x00K\x01\x87Rq\n(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", rows.size) + rows.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"].(".replace(b".", b"q\x05") + b"".join(b"K" + bytes([value]) for value in labels) + b"e"
    names = b"](" + b"".join(short(b"%d.png" % i) for i in range(len(labels))) + b"e"
    return (
        b"\x80\x02}q\x01(" + short(b"batch_label") + b"q\x02" + short(label) + b"q\x03" + short(b"labels") + numbers
        + short(b"data") + array + short(b"filenames") + names + b"u."
    )  # fmt: skip


def meta(names: tuple[str, ...] = CLASSES) -> bytes:
    return pickle.dumps({b"label_names": [name.encode() for name in names], b"num_vis": 3072}, protocol=2)


def draw(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def batch_files(n: int = 20) -> dict[str, bytes]:
    """The published folder with `n` images a batch."""
    files = {f"cifar-10-batches-py/{cifar_batches.META}": meta(), "cifar-10-batches-py/readme.html": b"<html>"}
    for seed, name in enumerate(cifar_batches.BATCHES):
        files[f"cifar-10-batches-py/{name}"] = python_2_batch(draw(n, seed), [i % 10 for i in range(n)])
    return files


def test_a_published_batch_is_read_as_numpy_itself_reads_it(tmp_path: Path) -> None:
    pixels, labels = draw(7), [3, 1, 4, 1, 5, 9, 2]
    content = python_2_batch(pixels, labels)
    by_pickle = pickle.loads(content, encoding="bytes")
    assert by_pickle[b"data"].shape == (7, 3072)
    (tmp_path / "data_batch_1").write_bytes(content)
    found, numbers = cifar_batches.read_batch(tmp_path / "data_batch_1", 10)
    assert np.array_equal(found, pixels)
    assert numbers.tolist() == labels == by_pickle[b"labels"]
    assert np.array_equal(found[0, :, :, 0].ravel(), by_pickle[b"data"][0, :1024]), "red comes first"


@pytest.mark.parametrize("protocol", range(6))
def test_a_batch_written_by_python_3_reads_alike(tmp_path: Path, protocol: int) -> None:
    pixels = draw(4)
    rows = pixels.transpose(0, 3, 1, 2).reshape(4, -1)
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": rows, "labels": [0, 1, 2, 3]}, protocol=protocol))
    assert np.array_equal(cifar_batches.read_batch(tmp_path / "test_batch", 10)[0], pixels)


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_official_batches_become_lossless_images_in_splits_and_classes(tmp_path: Path, form: str) -> None:
    files = batch_files()
    if form == "archive":
        source = small_sets.tar(tmp_path / "cifar-10-python.tar.gz", files)
    else:
        source = small_sets.write_files(tmp_path, files) / "cifar-10-batches-py"
    said: list[str] = []
    import_dataset(Request(dataset="cifar10", source=source, allow_other_counts=True), said.append)
    assert "Wrote 120 images as PNG, without loss." in said
    assert not (data_root() / "cifar10" / "images" / cifar_batches.STAGED).exists()
    train, test = datasets.load("cifar10:train"), datasets.load("cifar10:test")
    assert (len(train), len(test), train.size_px) == (100, 20, 32)
    assert train.identity_names == test.identity_names == CLASSES
    assert train.provenance["title"] == "CIFAR-10"
    expected = draw(20, seed=5)
    for index in range(len(test)):
        number = int(test.image_ids[index].rpartition("/")[2].removesuffix(".png"))
        original = expected[10 * number + test.labels[index]]
        assert np.array_equal(test.read(np.array([index]))[0], original)


def test_jpeg_files_say_so_in_the_title(tmp_path: Path) -> None:
    files = {f"{split}/{kind}/0000.jpg": small_sets.jpeg(1, 32) for split in ("train", "test") for kind in ("a", "b")}
    source = small_sets.write_files(tmp_path / "c", files)
    import_dataset(Request(dataset="cifar10", source=source, allow_other_counts=True))
    assert datasets.load("cifar10:test").provenance["title"] == "CIFAR-10 (JPEG)"


def test_batches_without_their_names_are_refused(tmp_path: Path) -> None:
    files = {name: content for name, content in batch_files(3).items() if not name.endswith(cifar_batches.META)}
    source = small_sets.tar(tmp_path / "c.tar.gz", files)
    with pytest.raises(DatasetError, match=r"'batches\.meta' is not beside the batches"):
        import_dataset(Request(dataset="cifar10", source=source, allow_other_counts=True))


def test_other_counts_than_the_published_ones_are_refused(tmp_path: Path) -> None:
    source = small_sets.tar(tmp_path / "c.tar.gz", batch_files(3))
    with pytest.raises(DatasetError, match="holds 18 images of 3 identities"):
        import_dataset(Request(dataset="cifar10", source=source))


class Hostile:
    def __reduce__(self) -> Any:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"data": Hostile(), "labels": []}), r"is refused at byte \d+: it asks for 'builtins\.print'"),
        (pickle.dumps([1, 2]), "holds list where a dictionary was expected"),
        (pickle.dumps({"labels": [1]}), r"holds nothing as 'data'; a CIFAR-10 batch has uint8 of shape \(n, 3072\)"),
        (pickle.dumps({"data": np.zeros((2, 7), np.uint8), "labels": [1, 1]}), r"holds uint8 of shape \(2, 7\)"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), "no list of 'labels' from 0 to 9"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1, 2]}), "1 images and 2 labels"),
        (python_2_batch(draw(3), [1, 2, 3])[:-400], "is damaged or truncated near byte"),
    ],
)
def test_a_damaged_or_hostile_batch_is_one_sentence(
    tmp_path: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        cifar_batches.read_batch(tmp_path / "data_batch_1", 10)
    assert "data_batch_1'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("names", [("a", "../b"), ("a", "a"), ("a", ".."), ("a", "b\n")])
def test_class_names_that_are_no_folder_names_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "batches.meta").write_bytes(meta(names))
    with pytest.raises(FormatError, match="class names that are no folder names"):
        cifar_batches.read_names(tmp_path / "batches.meta")


@given(st.binary(max_size=200), st.integers(0, 400))
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_batch_gives_images_or_a_sentence(tmp_path: Path, noise: bytes, at: int) -> None:
    content = bytearray(python_2_batch(draw(1), [1]))
    content[at : at + len(noise)] = noise
    (tmp_path / "x").write_bytes(bytes(content))
    try:
        cifar_batches.read_batch(tmp_path / "x", 10)
    except FormatError as error:
        assert "\n" not in str(error)


def imagenet(root: Path, sizes: tuple[tuple[int, int], ...] = ((90, 60), (50, 120), (64, 64))) -> Path:
    """The layout of ImageFolder: train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, of several shapes."""
    for split in ("train", "val"):
        for kind, wnid in enumerate(("n01440764", "n01443537", "n02102040")):
            for number, (height, width) in enumerate(sizes):
                image = np.full((height, width, 3), 40 + 80 * kind, np.uint8)
                image[:, : width // 2, 0] = 20 * number
                path = root / split / wnid / f"{wnid}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image)
    return root


def test_imagenet_is_read_where_it_is_as_central_squares(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "ILSVRC2012")
    import_dataset(Request(dataset="imagenet", source=root, allow_other_counts=True))
    assert library.manifest("imagenet").reference == str(root)
    assert not (data_root() / "imagenet" / "images").exists()
    train, val = datasets.load("imagenet:train"), datasets.load("imagenet:val")
    assert (len(train), len(val), train.size_px) == (9, 9, 224)
    assert train.identity_names == val.identity_names == ("n01440764", "n01443537", "n02102040")
    assert train.read(np.arange(9)).shape == (9, 224, 224, 3)
    assert len(datasets.load("imagenet")) == 18
    with pytest.raises(DatasetError, match="has the splits train and val, found 'imagenet:test'"):
        datasets.load("imagenet:test")


def test_validation_images_outside_class_folders_are_told(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "i")
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(small_sets.jpeg(0))
    with pytest.raises(DatasetError, match="lies in no identity folder; expected …/<identity>/<image>"):
        import_dataset(Request(dataset="imagenet", source=root, allow_other_counts=True))


@pytest.mark.parametrize(("height", "width"), [(256, 256), (300, 500), (40, 90), (1000, 257), (224, 225)])
def test_the_central_square_is_cut_from_the_middle(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 2 :, :, 0] = 255
    image[:, width // 2 :, 1] = 255
    cut = folders.centre_crop(image, 224)
    assert cut.shape == (224, 224, 3)
    for axis, channel in ((0, 0), (1, 1)):
        assert cut[..., channel].mean(axis=1 - axis)[:100].max() == 0
        assert cut[..., channel].mean(axis=1 - axis)[124:].min() == 255


def test_an_image_of_256_px_is_cut_without_resampling() -> None:
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8)
    assert np.array_equal(folders.centre_crop(image, 224), image[16:240, 16:240])


def test_only_the_training_split_may_be_learned_from() -> None:
    assert datasets.training_spec("cifar10") == datasets.training_spec("cifar10:train") == "cifar10:train"
    assert datasets.training_spec("imagenet") == "imagenet:train"
    assert datasets.training_spec("lfw") == "lfw"
    assert datasets.training_spec("folder:a:b") == "folder:a:b"
    for spec in ("cifar10:test", "imagenet:val"):
        with pytest.raises(ConfigError, match=f"'{spec}' is what '{spec.partition(':')[0]}' is tested on"):
            datasets.training_spec(spec)


def test_every_card_is_of_faces_or_of_objects_with_both_splits() -> None:
    kinds = {name: datasets.card(name) for name in datasets.names()}
    assert {name for name, card in kinds.items() if card.kind == "objects"} == {"cifar10", "imagenet"}
    for card in kinds.values():
        assert card.kind in ("faces", "objects")
        assert (card.kind == "objects") == bool(card.training_split and card.test_split and card.size_px)


@pytest.mark.realdata
def test_the_shared_jpeg_archive_has_the_published_counts(shared_data: Path) -> None:
    with tarfile.open(shared_data / "cifar10" / "cifar10_jpeg.tar.gz") as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")]
    ids = {cifar10.IMPORT.place(PurePosixPath(name)) for name in names}
    assert len(ids) == 60_000
    assert {str(image_id).split("/")[1] for image_id in ids} == set(CLASSES)


def test_a_download_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    with pytest.raises(BnasFaceError, match="'cifar10' could not be downloaded: no route to host"):
        fetching.fetch("cifar10", tmp_path)


def test_fetching_cifar10_gives_torchvisions_archive_and_the_import_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def download(url: str, root: str, filename: str, md5: str) -> None:
        asked.append((url, filename, md5))
        small_sets.tar(Path(root) / filename, batch_files(2))

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    found = CliRunner().invoke(cli, ["data", "fetch", "cifar10"])
    assert found.exit_code == 0, found.output
    archive = data_root() / ".fetched" / "cifar-10-python.tar.gz"
    assert f"bnasface data import cifar10 {archive}" in found.output
    assert asked[0][1:] == ("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a")
    import_dataset(Request(dataset="cifar10", source=archive, allow_other_counts=True))
    assert len(datasets.load("cifar10:train")) == 10
