"""From pixels to training batches: augmented cheaply and repeatably, made ahead by threads or processes.

What an image looks like in a batch depends on (seed, epoch, index of the image) alone, and the order of an epoch on
(seed, epoch): neither on the batch size, the number of devices, threads or processes, nor on whether the images are in
memory or decoded anew (`bnas_face.data.sources`), nor on where a run was interrupted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.data.augment import Augmenter
from bnas_face.data.sources import Pixels, Source
from bnas_face.errors import DatasetError

_FLIP_STREAM, _SHIFT_STREAM, _ORDER_STREAM, _CUTOUT_STREAM, _AUGMENT_STREAM = 1, 2, 3, 4, 6
BLANK = 128
"""What cutout leaves: the middle of the range, 0.004 for the network, which sees [-1, 1]."""
DEPTH = 4
"""Batches made ahead."""
T = TypeVar("T")
R = TypeVar("R")
Made = tuple[Pixels, Mapping[int, str]]


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
    left_out : mapping of int to str
        Position of each image that belongs here and cannot be read → why.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    indices: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    left_out: Mapping[int, str] = field(default_factory=dict)


def epoch_order(n_images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order in which epoch `epoch` visits the images: a permutation of 0 … n_images − 1."""
    return np.random.default_rng((seed, epoch, _ORDER_STREAM)).permutation(n_images).astype(np.int64, copy=False)


@dataclass(frozen=True)
class Augmentation:
    """What happens to images in one epoch: what `augmenter` does, a random flip, a random shift, a blanked square.

    Attributes
    ----------
    indices : ndarray of int64, shape (n_images,)
        Which images of the set these are.
    flip : ndarray of bool, shape (n_images,)
        Mirror left and right.
    shift : ndarray of int16, shape (n_images, 2)
        Down and right, in pixels; the border is repeated where the image moves away.
    cutout_px : int
        Side of the blanked square; 0 for none.
    centre : ndarray of float64, shape (n_images, 2)
        Of that square, from the top and from the left, as a share of the side in [0, 1): any pixel may be its centre,
        so that at the border less is blanked. Empty without cutout.
    augmenter : Augmenter or None
        Is given a generator made from `stream` and the image's index.
    stream : tuple of int
        Seed and epoch.

    References
    ----------
    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", arXiv 1708.04552: 16 px
    on CIFAR-10.
    """

    indices: NDArray[np.int64]
    flip: NDArray[np.bool_]
    shift: NDArray[np.int16]
    cutout_px: int = 0
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    augmenter: Augmenter | None = None
    stream: tuple[int, ...] = ()

    @classmethod
    def draw(
        cls,
        n_images: int,
        *,
        shift_px: int,
        seed: int,
        epoch: int,
        cutout_px: int = 0,
        augmenter: Augmenter | None = None,
    ) -> Augmentation:
        """Draw one epoch's; `shift_px` >= 0 bounds the shift each way."""
        flip = np.random.default_rng((seed, epoch, _FLIP_STREAM)).random(n_images) < 0.5
        shift = np.random.default_rng((seed, epoch, _SHIFT_STREAM)).integers(-shift_px, shift_px + 1, (n_images, 2))
        drawn = cls(np.arange(n_images), flip, shift.astype(np.int16), cutout_px, stream=(seed, epoch))
        if cutout_px:
            drawn = replace(drawn, centre=np.random.default_rng((*drawn.stream, _CUTOUT_STREAM)).random((n_images, 2)))
        return replace(drawn, augmenter=augmenter if augmenter is not None and augmenter.changes else None)

    def take(self, indices: NDArray[np.int64]) -> Augmentation:
        """What happens to the images `indices` (shape (batch_size,)) of the set, in that order."""
        centre = self.centre[indices] if self.cutout_px else self.centre
        return replace(self, indices=indices, flip=self.flip[indices], shift=self.shift[indices], centre=centre)

    def apply(self, pixels: Pixels) -> Pixels:
        """Change `pixels` (n_images, size_px, size_px, 3), uint8, in place; returned for convenience."""
        for position, index in enumerate(self.indices.tolist()):
            image = pixels[position]
            if self.augmenter is not None:
                image = self.augmenter(image, np.random.default_rng((*self.stream, index, _AUGMENT_STREAM)))
            down, right = self.shift[position].tolist()
            pixels[position] = _moved(image, down, right, mirrored=bool(self.flip[position]))
            if self.cutout_px:
                _blank(pixels[position], self.centre[position], self.cutout_px)
        return pixels


