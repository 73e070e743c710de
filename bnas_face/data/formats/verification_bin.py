"""InsightFace's ``.bin`` verification sets: a pickle of ``(images, same person flags)``, read without running anything.

The pickle is interpreted by `data_pickle`, which knows data only. Files of Python 2 (``encoding="bytes"``) and of numpy
before and after 2.0 are read alike.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats import data_pickle
from bnas_face.data.formats.data_pickle import Array
from bnas_face.errors import FormatError
from bnas_face.files import write_bytes


@dataclass(frozen=True, kw_only=True)
class VerificationBin:
    """A verification set.

    Attributes
    ----------
    images : tuple, length 2 × n_pairs
        Encoded images (bytes), or RGB uint8 of shape (height, width, 3); images 2k and 2k + 1 are pair k.
    is_genuine : ndarray of bool, shape (n_pairs,)
    """

    images: tuple[bytes | NDArray[np.uint8], ...]
    is_genuine: NDArray[np.bool_]


def read(path: Path) -> VerificationBin:
    """Read a ``.bin``.

    Raises
    ------
    FormatError
        If the file is absent, truncated, is no such pair of lists, or asks for anything but data (a hostile pickle:
        refused, nothing of it runs); names the file and the byte.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}; expected a .bin verification set.") from None
    found = data_pickle.interpret(content, path, "a .bin")
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise FormatError(f"'{path}' holds no pair (images, flags); it is no .bin verification set.")
    images = tuple(_images(_sequence(found[0], path), path, data_pickle.max_unpacked_bytes(len(content))))
    flags = [_flag(item, index, path) for index, item in enumerate(_sequence(found[1], path))]
    if len(images) != 2 * len(flags) or not flags:
        raise FormatError(f"'{path}' holds {len(images)} images and {len(flags)} flags; expected two images a flag.")
    return VerificationBin(images=images, is_genuine=np.array(flags, bool))


def write(path: Path, content: VerificationBin) -> None:
    """Write a ``.bin`` that InsightFace's ``load_bin`` reads (``pickle.load(file, encoding="bytes")``).

    Raises
    ------
    FormatError
        If there are not two images a flag.
    """
    if len(content.images) != 2 * len(content.is_genuine):
        raise FormatError(
            f"{len(content.images)} images do not make {len(content.is_genuine)} pairs; nothing is written."
        )
    pair = (list(content.images), [bool(flag) for flag in content.is_genuine])
    write_bytes(path, pickle.dumps(pair, protocol=3))


def _sequence(found: Any, path: Path) -> Sequence[Any]:
    value = found.value if isinstance(found, Array) else found
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return list(value)
    raise FormatError(
        f"'{path}' holds {type(value).__name__} where a list was expected; it is no .bin verification set."
    )


def _images(items: Sequence[Any], path: Path, limit: int) -> Iterator[bytes | NDArray[np.uint8]]:
    for index, item in enumerate(items):
        image = _image(item, index, path)
        limit -= len(image) if isinstance(image, bytes) else image.nbytes
        if limit < 0:
            raise FormatError(f"'{path}' is refused: its images unpack to far more than the file holds.")
        yield image


def _image(item: Any, index: int, path: Path) -> bytes | NDArray[np.uint8]:
    value = item.value if isinstance(item, Array) else item
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.dtype == np.uint8:
        if value.ndim in (1, 2) and value.size == max(value.shape):  # a file's bytes; OpenCV gives them as a column
            return value.tobytes()
        if value.ndim == 3 and value.shape[2] == 3:
            return value
    raise FormatError(f"'{path}': image {index} is {type(value).__name__}; expected JPEG bytes or a uint8 array.")


def _flag(item: Any, index: int, path: Path) -> bool:
    if isinstance(item, (bool, np.bool_)) or (isinstance(item, (int, np.integer)) and item in (0, 1)):
        return bool(item)
    raise FormatError(f"'{path}': flag {index} is {type(item).__name__}; expected True or False.")
