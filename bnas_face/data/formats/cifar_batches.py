"""CIFAR-10 as its authors publish it: ``data_batch_1 … data_batch_5``, ``test_batch``, ``batches.meta``, pickles all.

A batch is a dictionary: ``data`` is uint8 of shape (10000, 3072), one row an image: 1,024 values of red, then green,
then blue, row by row; ``labels`` is a list of class numbers; ``filenames`` are not used. ``batches.meta`` holds
``label_names``. Read by `data_pickle`: nothing in the files is run.

References
----------
Krizhevsky, "Learning multiple layers of features from tiny images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats import data_pickle, encoded
from bnas_face.data.formats.data_pickle import Array
from bnas_face.errors import DatasetError, FormatError

SIDE_PX = 32
N_VALUES = 3 * SIDE_PX**2
META = "batches.meta"
BATCHES: Mapping[str, str] = {**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"}
"""File name → split."""

STAGED = ".batches"
"""Folder below the images where an import leaves the files until they are written as images."""


def place(path: PurePosixPath) -> str | None:
    """Where an import puts a file of the published archive: ``.batches/<name>``; None for any other file."""
    return f"{STAGED}/{path.name}" if path.name in (*BATCHES, META) else None


def write_images(images: Path) -> int:
    """Write the batches that lie in ``<images>/.batches`` as ``<split>/<class>/00000.png``, lossless, and remove them.

    Parameters
    ----------
    images : Path
        Folder of the images of an import. Without ``.batches`` in it nothing is done.

    Returns
    -------
    int
        Number of images written.

    Raises
    ------
    FormatError
        If a file is damaged or no CIFAR-10 batch; names it and the byte.
    DatasetError
        If a batch lies there without ``batches.meta``.
    """
    folder = images / STAGED
    if not folder.is_dir():
        return 0
    if not (folder / META).is_file():
        raise DatasetError(f"'{META}' is not beside the batches; it names the classes. Give the complete archive.")
    names = read_names(folder / META)
    counts: dict[str, int] = {}
    for name, split in BATCHES.items():
        if (folder / name).is_file():
            pixels, labels = read_batch(folder / name, len(names))
            for image, label in zip(pixels, labels.tolist(), strict=True):
                at = f"{split}/{names[label]}"
                number = counts.get(at, 0)
                counts[at] = number + 1
                (images / at).mkdir(parents=True, exist_ok=True)
                (images / at / f"{number:05d}.png").write_bytes(encoded.encode_png(image))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return sum(counts.values())


def read_names(path: Path) -> tuple[str, ...]:
    """The names of the classes, from ``batches.meta``; raises `FormatError`."""
    found = _dictionary(path).get("label_names")
    if not isinstance(found, list) or not found:
        raise FormatError(f"'{path}' names no classes ('label_names'); it is no {META} of CIFAR-10.")
    names = tuple(_text(name) for name in found)
    fits = all(name[:1] not in ("", ".") and name == PurePosixPath(name).name and name.isprintable() for name in names)
    if not fits or len(set(names)) < len(names):
        raise FormatError(f"'{path}' holds class names that are no folder names, or one twice: {names}.")
    return names


def read_batch(path: Path, n_classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """One batch.

    Parameters
    ----------
    path : Path
    n_classes : int
        Labels must be smaller.

    Returns
    -------
    pixels : ndarray of uint8, shape (n_images, 32, 32, 3)
        RGB.
    labels : ndarray of int64, shape (n_images,)

    Raises
    ------
    FormatError
        If the file is damaged or no such batch; names it, and the byte where it can.
    """
    content = _dictionary(path)
    data, labels = content.get("data"), content.get("labels")
    values = data.value if isinstance(data, Array) else None
    if values is None or values.dtype != np.uint8 or values.ndim != 2 or values.shape[1] != N_VALUES:
        shape = "nothing" if values is None else f"{values.dtype} of shape {values.shape}"
        raise FormatError(f"'{path}' holds {shape} as 'data'; a CIFAR-10 batch has uint8 of shape (n, {N_VALUES}).")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < n_classes for label in labels):
        raise FormatError(f"'{path}' has no list of 'labels' from 0 to {n_classes - 1}; it is no CIFAR-10 batch.")
    if len(labels) != len(values):
        raise FormatError(f"'{path}' holds {len(values)} images and {len(labels)} labels; expected one label an image.")
    pixels = np.ascontiguousarray(values.reshape(-1, 3, SIDE_PX, SIDE_PX).transpose(0, 2, 3, 1))
    return pixels, np.array(labels, np.int64)


def _dictionary(path: Path) -> dict[str, Any]:
    """The dictionary of a file, its keys as text (Python 2 wrote bytes)."""
    found = data_pickle.interpret(path.read_bytes(), path, "a CIFAR-10 batch", dictionaries=True)
    if not isinstance(found, dict):
        raise FormatError(f"'{path}' holds {type(found).__name__} where a dictionary was expected; it is no CIFAR-10.")
    return {_text(key): value for key, value in found.items()}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