def _blank(image: Pixels, centre: NDArray[np.float64], side_px: int) -> None:
    """Blank a square of `image` (size_px, size_px, 3) in place, cut off at the border."""
    top, left = (int(share * len(image)) - side_px // 2 for share in centre)
    image[max(0, top) : max(0, top + side_px), max(0, left) : max(0, left + side_px)] = BLANK


def _moved(image: Pixels, down: int, right: int, *, mirrored: bool) -> Pixels:
    """`image` (size_px, size_px, 3) mirrored if asked for, then shifted by less than its size, its border repeated."""
    if mirrored:
        image = cv2.flip(image, 1)
    height, width = image.shape[:2]
    kept = image[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    sides = (max(0, down), max(0, -down), max(0, right), max(0, -right))
    return np.asarray(cv2.copyMakeBorder(kept, *sides, cv2.BORDER_REPLICATE), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which images meet in which batch of one epoch, and what happens to them.

    The images left over after the last whole batch wait for another epoch (a small last batch would disturb batch
    normalisation); a set smaller than one batch is one batch.

    Attributes
    ----------
    batch_size : int
        Over all devices; each gets every world_size-th image of it.
    seed, epoch : int
    shift_px : int
        Bound of the random shift; the random flip is always on.
    cutout_px : int
        Side of the square that is blanked in every image; 0 for none.
    augmenter : Augmenter or None
        What else happens.
    skip : int
        Begin with this batch (a resumed epoch); the images before it are not touched.
    rank, world_size : int
        This device, and how many there are.
    """

    batch_size: int
    seed: int
    epoch: int
    shift_px: int = 0
    cutout_px: int = 0
    augmenter: Augmenter | None = None
    skip: int = 0
    rank: int = 0
    world_size: int = 1

    def units(self, n_images: int) -> Iterator[Augmentation]:
        """The batches still to be made, each as its images and what happens to them."""
        order = epoch_order(n_images, seed=self.seed, epoch=self.epoch)
        drawn = Augmentation.draw(
            n_images,
            shift_px=self.shift_px,
            seed=self.seed,
            epoch=self.epoch,
            cutout_px=self.cutout_px,
            augmenter=self.augmenter,
        )
        for step in range(self.skip, n_batches(n_images, self.batch_size)):
            whole = order[step * self.batch_size : (step + 1) * self.batch_size]
            shared = len(whole) // self.world_size * self.world_size  # as many for each process
            yield drawn.take(whole[:shared][self.rank :: self.world_size])


def batches(
    source: Source, labels: NDArray[np.int64], order: Order, *, workers: int = 0, skip_corrupt: bool = False
) -> Iterator[Batch]:
    """Batches of one epoch, made while the network computes.

    Parameters
    ----------
    source : Source
    labels : ndarray of int64, shape (n_images,)
    order : Order
    workers : int
        Threads where the pixels are in memory, else processes; 0: one thread.
    skip_corrupt : bool
        Leave out images that cannot be read (their batch is smaller) instead of stopping.

    Raises
    ------
    DatasetError
        If an image cannot be read, with `skip_corrupt` if fewer than two of a batch can; or if a process dies.
    """
    units = order.units(len(source))
    for unit, pixels, reasons in made(source, _Make(source), units, workers):
        yield _batch(source, labels, unit, pixels, reasons, skip_corrupt)


def made(
    source: Source, work: Callable[[T], Made], units: Iterable[T], workers: int
) -> Iterator[tuple[T, Pixels, Mapping[int, str]]]:
    """What `work` makes of each unit, in order and ahead: (unit, pixels, image that cannot be read → why).

    Parameters
    ----------
    source : Source
        What `work` reads; says whether threads will do.
    work : callable
        Picklable.
    units : iterable
    workers : int
        Threads where the pixels are in memory, else processes; 0: one thread.
    """
    if workers and not source.in_memory:
        from bnas_face.data.workers import in_processes

        yield from in_processes(source.name, work, units, workers)
        return
    for unit, (pixels, reasons) in ahead(lambda unit: (unit, work(unit)), units, threads=max(1, workers)):
        yield unit, pixels, reasons


@dataclass(frozen=True)
class _Make:
    """Reads a batch's images and augments them; picklable, for processes."""

    source: Source

    def __call__(self, unit: Augmentation) -> Made:
        pixels, reasons = self.source.read(unit.indices)
        return unit.apply(pixels), reasons


def _batch(
    source: Source,
    labels: NDArray[np.int64],
    unit: Augmentation,
    pixels: Pixels,
    reasons: Mapping[int, str],
    skip_corrupt: bool,
) -> Batch:
    indices = unit.indices
    if not reasons:
        return Batch(pixels, labels[indices], indices)
    check_readable(source.name, reasons, skip_corrupt=skip_corrupt)
    good = ~np.isin(indices, list(reasons))
    if good.sum() < min(2, len(indices)):
        raise DatasetError(
            f"{len(reasons)} of the {len(indices)} images of a batch of '{source.name}' cannot be read, one of them: "
            f"{next(iter(reasons.values()))} So many are no accident: check the set (bnasface data check)."
        )
    return Batch(np.ascontiguousarray(pixels[good]), labels[indices[good]], indices[good], reasons)


def check_readable(name: str, reasons: Mapping[int, str], *, skip_corrupt: bool) -> None:
    """Raise `cannot_go_on` with the first of the reasons why images cannot be read, unless such are to be skipped."""
    if reasons and not skip_corrupt:
        raise cannot_go_on(name, next(iter(reasons.values())))


def cannot_go_on(name: str, reason: str) -> DatasetError:
    """The error for an image that cannot be read where nothing was said of that."""
    return DatasetError(
        f"Training set '{name}': {reason} Repair the set, or leave such images out: --on-corrupt skip (with --resume "
        "where the training has begun)."
    )


def n_batches(n_images: int, batch_size: int) -> int:
    """Whole batches in `n_images`, at least one."""
    return max(1, n_images // batch_size)


def ahead(work: Callable[[T], R], items: Iterable[T], *, threads: int = 1, depth: int = DEPTH) -> Iterator[R]:
    """``work(item)`` of each item in order, made ahead by threads; an error there is raised here.

    Leaving early ends the threads.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, "bnas_face batches")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= depth + threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
