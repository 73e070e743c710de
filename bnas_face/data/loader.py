"""From a set of images to training batches: decoded once, kept as uint8, augmented cheaply and repeatably.

What an image looks like in a batch depends on (seed, epoch, index of the image) alone, and the order of an epoch on
(seed, epoch): neither on the batch size, the number of devices or threads, nor on where a run was interrupted.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnas_face import files
from bnas_face.config import cache_root
from bnas_face.data.augment import Augmenter
from bnas_face.data.images import FaceImages, resize
from bnas_face.errors import DatasetError

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]
CHUNK = 128
MEMORY_SHARE = 0.8
KEPT_BYTES = 1 << 30
"""Decoded costly sets up to this size are kept in the cache folder."""
_FLIP_STREAM, _SHIFT_STREAM, _ORDER_STREAM, _CUTOUT_STREAM, _AUGMENT_STREAM = 1, 2, 3, 4, 6
BLANK = 128
"""What cutout leaves: the middle of the range, 0.004 for the network, which sees [-1, 1]."""


@dataclass(frozen=True)
class Batch:
    """Training images and their identities.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (batch_size, size_px, size_px, 3)
        RGB, augmented.
    labels : ndarray of int64, shape (batch_size,)
    indices : ndarray of int64, shape (batch_size,)
        Position of each image in the training set; empty where nobody asks.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def decode_all(
    images: FaceImages,
    size_px: int,
    *,
    threads: int = 4,
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """Read and resize every image into one array; a costly set (rendered faces) is kept in the cache for next time.

    Parameters
    ----------
    images : FaceImages
    size_px : int
        Height and width wanted.
    threads : int
        Decoding threads, >= 1.
    memory_bytes : int or None
        Bound of the array's size; None is 80 % of the memory available now.
    progress : callable or None
        Called with (images done, images in all).

    Returns
    -------
    ndarray of uint8, shape (n_images, size_px, size_px, 3)
        RGB.

    Raises
    ------
    DatasetError
        If the array would not fit the memory bound.
    BrokenImageError
        If an image cannot be decoded.
    """
    needed = len(images) * size_px * size_px * 3
    bound = int(available_memory() * MEMORY_SHARE) if memory_bytes is None else memory_bytes
    if needed > bound:
        raise DatasetError(
            f"Dataset '{images.name}' needs {needed / 1e9:.1f} GB as {len(images)} uint8 images of {size_px} px, and "
            f"{bound / 1e9:.1f} GB are free for it. Use --size-px 64, fewer identities (--min-images) or more memory."
        )
    kept = _kept_file(images, size_px) if images.costly and needed <= KEPT_BYTES else None
    if kept is not None and (found := _read_kept(kept, (len(images), size_px, size_px, 3))) is not None:
        return found
    pixels = np.empty((len(images), size_px, size_px, 3), np.uint8)
    chunks = [np.arange(start, min(start + CHUNK, len(images))) for start in range(0, len(images), CHUNK)]

    def decode(chunk: NDArray[np.int64]) -> int:
        pixels[chunk[0] : chunk[-1] + 1] = resize(images.read(chunk), size_px)
        return len(chunk)

    done = 0
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for count in pool.map(decode, chunks):
            done += count
            if progress is not None:
                progress(done, len(images))
    if kept is not None:
        with files.atomic_path(kept) as part, part.open("wb") as file:
            np.save(file, pixels)
    return pixels


def _kept_file(images: FaceImages, size_px: int) -> Path:
    """Where the decoded pixels of a costly set are kept; ids are in the key because a subset has its parent's hash."""
    key = files.sha256_text(images.content_hash, str(size_px), *images.image_ids)
    return cache_root() / "decoded" / f"{key[:32]}.npy"


def _read_kept(path: Path, shape: tuple[int, ...]) -> Pixels | None:
    """The kept pixels, or None where there are none or the file is damaged (it is then made again)."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.uint8 else None


def available_memory() -> int:
    """Bytes of memory that can be had now without swapping; 8 GB where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 8 * 1024**3


def epoch_order(n_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` visits the images: a permutation of 0 … n_images − 1."""
    return np.random.default_rng((seed, epoch, _ORDER_STREAM)).permutation(n_images).astype(np.int64)


@dataclass(frozen=True)
class Augmentation:
    """What happens to every image of one epoch: a random flip, a random shift, and a blanked square (cutout).

    Attributes
    ----------
    flip : ndarray of bool, shape (n_images,)
        Mirror left and right.
    shift : ndarray of int64, shape (n_images, 2)
        Down and right, in pixels; the border is repeated where the image moves away.
    cutout_px : int
        Side of the blanked square; 0 for none.
    centre : ndarray of float64, shape (n_images, 2)
        Of that square, from the top and from the left, as a share of the side in [0, 1): any pixel may be its centre,
        so that at the border less is blanked.

    References
    ----------
    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv 1708.04552: 16 px
    on CIFAR-10.
    """

    flip: NDArray[np.bool_]
    shift: NDArray[np.int64]
    cutout_px: int = 0
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @classmethod
    def draw(cls, n_images: int, *, shift_px: int, seed: int, epoch: int, cutout_px: int = 0) -> Augmentation:
        """Draw one epoch's; `shift_px` >= 0 bounds the shift each way."""
        flip = np.random.default_rng((seed, epoch, _FLIP_STREAM)).random(n_images) < 0.5
        shift = np.random.default_rng((seed, epoch, _SHIFT_STREAM)).integers(-shift_px, shift_px + 1, (n_images, 2))
        centre = np.random.default_rng((seed, epoch, _CUTOUT_STREAM)).random((n_images, 2))
        return cls(flip=flip, shift=shift, cutout_px=cutout_px, centre=centre)

    def apply(self, batch: Pixels, indices: NDArray[np.int64]) -> Pixels:
        """`batch`, which holds the images `indices` (shape (batch_size,)) of the set, augmented: a new array."""
        batch = batch.copy()
        for position, index in enumerate(indices):
            image = batch[position]
            if self.flip[index]:
                image = image[:, ::-1]
            batch[position] = _shifted(image, int(self.shift[index, 0]), int(self.shift[index, 1]))
            if self.cutout_px:
                _blank(batch[position], self.centre[index], self.cutout_px)
        return batch


def _blank(image: Pixels, centre: NDArray[np.float64], side_px: int) -> None:
    """Blank a square of `image` (size_px, size_px, 3) in place, cut off at the border."""
    top, left = (int(share * len(image)) - side_px // 2 for share in centre)
    image[max(0, top) : max(0, top + side_px), max(0, left) : max(0, left + side_px)] = BLANK


def _shifted(image: Pixels, down: int, right: int) -> Pixels:
    """`image` (size_px, size_px, 3) moved, its border repeated; always a new array."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return image[rows[:, None], columns[None, :]]


def batches(
    pixels: Pixels,
    labels: NDArray[np.int64],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    shift_px: int = 0,
    cutout_px: int = 0,
    augmenter: Augmenter | None = None,
    skip: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Batches of one epoch, assembled in a background thread while the network computes.

    The images left over after the last whole batch wait for another epoch (a small last batch would disturb batch
    normalisation); a set smaller than one batch is one batch.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (n_images, size_px, size_px, 3)
    labels : ndarray of int64, shape (n_images,)
    batch_size : int
        Over all devices; each gets every world_size-th image of it.
    seed, epoch : int
    shift_px : int
        Bound of the random shift; the random flip is always on.
    cutout_px : int
        Side of the square that is blanked in every image; 0 for none.
    augmenter : Augmenter or None
        Changes every image besides, before flip and shift.
    skip : int
        Begin with this batch (a resumed epoch).
    rank, world_size : int
        This device, and how many there are.
    """
    order = epoch_order(len(pixels), seed=seed, epoch=epoch)
    augmentation = Augmentation.draw(len(pixels), shift_px=shift_px, seed=seed, epoch=epoch, cutout_px=cutout_px)

    def assemble() -> Iterator[Batch]:
        for step in range(skip, n_batches(len(pixels), batch_size)):
            indices = order[step * batch_size : (step + 1) * batch_size][rank::world_size]
            chosen = pixels[indices]
            if augmenter is not None:
                for position, index in enumerate(indices):
                    rng = np.random.default_rng((seed, epoch, int(index), _AUGMENT_STREAM))
                    chosen[position] = augmenter(chosen[position], rng)
            yield Batch(augmentation.apply(chosen, indices), labels[indices], indices)

    return in_background(assemble())


def n_batches(n_images: int, batch_size: int) -> int:
    """Whole batches in `n_images`, at least one."""
    return max(1, n_images // batch_size)


def in_background(items: Iterator[Batch], depth: int = 4) -> Iterator[Batch]:
    """The same items, made ahead by a thread; an error there is raised here, and leaving early ends the thread."""
    waiting: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                if stop.is_set():
                    return
                put(item)
            put(None)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=work, name="bnas_face batches", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
