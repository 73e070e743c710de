"""MXNet's record files (``.rec`` + ``.idx``) in pure Python over mmap: reader and writer, no mxnet.

A record is a magic (uint32), a word (uint32: 3-bit continuation flag, 29-bit length), the content, and padding to 4.
Content that holds the magic on a 4-byte boundary is split there (flag 1 first, 2 middle, 3 last part; 0 whole), the
magic itself left out. Content starts with the image header ``IfQQ`` = flag, label, id, id2; ``flag`` float32 labels
follow if flag > 0, then the image. Byte order is little-endian. Source: dmlc-core ``recordio.h`` and ``recordio.cc``;
MXNet ``recordio.py`` (``IRHeader``).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import DatasetError, FormatError
from bnas_face.files import atomic_path

MAGIC = 0xCED7230A
_MAGIC = struct.pack("<I", MAGIC)
_FRAME = struct.Struct("<II")
_HEADER = struct.Struct("<IfQQ")
_MAX_LENGTH = (1 << 29) - 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record.

    Attributes
    ----------
    label : float or tuple of float
        A single label (flag 0), or an array of labels (flag = its length).
    id, id2 : int
        As written; MXNet's image tools put the key in `id`.
    payload : bytes
        The encoded image; empty in header and identity records.
    """

    label: float | tuple[float, ...]
    id: int
    id2: int = 0
    payload: bytes = b""

    @property
    def flag(self) -> int:
        """0 for a single label, else the number of labels."""
        return len(self.label) if isinstance(self.label, tuple) else 0

    @property
    def first_label(self) -> float:
        """The label, or the first of several: the identity's index."""
        return self.label[0] if isinstance(self.label, tuple) else self.label


class RecordFile:
    """Random access to a ``.rec`` through its ``.idx``. Safe to share between threads; picklable (it reopens the file).

    Parameters
    ----------
    path : Path
        The ``.rec``; ``.idx`` of the same name lies beside it.

    Raises
    ------
    FormatError
        If a file is absent, or the ``.idx`` is damaged or points outside the ``.rec``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets = read_index(path.with_suffix(".idx"))
        self._map = _open(path)
        beyond = np.flatnonzero(self.offsets.positions > len(self._map) - _FRAME.size)
        if len(beyond):
            key, position = self.offsets.keys_in_order[beyond[0]], self.offsets.positions[beyond[0]]
            raise FormatError(
                f"'{path}' is truncated: it ends at byte {len(self._map)}, but its .idx puts record {key} at "
                f"byte {position}."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "offsets": self.offsets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.offsets = state["path"], state["offsets"]
        self._map = _open(self.path)

    def __len__(self) -> int:
        return len(self.offsets)

    def close(self) -> None:
        """Release the file."""
        if isinstance(self._map, mmap.mmap):
            self._map.close()

    def read(self, key: int) -> Record:
        """The record of a key; `FormatError` if the key is unknown or the record is damaged (names file and byte)."""
        if key not in self.offsets:
            raise FormatError(f"'{self.path.with_suffix('.idx')}' has no record {key} (it lists {len(self.offsets)}).")
        return _unpack(self._content(self.offsets[key]), self.path, self.offsets[key])

    def single_labels(self, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Labels of many records at once, shape (n,): NaN where a record has several, is split or is damaged."""
        labels = np.full(len(keys), np.nan)
        content = np.frombuffer(self._map, np.uint8)
        positions = self.offsets.many(keys)
        size = _FRAME.size + _HEADER.size
        for start in range(0, len(keys), 1 << 17):
            here = positions[start : start + (1 << 17)]
            whole = here + size <= len(content)
            octets = content[np.where(whole, here, 0)[:, None] + np.arange(16)]
            words = octets.view("<u4")
            plain = whole & (words[:, 0] == MAGIC) & (words[:, 1] >> 29 == 0) & (words[:, 1] >= 24) & (words[:, 2] == 0)
            labels[start : start + len(here)] = np.where(plain, octets[:, 12:].copy().view("<f4")[:, 0], np.nan)
        return labels

    def _content(self, offset: int) -> bytes:
        """The whole content of a record, its parts joined by the magic that was taken out."""
        parts: list[bytes] = []
        position = offset
        while True:
            flag, length = self._frame(position)
            if flag not in ((2, 3) if parts else (0, 1)):
                raise FormatError(
                    f"'{self.path}' is damaged at byte {position}: continuation flag {flag} is out of order."
                )
            start = position + _FRAME.size
            if start + length > len(self._map):
                raise FormatError(
                    f"'{self.path}' is truncated: the record at byte {offset} reaches to byte {start + length}, the "
                    f"file ends at byte {len(self._map)}."
                )
            parts.append(self._map[start : start + length])
            if flag in (0, 3):
                return _MAGIC.join(parts)
            position = start + (length + 3) // 4 * 4

    def _frame(self, position: int) -> tuple[int, int]:
        if position < 0 or position + _FRAME.size > len(self._map):
            raise FormatError(
                f"'{self.path}' is truncated: it ends at byte {len(self._map)}, a record goes on at byte {position}."
            )
        magic, word = _FRAME.unpack_from(self._map, position)
        if magic != MAGIC:
            raise FormatError(
                f"'{self.path}' is damaged at byte {position}: expected the magic {MAGIC:#010x}, found {magic:#010x}."
            )
        return word >> 29, word & _MAX_LENGTH


