"""Where a set's pixels are kept while a network learns from it, and how they get there."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnas_face import files
from bnas_face.config import cache_root
from bnas_face.data import loader
from bnas_face.data.growing import GrowingFiles
from bnas_face.data.images import FaceImages, read_usable, resize
from bnas_face.data.sources import Cached, Decoded, Pixels, Progress, Source, Streamed
from bnas_face.errors import BrokenImageError, DatasetError, FormatError

CHUNK = 128
MEMORY_SHARE = 0.8
KEPT_BYTES = 1 << 30
"""Decoded costly sets up to this size are kept in the cache folder."""
PART = 32
"""Chunks after which a growing cache is safe on disk."""
WAYS = ("auto", "memory", "cache", "stream")


def open_source(
    images: FaceImages,
    size_px: int,
    *,
    how: str = "auto",
    workers: int = 0,
    skip_corrupt: bool = False,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> Source:
    """The pixels of a set, kept in the way that `how` says; whatever it is, reading gives the same pixels.

    Parameters
    ----------
    images : FaceImages
    size_px : int
        Height and width wanted.
    how : str
        ``"memory"``: decoded once. ``"cache"``: decoded once into a file, which later trainings use too.
        ``"stream"``: decoded whenever wanted. ``"auto"``: memory if the set fits into it, else stream; a set that is
        costly to read (rendered faces) goes to a cache instead.
    workers : int
        Processes that decode for the cache; 0: threads.
    skip_corrupt : bool
        Images that cannot be read are told by `Source.read`; otherwise they raise, here or there.
    memory_bytes : int or None
        Bound of what goes into memory; None is 80 % of what is available now.
    progress : callable or None
        Called with (images decoded, images in all).

    Raises
    ------
    DatasetError
        If the set does not fit into memory or onto the disk, or an image cannot be read.
    """
    if how == "auto":
        fits = n_bytes(images, size_px) <= memory_bound(memory_bytes)
        how = "memory" if fits else "cache" if images.costly else "stream"
    if how == "memory" and n_bytes(images, size_px) > memory_bound(memory_bytes):
        raise DatasetError(
            f"Dataset '{images.name}' needs {n_bytes(images, size_px) / 1e9:.1f} GB of memory at {size_px} px, and "
            f"{memory_bound(memory_bytes) / 1e9:.1f} GB are free for it. Use --loading stream, or --loading cache."
        )
    if how == "stream":
        return Streamed.of(images, size_px)
    if how == "cache":
        found = cached(images, size_px, workers=workers, skip_corrupt=skip_corrupt, progress=progress)
        loader.check_readable(images.name, found.reasons, skip_corrupt=skip_corrupt)
        return found
    try:
        return decode(images, size_px, skip_corrupt=skip_corrupt, memory_bytes=memory_bytes, progress=progress)
    except BrokenImageError as error:
        raise loader.cannot_go_on(images.name, str(error)) from None


def decode_all(
    images: FaceImages,
    size_px: int,
    *,
    threads: int = 4,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """Read and resize every image into one array, (n_images, size_px, size_px, 3); see `decode`.

    Raises
    ------
    DatasetError
        If the array would not fit the memory bound, or an image cannot be read.
    """
    return decode(images, size_px, threads=threads, memory_bytes=memory_bytes, progress=progress).pixels


def decode(
    images: FaceImages,
    size_px: int,
    *,
    threads: int = 4,
    skip_corrupt: bool = False,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """Read and resize every image into memory; a costly set (rendered faces) is kept in the cache for next time.

    Parameters
    ----------
    images : FaceImages
    size_px : int
        Height and width wanted.
    threads : int
        Decoding threads, >= 1.
    skip_corrupt : bool
        Leave out images that cannot be read (`Decoded.reasons`) instead of raising.
    memory_bytes : int or None
        Bound of the array's size; None is 80 % of the memory available now.
    progress : callable or None
        Called with (images done, images in all).

    Raises
    ------
    DatasetError
        If the array would not fit the memory bound; without `skip_corrupt`, if an image cannot be read (a
        `BrokenImageError`) or could not when the set was put into the cache.
    """
    needed, bound = n_bytes(images, size_px), memory_bound(memory_bytes)
    if needed > bound:
        raise DatasetError(
            f"Dataset '{images.name}' needs {needed / 1e9:.1f} GB as {len(images)} uint8 images of {size_px} px, and "
            f"{bound / 1e9:.1f} GB are free for it. Use --size-px 64, fewer identities (--min-images) or more memory."
        )
    kept = cache_file(images, size_px) if images.costly and needed <= KEPT_BYTES else None
    if kept is not None and (found := _opened(kept, _shape(images, size_px))) is not None:
        reasons = _reasons(kept)
        loader.check_readable(images.name, reasons, skip_corrupt=skip_corrupt)
        return Decoded(images.name, np.array(found), reasons)
    pixels, reasons = np.zeros(_shape(images, size_px), np.uint8), {}

    def fill(chunk: NDArray[np.int64]) -> tuple[int, Mapping[int, str]]:
        if skip_corrupt:
            usable, read, failed = read_usable(images, chunk)
            pixels[chunk[usable]] = resize(read, size_px)
            return len(chunk), {int(chunk[position]): reason for position, reason in failed.items()}
        pixels[chunk[0] : chunk[-1] + 1] = resize(images.read(chunk), size_px)
        return len(chunk), {}

    done = 0
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for count, failed in pool.map(fill, _chunks(0, len(images))):
            done += count
            reasons.update(failed)
            if progress is not None:
                progress(done, len(images))
    if kept is not None and not reasons:
        kept.with_suffix(".json").unlink(missing_ok=True)
        with files.atomic_path(kept) as part, part.open("wb") as file:
            np.save(file, pixels)
    return Decoded(images.name, pixels, reasons)


def cached(
    images: FaceImages,
    size_px: int,
    *,
    workers: int = 0,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
) -> Cached:
    """Read and resize every image into a file in the cache folder, once for all; stopped, the same call goes on.

    Of several processes that want it one makes it, and the others wait. Its name is a hash of the set's content, its
    ids and the size: a set that changed gets another.

    Parameters
    ----------
    images, size_px, skip_corrupt, progress
        As in `decode`.
    workers : int
        Processes that decode; 0: threads.

    Raises
    ------
    DatasetError
        If the disk is too small, or an image cannot be read.
    """
    path = cache_file(images, size_px)
    shape = _shape(images, size_px)
    if _opened(path, shape) is None:
        with files.locked(path.with_suffix(".lock"), None):
            if _opened(path, shape) is None:  # nobody made it while we waited
                _check_disk(images, size_px, path.parent)
                _grow(images, size_px, path, workers, skip_corrupt, progress)
    return Cached(images.name, path, _reasons(path))


def _grow(
    images: FaceImages, size_px: int, path: Path, workers: int, skip_corrupt: bool, progress: Progress | None
) -> None:
    source = Streamed.of(images, size_px)
    with GrowingFiles((path.with_suffix(".json"), path), path.stem) as growing:
        described, pixels_file = growing.files
        if growing.n_parts == 0:
            header = {"descr": "|u1", "fortran_order": False, "shape": _shape(images, size_px)}
            np.lib.format.write_array_header_1_0(pixels_file, header)
            growing.end_part({"done": 0, "reasons": {}})
        done, reasons = growing.state["done"], growing.state["reasons"]
        chunks = _chunks(done, len(images))
        for number, (chunk, pixels, failed) in enumerate(loader.made(source, source.read, chunks, workers), 1):
            loader.check_readable(images.name, failed, skip_corrupt=skip_corrupt)
            reasons |= {str(index): reason for index, reason in failed.items()}
            pixels_file.write(pixels.data)
            done += len(chunk)
            if number % PART == 0 or done == len(images):
                growing.end_part({"done": done, "reasons": reasons})
            if progress is not None:
                progress(done, len(images))
        described.write(json.dumps({"dataset": images.name, "size_px": size_px, "left_out": reasons}).encode())
        growing.finish()


def _chunks(start: int, n_images: int) -> list[NDArray[np.int64]]:
    return [np.arange(first, min(first + CHUNK, n_images)) for first in range(start, n_images, CHUNK)]


def _shape(images: FaceImages, size_px: int) -> tuple[int, int, int, int]:
    return len(images), size_px, size_px, 3


def n_bytes(images: FaceImages, size_px: int) -> int:
    """What the decoded set takes."""
    return math.prod(_shape(images, size_px))


def cache_file(images: FaceImages, size_px: int) -> Path:
    """Where the decoded pixels of a set are kept; ids are in the key because a subset has its parent's hash."""
    key = files.sha256_text(images.content_hash, str(size_px), *images.image_ids)
    return cache_root() / "decoded" / f"{key[:32]}.npy"


