"""Training sets in record files: CASIA's two levels, their labels, and reading their images.

Record 0 (flag 2) has the labels (first identity record, end); the images are records 1 … first − 1; identity records
have (first image, end) of their images and no payload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats import encoded, folders, recordio
from bnas_face.errors import BrokenImageError, FormatError
from bnas_face.files import atomic_path


def write_identities(path: Path, identities: Mapping[int, Iterable[bytes]]) -> None:
    """Write a training set in CASIA's two-level layout: images 1 … n, then one identity record each, record 0 in front.

    Parameters
    ----------
    path : Path
        The ``.rec`` to write.
    identities : mapping of int to iterable of bytes
        Label → encoded images.
    """
    images = [(label, list(contents)) for label, contents in identities.items()]
    first_identity = 1 + sum(len(contents) for _, contents in images)
    head = (float(first_identity), float(first_identity + len(images)))
    records: list[tuple[int, recordio.Record]] = [(0, recordio.Record(label=head, id=0))]
    ranges: list[recordio.Record] = []
    key = 1
    for position, (label, contents) in enumerate(images):
        span = (float(key), float(key + len(contents)))
        ranges.append(recordio.Record(label=span, id=first_identity + position))
        for content in contents:
            records.append((key, recordio.Record(label=float(label), id=key, payload=content)))
            key += 1
    recordio.write(path, [*records, *((record.id, record) for record in ranges)])


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Keys and identity indices of the images of a record file, int64 of shape (n_images,); the file's length."""

    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    n_bytes: int


def list_images(file: recordio.RecordFile) -> Listing:
    """Images of a record file and their labels, as the field's loaders take them.

    Record 0 with labels (first identity record, end) means two levels: the images are records 1 … first − 1. Without it
    every record is an image.

    Raises
    ------
    FormatError
        If the two-level header contradicts the ``.idx``, or a label is no whole number, or the record of an image is
        damaged and no identity record says whose it is.
    """
    keys = file.offsets.keys_in_order
    if 0 in file.offsets and (head := file.read(0)).flag >= 2:
        keys = _image_keys(file, head)
    elif len(keys) and (keys < 0).any():
        raise FormatError(f"'{file.path.with_suffix('.idx')}' has the key {keys.min()}; keys are 0, 1, ….")
    labels, damaged = _labels(file, keys)
    if damaged:
        labels = _from_identities(file, keys, labels, damaged)
    return Listing(keys=keys, labels=labels, n_bytes=file.path.stat().st_size)


def _labels(file: recordio.RecordFile, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, FormatError]]:
    """Identity indices of image records, −1 where a record's frame is damaged, and what is wrong with these."""
    labels = file.single_labels(keys)
    damaged: dict[int, FormatError] = {}
    for position in np.flatnonzero(~((labels >= 0) & (labels < 1 << 31) & (labels == np.floor(labels)))).tolist():
        try:
            labels[position] = _label(file, int(keys[position]))
        except FormatError as error:
            labels[position], damaged[position] = -1, error
    return labels.astype(np.int64), damaged


def _from_identities(
    file: recordio.RecordFile,
    keys: NDArray[np.int64],
    labels: NDArray[np.int64],
    damaged: Mapping[int, FormatError],
) -> NDArray[np.int64]:
    """Labels of damaged images from the identity records, whose other images have them; the first error if in vain.

    Such an image stays in the set: whoever reads it learns what is wrong, and may leave it out.
    """
    head = file.read(0) if 0 in file.offsets else None
    if head is None or not isinstance(head.label, tuple) or len(head.label) < 2:
        raise next(iter(damaged.values()))
    spans = [file.read(key).label for key in file.offsets if head.label[0] <= key < head.label[1]]
    ranges = np.array([span[:2] for span in spans if isinstance(span, tuple) and len(span) >= 2]).reshape(-1, 2)
    for position, error in damaged.items():
        around = ranges[(ranges[:, 0] <= keys[position]) & (keys[position] < ranges[:, 1])]
        known = labels[(keys >= around[0, 0]) & (keys < around[0, 1])] if len(around) == 1 else labels[:0]
        known = np.unique(known[known >= 0])
        if len(known) != 1:
            raise error
        labels[position] = known[0]
    return labels