def _open(path: Path) -> mmap.mmap | bytes:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b""
    except FileNotFoundError:
        raise FormatError(f"'{path}' does not exist; expected a .rec file.") from None
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}.") from None


def _unpack(content: bytes, path: Path, offset: int) -> Record:
    if len(content) < _HEADER.size:
        raise FormatError(
            f"'{path}' is damaged at byte {offset}: the record has {len(content)} bytes, fewer than its header."
        )
    flag, label, id_, id2 = _HEADER.unpack_from(content)
    end = _HEADER.size + 4 * flag
    if end > len(content):
        raise FormatError(f"'{path}' is damaged at byte {offset}: {flag} labels do not fit into {len(content)} bytes.")
    labels = struct.unpack_from(f"<{flag}f", content, _HEADER.size) if flag else label
    return Record(label=labels, id=id_, id2=id2, payload=content[end:])


class Offsets(Mapping[int, int]):
    """Key → byte of each record, in the order of the file; two arrays, so that five million take 80 MB.

    Parameters
    ----------
    keys, positions : ndarray of int64, shape (n_records,)
        Keys are unique.
    """

    def __init__(self, keys: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        self.keys_in_order, self.positions = keys, positions
        is_sorted = bool(np.all(keys[1:] > keys[:-1]))
        self._order = None if is_sorted else np.argsort(keys, kind="stable")
        self._sorted = keys if self._order is None else keys[self._order]

    @property
    def has_doubles(self) -> bool:
        """Whether a key comes twice."""
        return bool(np.any(self._sorted[1:] == self._sorted[:-1]))

    def __getitem__(self, key: int) -> int:
        at = int(np.searchsorted(self._sorted, key))
        if at == len(self._sorted) or self._sorted[at] != key:
            raise KeyError(key)
        return int(self.positions[at if self._order is None else self._order[at]])

    def many(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of keys (shape (n,)) that are all known."""
        at = np.searchsorted(self._sorted, keys)
        return self.positions[at if self._order is None else self._order[at]]

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys_in_order.tolist())

    def __len__(self) -> int:
        return len(self.keys_in_order)


def read_index(path: Path) -> Offsets:
    """Offsets of an ``.idx`` (lines ``key<TAB>offset``).

    Raises
    ------
    FormatError
        If the file is absent, or a line is not two whole numbers, or a key comes twice; names file and line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}; a .rec needs its .idx beside it.") from None
    offsets = _plain_index(content)
    if offsets is None or offsets.has_doubles:
        offsets = _any_index(path, content)
    return offsets


def _plain_index(content: bytes) -> Offsets | None:
    """An index as MXNet writes it, at once; None for any other, which `_any_index` reads line by line."""
    octets = np.frombuffer(content, np.uint8)
    cuts = np.flatnonzero(octets < ord("0"))
    lengths = np.diff(cuts, prepend=-1) - 1
    is_plain = (
        len(cuts) > 0
        and len(cuts) % 2 == 0
        and cuts[-1] == len(octets) - 1
        and bool(np.all(octets[cuts[::2]] == ord("\t")) and np.all(octets[cuts[1::2]] == ord("\n")))
        and int(octets.max()) <= ord("9")
        and int(lengths.min()) > 0
        and int(lengths.max()) < 19
    )
    if not is_plain:
        return None
    numbers = np.fromstring(content.decode("ascii"), np.int64, sep=" ")
    return Offsets(numbers[::2], numbers[1::2])


def _any_index(path: Path, content: bytes) -> Offsets:
    offsets: dict[int, int] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        fields = line.split()
        if len(fields) != 2 or not all(field.isdigit() and len(field) < 19 for field in fields):
            shown = line[:40].decode("ascii", "backslashreplace")
            raise FormatError(f"'{path}', line {number}: expected 'key<TAB>offset', found '{shown}'.")
        key = int(fields[0])
        if key in offsets:
            raise FormatError(f"'{path}', line {number}: key {key} comes a second time.")
        offsets[key] = int(fields[1])
    return Offsets(np.array(list(offsets), np.int64), np.array(list(offsets.values()), np.int64))


def pack(record: Record) -> bytes:
    """A record's content as MXNet packs it: header, labels, payload."""
    labels = record.label if isinstance(record.label, tuple) else ()
    label = 0.0 if isinstance(record.label, tuple) else record.label
    header = _HEADER.pack(record.flag, label, record.id, record.id2)
    return header + struct.pack(f"<{len(labels)}f", *labels) + record.payload


def frame(content: bytes) -> bytes:
    """Content as it stands in the file: split at every aligned magic, each part with magic, flag and length, padded.

    Raises
    ------
    FormatError
        If the content is longer than the 29-bit length can say (512 MiB).
    """
    if len(content) > _MAX_LENGTH:
        raise FormatError(f"A record of {len(content)} bytes does not fit; the format ends at {_MAX_LENGTH}.")
    cuts = [
        position for position in _find_all(content, _MAGIC) if position % 4 == 0 and position < len(content) // 4 * 4
    ]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(content)]
    out: list[bytes] = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        is_last = index == len(cuts)
        flag = (3 if is_last else 2) if index else (0 if is_last else 1)
        part = content[start:end]
        out += (_FRAME.pack(MAGIC, flag << 29 | len(part)), part, bytes(-len(part) % 4))
    return b"".join(out)


