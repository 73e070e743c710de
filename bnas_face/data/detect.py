"""Find the face of a photograph: facenet-pytorch's MTCNN and the rule which of several faces is meant.

The rule is worth 3 points on LFW: the face with the greatest ``area − 2 · d²``, d the distance of its centre from the
image's centre, in px: the largest, unless it stands aside. InsightFace picks the same way.

References
----------
Zhang et al., Joint face detection and alignment using multi-task cascaded CNNs, SPL 2016 (arXiv 1604.02878).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.torchvision_compat import ensure_torchvision

THRESHOLDS = ((0.6, 0.7, 0.7), (0.5, 0.6, 0.7))
"""Of MTCNN's three networks, for the first pass (facenet-pytorch's own) and the second. The last one stays: below 0.7
MTCNN finds faces in noise (2 of 40 images at 0.5, 1 at 0.6, none at 0.7)."""
SECOND_PASS_MARGIN = 0.25
"""The second pass adds so much black border (share of each side): a face that fills the image is found too."""
MAX_SIDE_PX = 1024
"""Larger images are searched at this size: faces below 2 % of the longer side are not what is looked for."""
CENTRE_WEIGHT = 2.0


@dataclass(frozen=True, kw_only=True)
class Face:
    """The chosen face of an image, in px of that image.

    Attributes
    ----------
    points : ndarray of float64, shape (5, 2)
        x, y of the eyes, the nose tip and the corners of the mouth, left before right as seen in the image.
    box : ndarray of float64, shape (4,)
        x1, y1, x2, y2.
    probability : float
        MTCNN's, in [0, 1].
    n_faces : int
        How many were found.
    search_pass : int
        1, or 2 if only the second pass found it.
    """

    points: NDArray[np.float64]
    box: NDArray[np.float64]
    probability: float
    n_faces: int
    search_pass: int


def select_face(boxes: NDArray[np.float64], height: int, width: int) -> int:
    """Index of the largest-centred face: greatest ``area − 2 · d²``; the first of equals.

    Parameters
    ----------
    boxes : ndarray of float64, shape (n_faces, 4), n_faces >= 1
        x1, y1, x2, y2 in px.
    height, width : int
        Of the image, in px.
    """
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    offset = (boxes[:, :2] + boxes[:, 2:]) / 2 - np.array([width, height]) / 2
    return int(np.argmax(area - CENTRE_WEIGHT * (offset**2).sum(axis=1)))


class FaceDetector:
    """MTCNN on the CPU, one image at a time: what is found in an image does not depend on its neighbours.

    Parameters
    ----------
    min_face_px : int
        Smallest face looked for in the first pass, in px of the image as searched (at most `MAX_SIDE_PX` long); the
        second pass halves it.
    """

    def __init__(self, min_face_px: int = 20) -> None:
        ensure_torchvision()
        from facenet_pytorch import MTCNN

        sizes = (min_face_px, max(10, min_face_px // 2))
        self._passes = tuple(
            MTCNN(min_face_size=size, thresholds=list(thresholds), keep_all=True).eval()
            for size, thresholds in zip(sizes, THRESHOLDS, strict=True)
        )

    def find(self, image: NDArray[np.uint8]) -> Face | None:
        """The largest-centred face of an RGB uint8 image (height, width, 3), or None."""
        height, width = image.shape[:2]
        shrink = min(1.0, MAX_SIDE_PX / max(height, width))
        if shrink < 1:
            image = _resize(image, shrink)
        border = [round(SECOND_PASS_MARGIN * side) for side in image.shape[:2]]
        padded = cv2.copyMakeBorder(image, border[0], border[0], border[1], border[1], cv2.BORDER_CONSTANT)
        for number, (searched, (top, left)) in enumerate(((image, (0, 0)), (padded, border)), start=1):
            boxes, probabilities, points = self._search(searched, number)
            if len(boxes):
                shift = np.array([left, top])
                boxes = (boxes - np.tile(shift, 2)) / shrink
                chosen = select_face(boxes, height, width)
                return Face(
                    points=(points[chosen] - shift) / shrink,
                    box=boxes[chosen],
                    probability=float(probabilities[chosen]),
                    n_faces=len(boxes),
                    search_pass=number,
                )
        return None

    def _search(
        self, image: NDArray[np.uint8], number: int
    ) -> tuple[NDArray[np.float64], Sequence[float], NDArray[np.float64]]:
        """Boxes (n, 4), probabilities (n,) and points (n, 5, 2) of all faces; facenet-pytorch's quirks end here."""
        mtcnn = self._passes[number - 1]
        nothing = np.zeros((0, 4)), (), np.zeros((0, 5, 2))
        if min(image.shape[:2]) < mtcnn.min_face_size:
            return nothing  # no scale of the pyramid is left, and facenet-pytorch fails on that
        try:
            boxes, probabilities, points = mtcnn.detect(image, landmarks=True)
        except (RuntimeError, IndexError):
            return nothing  # all candidates of a stage lie outside the image: it concatenates an empty list
        if boxes is None:
            return nothing
        # Of object dtype where several faces were found.
        return np.asarray(boxes, np.float64), probabilities, np.asarray(points, np.float64)


def _resize(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    resized: NDArray[np.uint8] = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return resized
