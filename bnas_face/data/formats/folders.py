"""Folders of images: `identity/…/image.jpg`, read by a pool of threads."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face import machine
from bnas_face.data.formats import encoded
from bnas_face.errors import BrokenImageError, DatasetError
from bnas_face.files import sha256_text

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})

_SERIAL = 8
"""Batches below this size are decoded by the calling thread: starting a pool costs more than it saves."""


def list_images(root: Path) -> tuple[str, ...]:
    """Ids (paths relative to `root`, with ``/``) of all images below it, sorted; hidden ones are passed over.

    Raises
    ------
    DatasetError
        If `root` is not a folder, cannot be read, or holds a name that is no UTF-8.
    """
    if not root.is_dir():
        raise DatasetError(f"'{root}' is not a folder of images.")
    found: list[str] = []
    try:
        _collect(os.fspath(root), "", found)
    except OSError as error:
        raise DatasetError(f"Folder '{root}' cannot be read: {error.strerror} ('{error.filename}').") from None
    check_names(root, found)
    return tuple(sorted(found))


def check_names(root: Path, names: Iterable[str]) -> None:
    """`DatasetError` unless every file name is UTF-8: ids stand in JSON, CSV and reports."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"'{root}' holds the file name '{readable(name)}', which is not UTF-8. Rename it, or convert all names "
                "(convmv -f latin1 -t utf8 -r --notest FOLDER)."
            ) from None


def readable(name: str) -> str:
    """A file name with the bytes that are no UTF-8 written as ``\\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _collect(folder: str, prefix: str, found: list[str]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                _collect(entry.path, f"{prefix}{entry.name}/", found)
            elif is_image_name(entry.name):
                found.append(prefix + entry.name)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image that can be decoded."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  called for 500,000 names


def label_by_folder(image_ids: Sequence[str], level: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels and identity names from the `level`-th folder of each id (0 = first).

    Raises
    ------
    DatasetError
        If an image lies outside any such folder.
    """
    parts = [image_id.split("/") for image_id in image_ids]
    shallow = next((i for i, part in enumerate(parts) if len(part) < level + 2), None)
    if shallow is not None:
        raise DatasetError(
            f"Image '{image_ids[shallow]}' lies in no identity folder; expected {'…/' * level}<identity>/<image>.jpg."
        )
    names = sorted({part[level] for part in parts})
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[part[level]] for part in parts], np.int64), tuple(names)


def label_by_pattern(image_ids: Sequence[str], pattern: str) -> tuple[NDArray[np.int64], tuple[str, ...]] | None:
    """Labels and identity names from group 1 of a regular expression; None unless it matches every id."""
    matches = [re.fullmatch(pattern, image_id) for image_id in image_ids]
    found = [match[1] for match in matches if match]
    if len(found) != len(image_ids):
        return None
    names = sorted(set(found))
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[name] for name in found], np.int64), tuple(names)


@dataclass(frozen=True)
class FolderReader:
    """Reads images of a folder: positions → RGB uint8 of shape (n, size_px, size_px, 3). Picklable and thread-safe."""

    root: Path
    image_ids: tuple[str, ...]
    size_px: int

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read and decode; raises `BrokenImageError`, or `DatasetError` for an image of another size."""
        images = np.empty((len(indices), self.size_px, self.size_px, 3), np.uint8)

        def fill(position: int) -> None:
            images[position] = read_square(self.root, self.image_ids[indices[position]], self.size_px)

        fill_all(fill, len(indices))
        return images


RESIZED_SHARE = 256 / 224
"""The shorter side is resized to so many times the side of the square that is cut out: the usual way for ImageNet."""


@dataclass(frozen=True)
class CentreCropReader:
    """As `FolderReader`, for images of any shape: the shorter side resized, then the central square cut out."""

    root: Path
    image_ids: tuple[str, ...]
    size_px: int

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read, decode, resize and cut; raises `BrokenImageError`."""
        images = np.empty((len(indices), self.size_px, self.size_px, 3), np.uint8)

        def fill(position: int) -> None:
            image_id = self.image_ids[indices[position]]
            pixels = encoded.decode(read_bytes(self.root, image_id), image_id)
            images[position] = centre_crop(pixels, self.size_px)

        fill_all(fill, len(indices))
        return images


