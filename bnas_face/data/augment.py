"""Random changes of one training image: geometry, colour, resolution and occlusion, on uint8 with OpenCV.

What an image looks like depends on the generator handed in alone; callers make one from (seed, epoch, index), so that
neither batch size nor number of workers matters. Flip and shift are the loader's (`bnas_face.data.loader`).

References
----------
Low resolution, occlusion and colour with probability 0.2 each: Kim, Jain and Liu, "AdaFace: quality adaptive margin for
face recognition", CVPR 2022 (arXiv 2204.00964), section 4.1 (as remembered; their crop is our occlusion of the border).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import ConfigError

Image = NDArray[np.uint8]
LOWEST_RESOLUTION = 0.2
"""Share of the side that the coarsest low-resolution image keeps."""
OCCLUDED_AREA = (0.04, 0.25)
"""Share of the image that an occlusion covers."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601


@dataclass(frozen=True, kw_only=True)
class Augmenter:
    """How strongly images are changed; everything 0 changes nothing.

    Attributes
    ----------
    rotate_deg : float
        Largest rotation either way, in [0, 180].
    zoom : float
        Largest enlargement, and as much reduction: factor in [1 / (1 + zoom), 1 + zoom]; in [0, 1].
    squeeze : float
        Largest share by which the image is made narrower, as a turned head is; in [0, 0.9].
    colour : float
        Largest relative change of brightness, contrast and saturation, in [0, 1].
    colour_share, low_resolution_share, occlusion_share : float
        Share of the images whose colour changes, that lose resolution, that are partly covered; in [0, 1].
    """

    rotate_deg: float = 0.0
    zoom: float = 0.0
    squeeze: float = 0.0
    colour: float = 0.5
    colour_share: float = 0.0
    low_resolution_share: float = 0.0
    occlusion_share: float = 0.0

    def __post_init__(self) -> None:
        bounds = {"rotate_deg": 180.0, "zoom": 1.0, "squeeze": 0.9}
        for name, value in vars(self).items():
            top = bounds.get(name, 1.0)
            if not 0 <= value <= top:
                raise ConfigError(f"Augmentation '{name}' is {value}; expected 0 to {top:g}.")

    @property
    def changes(self) -> bool:
        """Whether any image is changed."""
        shares = self.colour_share and self.colour, self.low_resolution_share, self.occlusion_share
        return any((self.rotate_deg, self.zoom, self.squeeze, *shares))

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """One image changed.

        Parameters
        ----------
        image : ndarray of uint8, shape (size_px, size_px, 3)
            RGB; left as it is.
        rng : numpy Generator
            Of this image in this epoch.

        Returns
        -------
        ndarray of uint8, shape (size_px, size_px, 3)
        """
        if self.rotate_deg or self.zoom or self.squeeze:
            image = self._warped(image, rng)
        if rng.random() < self.low_resolution_share:
            image = coarse(image, rng.uniform(LOWEST_RESOLUTION, 1.0))
        if rng.random() < self.colour_share:
            image = tinted(image, *(1 + self.colour * rng.uniform(-1, 1, 3)))
        if rng.random() < self.occlusion_share:
            image = _occluded(image, rng)
        return image

    def _warped(self, image: Image, rng: np.random.Generator) -> Image:
        """Rotated, zoomed and squeezed about the centre in one resampling; the border is repeated."""
        angle = math.radians(self.rotate_deg * rng.uniform(-1, 1))
        factor = math.exp(math.log1p(self.zoom) * rng.uniform(-1, 1))
        narrow = 1 - self.squeeze * rng.random()
        cos, sin = factor * math.cos(angle), factor * math.sin(angle)
        linear = np.array([[cos * narrow, -sin], [sin * narrow, cos]])
        centre = (np.array(image.shape[1::-1]) - 1) / 2
        matrix = np.column_stack([linear, centre - linear @ centre])
        warped: Image = cv2.warpAffine(
            image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return warped


def coarse(image: Image, share: float) -> Image:
    """`image` (size_px, size_px, 3) reduced to `share` of its side in (0, 1] by area averaging, and enlarged again."""
    height, width = image.shape[:2]
    small = cv2.resize(
        image, (max(1, round(width * share)), max(1, round(height * share))), interpolation=cv2.INTER_AREA
    )
    result: Image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def tinted(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """`image` (size_px, size_px, 3) with three factors, 1 for no change; values beyond 0 … 255 are cut off.

    Saturation is about each pixel's grey, contrast about the mean grey of the image.
    """
    # All three are linear in the colours of a pixel: one 3×4 matrix.
    mean = float(np.asarray(cv2.mean(image)[:3]) @ _GREY)
    mix = saturation * np.eye(3, dtype=np.float32) + (1 - saturation) * np.tile(_GREY, (3, 1))
    offset = np.full((3, 1), (1 - contrast) * mean * brightness, np.float32)
    matrix = np.hstack([brightness * contrast * mix, offset]).astype(np.float32)
    result: Image = cv2.transform(image, matrix)
    return result


def _occluded(image: Image, rng: np.random.Generator) -> Image:
    """A rectangle of one random colour somewhere on the image."""
    height, width = image.shape[:2]
    side = math.sqrt(rng.uniform(*OCCLUDED_AREA) * height * width)
    stretch = math.exp(rng.uniform(-0.5, 0.5))
    tall, wide = min(height, round(side * stretch)), min(width, round(side / stretch))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    result = image.copy()
    result[top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    return result


LEVELS: Mapping[str, Augmenter] = {
    "none": Augmenter(),
    "photo": Augmenter(colour_share=0.2, low_resolution_share=0.2, occlusion_share=0.2),
    "strong": Augmenter(
        rotate_deg=12.0, zoom=0.12, squeeze=0.35, colour_share=0.2, low_resolution_share=0.2, occlusion_share=0.2
    ),
}
"""What ``--augment`` names: nothing; AdaFace's three; and geometry besides."""
