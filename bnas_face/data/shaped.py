"""Readers of images that are not aligned squares on disk: by their five points, or fitted into a square."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.data.align import align_face
from bnas_face.data.formats import encoded, folders
from bnas_face.errors import BrokenImageError, DatasetError


@dataclass(frozen=True, eq=False)
class AlignedReader:
    """Reads images of any shape and warps each by its own five points onto the template; pixels are never stored.

    Attributes
    ----------
    root : Path
    image_ids : tuple of str
    size_px : int
    points : ndarray of float32, shape (n_images, 5, 2)
        x, y in px of eyes, nose tip and corners of the mouth; NaN where an image has none.
    """

    root: Path
    image_ids: tuple[str, ...]
    size_px: int
    points: NDArray[np.float32]

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read, decode and align; raises `BrokenImageError`, also for points that coincide or are absent."""
        images = np.empty((len(indices), self.size_px, self.size_px, 3), np.uint8)

        def fill(position: int) -> None:
            images[position] = self._one(int(indices[position]))

        folders.fill_all(fill, len(indices))
        return images

    def _one(self, index: int) -> NDArray[np.uint8]:
        image_id = self.image_ids[index]
        points = self.points[index].astype(np.float64)
        if not np.isfinite(points).all():
            raise BrokenImageError(image_id, "the list of points does not hold it")
        pixels = encoded.decode(folders.read_bytes(self.root, image_id), image_id)
        try:
            return align_face(pixels, points, self.size_px)
        except BrokenImageError:
            raise
        except DatasetError as error:
            raise BrokenImageError(image_id, str(error)) from None


@dataclass(frozen=True)
class FittedReader:
    """Reads images of any shape: the longer side is brought to `size_px`, the rest is black; proportions are kept."""

    root: Path
    image_ids: tuple[str, ...]
    size_px: int

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read, decode and fit; raises `BrokenImageError`."""
        images = np.zeros((len(indices), self.size_px, self.size_px, 3), np.uint8)

        def fill(position: int) -> None:
            image_id = self.image_ids[indices[position]]
            images[position] = fit(encoded.decode(folders.read_bytes(self.root, image_id), image_id), self.size_px)

        folders.fill_all(fill, len(indices))
        return images


def fit(pixels: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """An image (height, width, 3) centred in a black square; an image that is that square already stays as it is.

    Area averaging down, bilinear up.
    """
    height, width = pixels.shape[:2]
    if height == width == size_px:
        return pixels
    scale = size_px / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (size_px - small[0]) // 2, (size_px - small[1]) // 2
    square = np.zeros((size_px, size_px, 3), np.uint8)
    square[top : top + small[1], left : left + small[0]] = cv2.resize(pixels, small, interpolation=how)
    return square
