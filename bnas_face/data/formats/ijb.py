"""IJB-B and IJB-C as InsightFace's package has them: crops and their templates, five points, pairs, galleries.

======================================  ==============================================================================
file (ijbb_… for IJB-B)                 a line
======================================  ==============================================================================
``ijbc_face_tid_mid.txt``               ``1.jpg 1 69544``: image, template, medium
``ijbc_name_5pts_score.txt``            ``1.jpg x y x y x y x y x y 0.999``: image, five points in px, detector score
``ijbc_template_pair_label.txt``        ``1 11065 1``: two templates; 1 genuine, 0 impostor (15,658,489 lines)
``ijbc_1N_gallery_G1.csv`` …            header ``TEMPLATE_ID,SUBJECT_ID,…``, one line for every image of a template
======================================  ==============================================================================
"""

from __future__ import annotations

import io
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.data.formats.template_files import INT32, TemplatePairs
from bnas_face.errors import FormatError

MAX_BYTES = 1 << 31
"""A list above this size (2 GB) is refused before memory is asked for; IJB-C's longest has 0.25 GB."""
N_POINTS = 5
DIGITS = b"0123456789 \t\r\n-"
HEADER = ("TEMPLATE_ID", "SUBJECT_ID")


def read_members(path: Path) -> tuple[NDArray[np.str_], NDArray[np.int32], NDArray[np.int32]]:
    """``…_face_tid_mid.txt``: image ids, templates, media, each of shape (n_rows,).

    Raises
    ------
    FormatError
        If a line is not an image and two whole numbers, or an image id leads elsewhere; names file and line.
    """
    expected = "'1.jpg 1 69544' (image, template, medium)"
    table = _read(path, dict.fromkeys(range(3), "str"), expected)
    return _image_ids(path, table[0]), _whole(path, table[1], expected), _whole(path, table[2], expected)


def read_points(path: Path) -> tuple[NDArray[np.str_], NDArray[np.float32], NDArray[np.float32]]:
    """``…_name_5pts_score.txt``: image ids (n_images,), points in px (n_images, 5, 2), detector scores (n_images,).

    Raises
    ------
    FormatError
        If a line is not an image and eleven finite numbers, a score leaves [0, 1], or an image comes twice.
    """
    columns = {0: "str", **dict.fromkeys(range(1, 2 * N_POINTS + 2), "float32")}
    table = _read(path, columns, "'1.jpg' and 11 numbers: x and y of 5 points, detector score")
    ids = _image_ids(path, table[0])
    numbers = table.iloc[:, 1:].to_numpy(np.float32)
    score = numbers[:, -1]
    bad = np.flatnonzero(~(np.isfinite(numbers).all(axis=1) & (score >= 0) & (score <= 1)))
    if len(bad):
        raise _wrong(
            path,
            bad[0],
            f"points must be finite and the detector score between 0 and 1, found "
            f"'{' '.join(f'{value:g}' for value in numbers[bad[0]])}'.",
        )
    twice = np.flatnonzero(pd.Series(ids).duplicated().to_numpy())
    if len(twice):
        raise _wrong(path, twice[0], f"image '{ids[twice[0]]}' comes twice.")
    return ids, numbers[:, :-1].reshape(-1, N_POINTS, 2), score


def read_pairs(path: Path) -> TemplatePairs:
    """``…_template_pair_label.txt``: 15.6 million lines of three whole numbers.

    Raises
    ------
    FormatError
        If a line is not two templates and 0 or 1; names file and line.
    """
    expected = "'1 11065 1' (template, template, 1 genuine or 0 impostor)"
    _check_digits(path, expected)
    table = _read(path, {0: "int32", 1: "int32", 2: "int8"}, expected)
    label = table[2].to_numpy(np.int8)
    bad = np.flatnonzero((label != 0) & (label != 1))
    if len(bad):
        raise _wrong(path, bad[0], f"label '{label[bad[0]]}'; expected 1 (genuine), 0 (impostor).")
    return TemplatePairs(
        reference=_numbers(path, table[0]), probe=_numbers(path, table[1]), is_genuine=label.astype(np.bool_)
    )


