"""Where a training's pixels come from: memory, a file of decoded pixels on disk, or the images decoded anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages, Reader, resize
from bnas_face.errors import DatasetError

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]


class Source(Protocol):
    """Images at the network's size, read in any order; what cannot be read is told, not raised."""

    @property
    def name(self) -> str:
        """Of the dataset, for messages."""

    @property
    def in_memory(self) -> bool:
        """Whether reading costs so little that processes are not worth their while."""

    def __len__(self) -> int:
        """Number of images."""

    def read(self, indices: NDArray[np.int64]) -> tuple[Pixels, Mapping[int, str]]:
        """Images `indices`, shape (n,).

        Returns
        -------
        pixels : ndarray of uint8, shape (n, size_px, size_px, 3)
            Copies, RGB; anything where an image cannot be read.
        reasons : mapping of int to str
            Index of each image that cannot be read → why, one sentence.
        """


@dataclass(frozen=True)
class Decoded:
    """Pixels in memory.

    Attributes
    ----------
    name : str
    pixels : ndarray of uint8, shape (n_images, size_px, size_px, 3)
    reasons : mapping of int to str
        Images that could not be read.
    """

    name: str
    pixels: Pixels
    reasons: Mapping[int, str] = field(default_factory=dict)
    in_memory: bool = True

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.int64]) -> tuple[Pixels, Mapping[int, str]]:
        """See `Source`."""
        return self.pixels[indices], _among(self.reasons, indices)


class Cached:
    """Decoded pixels in an ``.npy`` on disk, memory-mapped; picklable (a process opens the file itself).

    Parameters
    ----------
    name : str
    path : Path
        The file; its content is checked by whoever made it.
    reasons : mapping of int to str
        Images that could not be read.
    """

    in_memory = False

    def __init__(self, name: str, path: Path, reasons: Mapping[int, str]) -> None:
        self.name, self.path, self.reasons = name, path, dict(reasons)
        self._pixels = np.load(path, mmap_mode="r", allow_pickle=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "path": self.path, "reasons": self.reasons}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._pixels)

    def read(self, indices: NDArray[np.int64]) -> tuple[Pixels, Mapping[int, str]]:
        """See `Source`."""
        return np.asarray(self._pixels[indices]), _among(self.reasons, indices)


@dataclass(frozen=True)
class Streamed:
    """Images decoded and resized anew whenever they are wanted.

    Attributes
    ----------
    name : str
    reader : callable
        `FaceImages.read`; called for one image at a time: the work is shared out elsewhere.
    n_images, size_px : int
        Of the set; of the pixels wanted.
    """

    name: str
    reader: Reader
    n_images: int
    size_px: int
    in_memory: bool = False

    @classmethod
    def of(cls, images: FaceImages, size_px: int) -> Streamed:
        """The images of a set."""
        return cls(images.name, images.read, len(images), size_px)

    def __len__(self) -> int:
        return self.n_images

    def read(self, indices: NDArray[np.int64]) -> tuple[Pixels, Mapping[int, str]]:
        """See `Source`."""
        pixels = np.zeros((len(indices), self.size_px, self.size_px, 3), np.uint8)
        reasons: dict[int, str] = {}
        for position, index in enumerate(indices.tolist()):
            try:
                pixels[position] = resize(self.reader(indices[position : position + 1]), self.size_px)[0]
            except DatasetError as error:
                reasons[index] = str(error)
        return pixels, reasons


def _among(reasons: Mapping[int, str], indices: NDArray[np.int64]) -> Mapping[int, str]:
    return {index: reasons[index] for index in indices.tolist() if index in reasons} if reasons else {}


@dataclass(frozen=True)
class Without:
    """A source some of whose images are of no use, though they may be readable.

    Attributes
    ----------
    source : Source
    reasons : mapping of int to str
        Images that are told like those that cannot be read.
    """

    source: Source
    reasons: Mapping[int, str]

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.source.name

    @property
    def in_memory(self) -> bool:
        """As the source."""
        return self.source.in_memory

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: NDArray[np.int64]) -> tuple[Pixels, Mapping[int, str]]:
        """See `Source`; why an image cannot be read goes before why it is of no use."""
        pixels, reasons = self.source.read(indices)
        return pixels, {**_among(self.reasons, indices), **reasons}