def centre_crop(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """The central square of an image (height, width, 3) whose shorter side is resized to 256/224 of `size_px`.

    Area averaging down, bilinear up; the longer side keeps the proportions, rounded.
    """
    height, width = pixels.shape[:2]
    scale = round(size_px * RESIZED_SHARE) / min(height, width)
    size = (max(size_px, round(width * scale)), max(size_px, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(pixels, size, interpolation=how)
    left, top = (size[0] - size_px) // 2, (size[1] - size_px) // 2
    return np.asarray(resized[top : top + size_px, left : left + size_px], np.uint8)


def fill_all(fill: Callable[[int], None], n: int) -> None:
    """Call ``fill(0) … fill(n − 1)``, by a pool of threads when `n` is worth it; the first error is raised."""
    if n < _SERIAL:
        for position in range(n):
            fill(position)
        return
    with ThreadPoolExecutor(machine.processors()) as pool:
        for _ in pool.map(fill, range(n)):
            pass


def read_bytes(root: Path, image_id: str) -> bytes:
    """Content of an image file; raises `BrokenImageError` if it cannot be read."""
    try:
        return (root / image_id).read_bytes()
    except OSError as error:
        raise BrokenImageError(image_id, f"'{root / image_id}' cannot be read ({error.strerror})") from None


def read_square(root: Path, image_id: str, size_px: int) -> NDArray[np.uint8]:
    """One image as RGB uint8 of shape (size_px, size_px, 3)."""
    return check_square(encoded.decode(read_bytes(root, image_id), image_id), image_id, size_px)


def check_square(pixels: NDArray[np.uint8], image_id: str, size_px: int) -> NDArray[np.uint8]:
    """The pixels, if they are size_px × size_px; `DatasetError` otherwise."""
    height, width = pixels.shape[:2]
    if (height, width) != (size_px, size_px):
        raise DatasetError(
            f"Image '{image_id}' is {width}×{height} px; the first image of the set is {size_px}×{size_px}. "
            "Bring all to one size: bnasface align RAW_DIR OUT_DIR."
        )
    return pixels


def native_size(pixels: NDArray[np.uint8], image_id: str) -> int:
    """Side length of a square image in px; `DatasetError` for another shape."""
    height, width = pixels.shape[:2]
    if height != width:
        raise DatasetError(
            f"Image '{image_id}' is {width}×{height} px; the images of a set are square and of one size. "
            "Make them so: bnasface align RAW_DIR OUT_DIR."
        )
    return int(height)


def common_size(root: Path, image_ids: Sequence[str]) -> int:
    """Side length in px of the first image that can be decoded: a broken one is told when it is read.

    Raises
    ------
    BrokenImageError
        If none can be decoded; it names the first.
    DatasetError
        If that image is not square.
    """
    broken: BrokenImageError | None = None
    for image_id in image_ids:
        try:
            return native_size(encoded.decode(read_bytes(root, image_id), image_id), image_id)
        except BrokenImageError as error:
            broken = broken or error
    raise broken or DatasetError(f"'{root}' holds no images.")


def unwrap(root: Path) -> None:
    """Remove a single folder around the identities: ``photos/anna/1.jpg`` becomes ``anna/1.jpg``."""
    children = list(root.iterdir())
    while len(children) == 1 and children[0].is_dir() and any(child.is_dir() for child in children[0].iterdir()):
        wrapper = children[0].rename(root.with_name(".wrapper"))
        root.rmdir()
        wrapper.rename(root)
        children = list(root.iterdir())


def digests(root: Path, image_ids: Sequence[str]) -> list[str]:
    """SHA-256 of each file's bytes, in hex, read by a pool of threads."""

    def one(image_id: str) -> str:
        return hashlib.sha256(read_bytes(root, image_id)).hexdigest()

    with ThreadPoolExecutor(machine.processors()) as pool:
        return list(pool.map(one, image_ids, chunksize=64))


def content_hash(image_ids: Sequence[str], hashes: Sequence[str]) -> str:
    """SHA-256 over all ids and the `digests` of their files: changes whenever an id or a byte changes, else never."""
    return sha256_text(*(part for pair in zip(image_ids, hashes, strict=True) for part in pair))


def quick_hash(root: Path, image_ids: Sequence[str]) -> str:
    """SHA-256 over ids, sizes and modification times: no file is opened, so half a million take seconds."""
    check_names(root, image_ids)
    parts: list[str] = []
    for image_id in image_ids:
        stat = (root / image_id).stat()
        parts += (image_id, str(stat.st_size), str(stat.st_mtime_ns))
    return sha256_text(*parts)