def _image_keys(file: recordio.RecordFile, head: recordio.Record) -> NDArray[np.int64]:
    first, end = (head.label[0], head.label[1]) if isinstance(head.label, tuple) else (0.0, 0.0)
    if not (1 <= first <= end <= 1 << 31) or int(end) - 1 > file.offsets.keys_in_order.max():
        raise FormatError(
            f"'{file.path}', record 0 (byte {file.offsets[0]}) puts the identity records at {first:g} … {end:g}, "
            f"but the last key is {file.offsets.keys_in_order.max()}."
        )
    keys = np.arange(1, int(first), dtype=np.int64)
    absent = keys[~np.isin(keys, file.offsets.keys_in_order)]
    if len(absent):
        raise FormatError(
            f"'{file.path.with_suffix('.idx')}' lacks image record {absent[0]} (record 0 announces {int(first) - 1})."
        )
    return keys


def _label(file: recordio.RecordFile, key: int) -> int:
    label = file.read(key).first_label
    if not (0 <= label < 1 << 31 and label == int(label)):
        raise FormatError(
            f"'{file.path}', record {key} (byte {file.offsets[key]}): label {label!r} is no identity index."
        )
    return int(label)


def identity_problems(file: recordio.RecordFile, listing: Listing) -> list[str]:
    """Where the identity records contradict the labels of the images they point at; empty if all agree."""
    head = file.read(0) if 0 in file.offsets else None
    if head is None or not isinstance(head.label, tuple) or len(head.label) < 2:
        return []
    label_of = dict(zip(listing.keys.tolist(), listing.labels.tolist(), strict=True))
    problems: list[str] = []
    for key in range(int(head.label[0]), int(head.label[1])):
        span = file.read(key).label
        if not isinstance(span, tuple) or len(span) < 2 or not all(np.isfinite(span[:2])):
            problems.append(f"Identity record {key} has no range of images.")
            continue
        found = {
            label_of.get(image) for image in range(int(span[0]), min(int(span[1]), int(span[0]) + len(label_of) + 1))
        }
        if len(found) != 1 or None in found:
            problems.append(f"Identity record {key} spans images {span[0]:g} … {span[1]:g} of {len(found)} labels.")
    return problems


def save_listing(path: Path, listing: Listing) -> None:
    """Keep a listing, so that opening half a million records needs no pass over 3 GB."""
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, keys=listing.keys, labels=listing.labels, n_bytes=listing.n_bytes)


def load_listing(path: Path) -> Listing:
    """Read what `save_listing` wrote; `FormatError` if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return Listing(
                keys=content["keys"].astype(np.int64),
                labels=content["labels"].astype(np.int64),
                n_bytes=int(content["n_bytes"]),
            )
    except (OSError, ValueError, KeyError) as error:
        raise FormatError(f"'{path}' is damaged ({error}). Import the dataset again.") from None


@dataclass(frozen=True)
class RecordReader:
    """Reads images of a record file: positions → RGB uint8 (n, size_px, size_px, 3). Picklable and thread-safe."""

    file: recordio.RecordFile
    keys: NDArray[np.int64]
    size_px: int

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read and decode; raises `BrokenImageError` or `FormatError`."""
        images = np.empty((len(indices), self.size_px, self.size_px, 3), np.uint8)

        def fill(position: int) -> None:
            images[position] = self.one(int(self.keys[indices[position]]))

        folders.fill_all(fill, len(indices))
        return images

    def one(self, key: int) -> NDArray[np.uint8]:
        """The image of one record; `BrokenImageError` names the record, its byte and what is wrong."""
        try:
            pixels = encoded.decode(self.file.read(key).payload, str(key))
        except (BrokenImageError, FormatError) as error:
            reason = str(error).removeprefix(f"Image '{key}' cannot be decoded: ").rstrip(".")
            raise BrokenImageError(
                str(key), f"{reason} (record {key} at byte {self.file.offsets[key]} of '{self.file.path}')"
            ) from None
        return folders.check_square(pixels, str(key), self.size_px)