def _find_all(content: bytes, wanted: bytes) -> Iterable[int]:
    position = content.find(wanted)
    while position >= 0:
        yield position
        position = content.find(wanted, position + 1)


def write(path: Path, records: Iterable[tuple[int, Record]]) -> None:
    """Write ``.rec`` and ``.idx``; both appear complete or not at all (the ``.idx`` last).

    Parameters
    ----------
    path : Path
        The ``.rec``; the ``.idx`` gets the same name.
    records : iterable of (key, Record)
    """
    with (
        atomic_path(path.with_suffix(".idx")) as index_part,  # leaves last: its rename comes last
        index_part.open("wb") as index,
        atomic_path(path) as part,
        part.open("wb") as file,
    ):
        append(file, index, records)


def append(file: BinaryIO, index: BinaryIO, records: Iterable[tuple[int, Record]]) -> None:
    """Write records (key, record) to the end of an open ``.rec`` and their lines to its open ``.idx``."""
    for key, record in records:
        index.write(f"{key}\t{file.tell()}\n".encode("ascii"))
        file.write(frame(pack(record)))


def check_two_files(path: Path) -> None:
    """`DatasetError` unless ``.rec`` and ``.idx`` both exist."""
    for file in (path, path.with_suffix(".idx")):
        if not file.is_file():
            raise DatasetError(f"'{file}' does not exist; a record file is train.rec with train.idx beside it.")