def _opened(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """The kept pixels as a memory map, or None where there are none or the file is damaged (it is then made again)."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


def _reasons(path: Path) -> dict[int, str]:
    """Images of a cache that could not be read; a cache that `decode` made has no such list."""
    described = path.with_suffix(".json")
    if not described.exists():
        return {}
    try:
        return {int(index): str(reason) for index, reason in files.read_json(described)["left_out"].items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise FormatError(f"'{described}' is damaged. Delete it and '{path.name}' to decode the set again.") from None


def _check_disk(images: FaceImages, size_px: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    begun = cache_file(images, size_px)
    there = sum(part.stat().st_size for part in folder.glob(f".{begun.name}.part"))
    needed, free = n_bytes(images, size_px), shutil.disk_usage(folder).free
    if needed > free + there:
        raise DatasetError(
            f"Dataset '{images.name}' takes {needed / 1e9:.1f} GB decoded at {size_px} px, and '{folder}' has "
            f"{free / 1e9:.1f} GB free. Set BNASFACE_CACHE to a larger disk, or use --loading stream."
        )


def memory_bound(memory_bytes: int | None = None) -> int:
    """What a decoded set may take: `memory_bytes`, or a share of what is available now."""
    return int(available_memory() * MEMORY_SHARE) if memory_bytes is None else memory_bytes


def available_memory() -> int:
    """Bytes of memory that can be had now without swapping; 8 GB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 8 * 1024**3