def read_subjects(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A gallery's or the probes' CSV: template and subject of every template once, both of shape (n_templates,).

    Raises
    ------
    FormatError
        If the header does not begin with TEMPLATE_ID,SUBJECT_ID, a line is no number, or a template has two subjects;
        names file and line.
    """
    text = _text(path)
    header, _, body = text.partition("\n")
    if tuple(name.strip().strip('"').upper() for name in header.split(",")[:2]) != HEADER:
        raise FormatError(f"'{path}', line 1: expected 'TEMPLATE_ID,SUBJECT_ID,…', found '{header.strip()[:60]}'.")
    expected = "a template's and a subject's number"
    table = _parse(path, body, {0: "str", 1: "str"}, expected, sep=",", skipped=1)
    templates, subjects = (_whole(path, table[column], expected, 1) for column in (0, 1))
    found, first, which = np.unique(templates, return_index=True, return_inverse=True)
    other = np.flatnonzero(subjects != subjects[first][which])
    if len(other):
        raise _wrong(
            path,
            other[0],
            f"template {templates[other[0]]} belongs to subject {subjects[other[0]]}, "
            f"and to subject {subjects[first][which][other[0]]} in an earlier line.",
            1,
        )
    return found, subjects[first]


def _read(path: Path, columns: dict[int, str], expected: str) -> pd.DataFrame:
    """A table of lines separated by blanks, straight from the file: as text in memory 15.6 million lines are costly."""
    _check_size(path)
    return _parse(path, path, columns, expected)


def _parse(
    path: Path, source: Any, columns: dict[int, str], expected: str, *, sep: str = r"\s+", skipped: int = 0
) -> pd.DataFrame:
    stream = io.StringIO(source) if isinstance(source, str) else source
    options: dict[str, Any] = {"sep": sep, "header": None, "dtype": columns, "engine": "c", "on_bad_lines": "error"}
    options |= {"na_filter": False, "quoting": 3, "encoding": "utf-8", "index_col": False}
    options |= {"usecols": list(columns)} if sep == "," else {"names": list(columns)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # lines with fields too many
            table: pd.DataFrame = pd.read_csv(stream, **options)
    except (
        pd.errors.ParserWarning,
        ValueError,
        OverflowError,
        TypeError,
        OSError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        line = _first_bad_line(path, columns, "," if sep == "," else None, skipped)
        reason = " ".join(str(error).split()).rstrip(".")
        where = f", line {line[0]}: expected {expected}, found '{line[1]}'" if line else f" cannot be read: {reason}"
        raise FormatError(f"'{path}'{where}.") from None
    if not len(table):
        raise FormatError(f"'{path}' holds no line; expected {expected}.")
    return table


def _first_bad_line(path: Path, columns: dict[int, str], sep: str | None, skipped: int) -> tuple[int, str] | None:
    """Number and text of the first line that does not hold these columns: the slow way, after the fast one failed."""
    try:
        with path.open(encoding="utf-8", errors="strict") as file:
            for number, line in enumerate(file, 1):
                if number <= skipped or not line.strip():
                    continue
                fields = line.split(sep)
                fits = len(fields) == len(columns) or (sep is not None and len(fields) > len(columns))
                if not fits or not all(_is(kind, fields[at]) for at, kind in columns.items()):
                    return number, " ".join(line.split())[:60]
    except (OSError, UnicodeDecodeError):
        return None
    return None


def _is(kind: str, field: str) -> bool:
    """Whether a field fits a column of ``"str"``, ``"float32"``, ``"int32"`` or ``"int8"``."""
    if kind == "str":
        return True
    try:
        if kind == "float32":
            return bool(np.isfinite(float(field)))
        limits = np.iinfo(kind)
        return bool(limits.min <= int(field) <= limits.max)
    except ValueError:
        return False


def _wrong(path: Path, row: int, what: str, skipped: int = 0) -> FormatError:
    """Names the line that holds a row of the table: blank lines make no row, and an editor counts them."""
    with path.open("rb") as file:
        filled = (number for number, line in enumerate(file, 1) if number > skipped and line.strip())
        line = next(itertools.islice(filled, int(row), None), int(row) + 1 + skipped)
    return FormatError(f"'{path}', line {line}: {what}")


def _numbers(path: Path, column: Any) -> NDArray[np.int32]:
    values = np.asarray(column.to_numpy(np.int32))
    bad = np.flatnonzero(values < 0)
    if len(bad):
        raise _wrong(path, bad[0], f"number {values[bad[0]]} is negative.")
    return values


def _whole(path: Path, column: Any, expected: str, skipped: int = 0) -> NDArray[np.int32]:
    """Text as whole numbers; pandas itself would take 1e3 and True for numbers, too."""
    text = column.str.strip()
    fits = text.str.fullmatch(r"[0-9]{1,10}").to_numpy(np.bool_)
    values = np.where(fits, text.where(fits, "0"), "0").astype(np.int64)
    bad = np.flatnonzero(~fits | (values > INT32.max))
    if len(bad):
        found = str(column.iloc[bad[0]])[:40]
        raise _wrong(path, bad[0], f"expected {expected}, found the number '{found}'.", skipped)
    return values.astype(np.int32)


def _check_digits(path: Path, expected: str) -> None:
    """A list of numbers alone holds digits, blanks and signs alone; a quarter of a gigabyte is looked through."""
    _check_size(path)
    n_before = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            if chunk.translate(None, DIGITS):
                at = next(i for i, byte in enumerate(chunk) if byte not in DIGITS)
                line = n_before + chunk.count(b"\n", 0, at) + 1
                begin, end = chunk.rfind(b"\n", 0, at) + 1, chunk.find(b"\n", at)
                found = chunk[begin : end if end >= 0 else None][:60].decode("utf-8", "backslashreplace").strip()
                raise FormatError(f"'{path}', line {line}: expected {expected}, found '{found}'.")
            n_before += chunk.count(b"\n")


def _image_ids(path: Path, column: Any) -> NDArray[np.str_]:
    ids = column.to_numpy().astype(np.str_)
    bad = np.flatnonzero((np.char.find(ids, "..") >= 0) | (np.char.find(ids, "\\") >= 0) | np.char.startswith(ids, "/"))
    if len(bad):
        raise _wrong(path, bad[0], f"image '{ids[bad[0]]}' leaves the folder of images.")
    return np.asarray(ids)


def _text(path: Path) -> str:
    _check_size(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"'{path}' is no text: byte {error.start} is not UTF-8.") from None
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}.") from None


def _check_size(path: Path) -> None:
    try:
        n_bytes = path.stat().st_size
    except OSError:
        raise FormatError(f"'{path}' does not exist; expected a list of IJB-B or IJB-C.") from None
    if n_bytes > MAX_BYTES:
        raise FormatError(f"'{path}' has {n_bytes:,} bytes; such a list has at most {MAX_BYTES:,}.")
