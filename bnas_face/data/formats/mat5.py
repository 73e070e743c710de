"""MATLAB 5 files, as far as lists of names and numbers need them: numeric arrays, text, and cells of these.

SciPy's reader ends the whole process (segmentation fault) on some damaged files (found by fuzzing, see the tests), so
files of others are read here: every length is checked against the bytes that are there.

References
----------
MathWorks, MAT-File Format, chapter 1 (Level 5 MAT-file format).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import FormatError

HEADER = b"MATLAB 5.0 MAT-file"
HEADER_BYTES = 128
MAX_BYTES = 1 << 22
"""A file above this size (4 MB) is refused before memory is asked for: lists of names are smaller by far."""
MAX_UNPACKED_BYTES = 1 << 26
MAX_DEPTH = 8
MATRIX, COMPRESSED = 14, 15
CELL, TEXT = 1, 4
NUMERIC = range(6, 16)
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def is_mat(path: Path) -> bool:
    """Whether a file begins as a MATLAB 5 file does; `FormatError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(HEADER)) == HEADER
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}.") from None


def read(path: Path, names: Collection[str]) -> dict[str, Any]:
    """The variables of these names, as far as the file has them.

    Returns
    -------
    dict of str to ndarray or list
        Numeric arrays with one axis (in MATLAB's order, column by column); text as str; cells as lists of these.

    Raises
    ------
    FormatError
        If the file is absent, too large, damaged, or one of the variables is of another class (structures, objects,
        sparse); names the file and the byte, or the byte of the unpacked variable.
    """
    if not is_mat(path):
        raise FormatError(f"'{path}' is no MATLAB 5 file; expected a list as published.")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_BYTES:
        raise FormatError(f"'{path}' has {n_bytes:,} bytes; such a list has at most {MAX_BYTES:,}.")
    content = path.read_bytes()
    order = {b"IM": "<", b"MI": ">"}.get(content[126:HEADER_BYTES])
    if order is None:
        raise FormatError(f"'{path}' is damaged at byte 126: it does not tell its byte order.")
    whole = _Elements(path, content, order)
    found: dict[str, Any] = {}
    for kind, data, start in whole.elements(HEADER_BYTES):
        part, element = whole, (kind, data, start)
        if kind == COMPRESSED:
            part = whole.unpacked(data, start)
            element = next(part.elements(0), (0, b"", 0))
        if element[0] == MATRIX:
            name, value = part.matrix(element[2], element[2] + len(element[1]), names, 0)
            if name in names:
                found[name] = value
    return found


class _Elements:
    """Data elements of a file or of an unpacked variable."""

    def __init__(self, path: Path, content: bytes, order: str) -> None:
        self.path, self.content, self.order = path, content, order

    def fail(self, at: int, why: str) -> NoReturn:
        raise FormatError(f"'{self.path}' is damaged at byte {at}: {why}.")

    def elements(self, start: int, end: int | None = None) -> Iterator[tuple[int, bytes, int]]:
        """(type, data, position of the data) of the elements from `start` to `end`."""
        at, end = start, len(self.content) if end is None else end
        while at < end:
            if at + 8 > end:
                self.fail(at, "it ends inside a tag")
            first, n_bytes = struct.unpack_from(f"{self.order}II", self.content, at)
            kind, data_at = first, at + 8
            if first >> 16:  # a small element: four bytes of data in the tag itself
                kind, n_bytes, data_at = first & 0xFFFF, first >> 16, at + 4
            small = data_at == at + 4
            if (small and n_bytes > 4) or data_at + n_bytes > end:
                self.fail(at, f"an element of {n_bytes} bytes does not fit")
            yield kind, self.content[data_at : data_at + n_bytes], data_at
            padding = 0 if kind == COMPRESSED else -n_bytes % 8
            at = at + 8 if small else min(end, data_at + n_bytes + padding)

    def unpacked(self, data: bytes, at: int) -> _Elements:
        """The content of a compressed element, of bounded size."""
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(data, MAX_UNPACKED_BYTES)
        except zlib.error as error:
            self.fail(at, str(error))
        if stream.unconsumed_tail or not stream.eof:
            self.fail(at, f"a compressed variable is truncated or larger than {MAX_UNPACKED_BYTES:,} bytes")
        return _Elements(self.path, content, self.order)

    def matrix(self, start: int, end: int, names: Collection[str] | None, depth: int) -> tuple[str, Any]:
        """Name and value of an array; a variable that is not wanted (`names`) is not looked into."""
        parts = self.elements(start, end)
        head = [next(parts, None) for _ in range(3)]
        if head[0] is None or head[1] is None or head[2] is None or len(head[0][1]) < 4:
            self.fail(start, "an array has no flags, dimensions and name")
        kind = struct.unpack_from(f"{self.order}I", head[0][1])[0] & 0xFF
        sides = self.numbers(head[1]).tolist()
        name = head[2][1].decode("latin-1")
        if names is not None and name not in names:
            return name, None
        if kind == CELL and depth < MAX_DEPTH:
            return name, self.cells(parts, sides, start, depth)
        if kind == TEXT:
            return name, self.text(next(parts, None), start)
        if kind in NUMERIC:
            data = next(parts, None)
            return name, np.zeros(0) if data is None else self.numbers(data)
        self.fail(start, f"'{name}' is of class {kind}, or nested too deeply; expected numbers, text or cells of these")

    def cells(self, parts: Iterator[tuple[int, bytes, int]], sides: list[int], start: int, depth: int) -> list[Any]:
        found = []
        for kind, data, at in parts:
            if kind != MATRIX:
                self.fail(at, "a cell holds no array")
            found.append(self.matrix(at, at + len(data), None, depth + 1)[1] if data else np.zeros(0))
        n_cells = 1
        for side in sides:
            n_cells *= max(0, int(side))
        if n_cells != len(found):
            self.fail(start, f"an array of {n_cells} cells holds {len(found)}")
        return found

    def text(self, element: tuple[int, bytes, int] | None, start: int) -> str:
        if element is None:
            return ""
        encoding = ENCODINGS.get(element[0])
        if encoding is None:
            self.fail(start, f"text is stored as type {element[0]}")
        suffix = ("-le" if self.order == "<" else "-be") if encoding[4:] in ("16", "32") else ""
        try:
            return element[1].decode(encoding + suffix)
        except UnicodeDecodeError as error:
            self.fail(element[2], f"text is not {encoding} ({error.reason})")

    def numbers(self, element: tuple[int, bytes, int]) -> NDArray[Any]:
        kind, data, at = element
        if kind not in NUMBERS:
            self.fail(at, f"numbers are stored as type {kind}")
        dtype = np.dtype(f"{self.order}{NUMBERS[kind]}")
        if len(data) % dtype.itemsize:
            self.fail(at, f"{len(data)} bytes are no whole numbers of {dtype.itemsize} bytes")
        return np.frombuffer(data, dtype).astype(NUMBERS[kind])
