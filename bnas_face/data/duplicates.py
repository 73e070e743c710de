"""The same photograph twice, within a set or in two sets: byte for byte the same pixels, or nearly."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages, read_usable, resize

HASH_ROWS, HASH_COLUMNS = 8, 9
BANDS = 4
"""Hashes that differ in fewer than `BANDS` bits agree in at least one of `BANDS` parts of 16 bits: the pigeonhole."""
LEAST_CORRELATION = 0.98
COMPARED_PX = 64
MOST_IN_BUCKET = 2000
"""Images that share 16 bits of their hash are compared all with all up to this number, in order beyond it."""
_BATCH = 256
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Prints:
    """What is remembered of each image.

    Attributes
    ----------
    digests : tuple of bytes, length n_images
        Of the pixels; empty where the image is broken.
    hashes : ndarray of uint64, shape (n_images,)
        Difference hash of the image in grey: 64 comparisons of horizontal neighbours.
    broken : dict of int to str
        Position → why it cannot be read.
    """

    digests: tuple[bytes, ...]
    hashes: NDArray[np.uint64]
    broken: dict[int, str]


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """Two images that are one.

    Attributes
    ----------
    first, second : int
        Positions, first < second.
    correlation : float
        Of their grey pixels at 64×64; 1 for equal pixels, and for those that are all brighter by one step.
    is_copy : bool
        Whether their pixels are equal.
    """

    first: int
    second: int
    correlation: float
    is_copy: bool


def prints(images: FaceImages, progress: Progress | None = None) -> Prints:
    """Look at every image once, `_BATCH` in memory at a time."""
    digests: list[bytes] = []
    hashes = np.zeros(len(images), np.uint64)
    broken: dict[int, str] = {}
    for start in range(0, len(images), _BATCH):
        at = np.arange(start, min(start + _BATCH, len(images)))
        usable, pixels, reasons = read_usable(images, at)
        broken |= {int(at[position]): why for position, why in reasons.items()}
        found = dict(zip(usable.tolist(), pixels, strict=True))
        digests += [hashlib.sha256(found[k]).digest() if k in found else b"" for k in range(len(at))]
        hashes[at[usable]] = [difference_hash(image) for image in pixels]
        if progress:
            progress(int(at[-1]) + 1, len(images))
    return Prints(digests=tuple(digests), hashes=hashes, broken=broken)


def difference_hash(image: NDArray[np.uint8]) -> int:
    """64 bits: whether each of 8×8 grey points is brighter than its right neighbour.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3)

    References
    ----------
    Krawetz, "Kind of like that", 2013 (dHash).
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (HASH_COLUMNS, HASH_ROWS), interpolation=cv2.INTER_AREA)
    bits = (small[:, :-1] > small[:, 1:]).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find(sets: Sequence[FaceImages], found: Sequence[Prints]) -> list[Duplicate]:
    """Equal and nearly equal images over all sets; positions count through the sets in order.

    Nearly equal: hashes that differ in at most three bits, and grey pixels at 64×64 that correlate by at least
    `LEAST_CORRELATION`: the same photograph encoded again, scaled or a little brightened.

    Parameters
    ----------
    sets : sequence of FaceImages
    found : sequence of Prints
        Of each set.

    Returns
    -------
    list of Duplicate
        By first, then second image; of n equal images the n − 1 pairs with the first.
    """
    digests = [digest for one in found for digest in one.digests]
    hashes = np.concatenate([one.hashes for one in found])
    usable = np.array([bool(digest) for digest in digests])
    equal = _equal(digests)
    copies = {duplicate.second for duplicate in equal}
    usable[list(copies)] = False  # a copy is as near to others as the first of its kind
    reader = _Reader(sets)
    near = (
        Duplicate(first=first, second=second, correlation=reader.correlation(first, second), is_copy=False)
        for first, second in sorted(set(_candidates(hashes, np.flatnonzero(usable))))
    )
    kept = [duplicate for duplicate in near if duplicate.correlation >= LEAST_CORRELATION]
    return sorted([*equal, *kept], key=lambda duplicate: (duplicate.first, duplicate.second))


def _equal(digests: Sequence[bytes]) -> list[Duplicate]:
    first_of: dict[bytes, int] = {}
    found = []
    for position, digest in enumerate(digests):
        if digest and first_of.setdefault(digest, position) != position:
            found.append(Duplicate(first=first_of[digest], second=position, correlation=1.0, is_copy=True))
    return found


def _candidates(hashes: NDArray[np.uint64], at: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Pairs of positions whose hashes differ in fewer than `BANDS` bits."""
    for band in range(BANDS):
        part = (hashes[at] >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(part, kind="stable")
        edges = np.flatnonzero(np.diff(part[order])) + 1
        for bucket in np.split(at[order], edges):
            yield from _close(hashes, bucket)


def _close(hashes: NDArray[np.uint64], bucket: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(bucket), MOST_IN_BUCKET):
        part = np.sort(bucket[start : start + MOST_IN_BUCKET])
        differing = np.bitwise_count(hashes[part][:, None] ^ hashes[part][None, :])
        first, second = np.nonzero(np.triu(differing < BANDS, k=1))
        yield from zip(part[first].tolist(), part[second].tolist(), strict=True)


class _Reader:
    """Grey images at 64×64 by position over several sets, each read once in a while."""

    def __init__(self, sets: Sequence[FaceImages]) -> None:
        self.sets = sets
        self.starts = list(itertools.accumulate((len(images) for images in sets), initial=0))
        self.known: dict[int, NDArray[np.float64]] = {}

    def correlation(self, first: int, second: int) -> float:
        a, b = self._vector(first), self._vector(second)
        return min(1.0, float(a @ b))

    def _vector(self, position: int) -> NDArray[np.float64]:
        """Zero mean, unit length (zeros for an image of one colour)."""
        if position not in self.known:
            if len(self.known) >= _BATCH * BANDS:
                self.known.clear()
            which = next(k for k in range(len(self.sets)) if position < self.starts[k + 1])
            pixels = self.sets[which].read(np.array([position - self.starts[which]], np.int64))
            grey = cv2.cvtColor(resize(pixels, COMPARED_PX)[0], cv2.COLOR_RGB2GRAY).astype(np.float64).ravel()
            grey -= grey.mean()
            self.known[position] = grey / max(float(np.linalg.norm(grey)), 1e-9)
        return self.known[position]
