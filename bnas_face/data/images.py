"""The one view of image data that every stage shares: an ordered set of face images with ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import DatasetError

Reader = Callable[[NDArray[np.int64]], NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class FaceImages:
    """An ordered set of images; pixels are read on demand.

    Attributes
    ----------
    name : str
        How the set is called in reports ("lfw", "demo", "folder:photos").
    image_ids : tuple of str, length n_images
        Unique ids ("Aaron_Eckhart/Aaron_Eckhart_0001.jpg").
    labels : ndarray of int64, shape (n_images,)
        Index of each image's identity in `identity_names`; -1 where the identity is unknown.
    identity_names : tuple of str, length n_identities
    content_hash : str
        SHA-256 (hex) that changes whenever ids or pixels change; part of the embedding cache's key.
    size_px : int
        Height and width of every image that `read` returns.
    read : callable
        Indices, int64 of shape (n,) → RGB uint8 of shape (n, size_px, size_px, 3). Raises `BrokenImageError`.
        Safe to call from several threads.
    costly : bool
        Whether reading an image takes much longer than decoding a file (rendered faces).
    provenance : mapping
        What a result file should say of the data: source, licence, counts, variant.
    """

    name: str
    image_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    identity_names: tuple[str, ...]
    content_hash: str
    size_px: int
    read: Reader
    costly: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.image_ids):
            counts = f"{len(self.image_ids)} images and {len(self.labels)} labels"
            raise DatasetError(f"Dataset '{self.name}' has {counts}; give one label per image.")

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def n_identities(self) -> int:
        """Number of identities."""
        return len(self.identity_names)

    def select_identities(self, keep: NDArray[np.bool_]) -> FaceImages:
        """The images of the identities where `keep` (bool, shape (n_identities,)) is true, relabelled 0, 1, …

        Images of unknown identity (label −1) are left out.
        """
        new_label = np.where(keep, np.cumsum(keep) - 1, -1)
        known = np.flatnonzero(self.labels >= 0)
        indices = known[keep[self.labels[known]]]
        return replace(
            self,
            image_ids=tuple(self.image_ids[i] for i in indices),
            labels=new_label[self.labels[indices]].astype(np.int64),
            identity_names=tuple(n for n, kept in zip(self.identity_names, keep, strict=True) if kept),
            read=_Selected(self.read, indices),
        )

    def select_images(self, indices: NDArray[np.int64]) -> FaceImages:
        """The images `indices` (int64, shape (n,)) in that order; identities and their labels stay as they are."""
        return replace(
            self,
            image_ids=tuple(self.image_ids[i] for i in indices),
            labels=self.labels[indices],
            read=_Selected(self.read, indices),
        )

    def images_per_identity(self) -> NDArray[np.int64]:
        """Number of images of each identity, shape (n_identities,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.n_identities).astype(np.int64)


@dataclass(frozen=True)
class _Selected:
    """A reader of a subset: position in the subset → position in the whole (picklable, unlike a lambda)."""

    read: Reader
    indices: NDArray[np.int64]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.read(self.indices[positions])


def read_usable(
    images: FaceImages, indices: NDArray[np.int64], broken: type[DatasetError] = DatasetError
) -> tuple[NDArray[np.int64], NDArray[np.uint8], dict[int, str]]:
    """Read what can be read; a batch that fails is read image by image, to learn which.

    Parameters
    ----------
    images : FaceImages
    indices : ndarray of int64, shape (n,)
    broken : type
        The error that makes an image unusable; any other ends the call.

    Returns
    -------
    positions : ndarray of int64, shape (n_usable,)
        In `indices`, ascending.
    pixels : ndarray of uint8, shape (n_usable, size_px, size_px, 3)
    reasons : dict of int to str
        Position in `indices` → why that image cannot be used.
    """
    try:
        return np.arange(len(indices)), images.read(indices), {}
    except broken:
        pass
    usable: list[int] = []
    pixels = [np.zeros((0, images.size_px, images.size_px, 3), np.uint8)]
    reasons: dict[int, str] = {}
    for at in range(len(indices)):
        try:
            pixels.append(images.read(indices[at : at + 1]))
            usable.append(at)
        except broken as error:
            reasons[at] = str(error)
    return np.array(usable, np.int64), np.concatenate(pixels), reasons


def resize(images: NDArray[np.uint8], size_px: int) -> NDArray[np.uint8]:
    """Resize a batch (n, h, w, 3) of uint8 to (n, size_px, size_px, 3): area averaging down, bilinear up."""
    if images.shape[1:3] == (size_px, size_px):
        return images
    how = cv2.INTER_AREA if images.shape[1] > size_px else cv2.INTER_LINEAR
    resized = np.empty((len(images), size_px, size_px, 3), np.uint8)
    for image, out in zip(images, resized, strict=True):
        cv2.resize(image, (size_px, size_px), dst=out, interpolation=how)
    return resized
