"""Pair lists of the field, each to one table: fold, reference_id, probe_id, is_genuine.

Order is kept: the reference convention cuts its folds by position. A list that puts all genuine pairs first (CALFW,
CPLFW) is interleaved again, 300 genuine + 300 impostor a fold, or whole folds would hold one class only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from bnas_face.errors import FormatError

COLUMNS = ("fold", "reference_id", "probe_id", "is_genuine")

MAX_BYTES = 1 << 28
"""A pair list above this size (256 MB) is refused before memory is asked for."""


class Pair(NamedTuple):
    """One comparison; the field names are the columns of the table."""

    fold: int
    reference_id: str
    probe_id: str
    is_genuine: int


def read_lfw(path: Path) -> pd.DataFrame:
    """LFW pairs: View 2 (header ``10<TAB>300``) or one half of View 1 (header ``1100`` or ``500``).

    A line of 3 fields ``name i j`` is genuine, one of 4 fields ``name1 i name2 j`` impostor; per fold genuine first.

    Returns
    -------
    DataFrame
        With columns `COLUMNS`; fold 0 … n_folds − 1 (View 1: fold 0); ids ``Name/Name_0001.jpg``.

    Raises
    ------
    FormatError
        If a line has other fields, or the number of pairs differs from the header; names file and line.
    """
    lines = _lines(path)
    n_folds, n_per_class = _lfw_header(path, lines)
    pairs: list[Pair] = []
    for fold in range(n_folds):
        for is_genuine in (1, 0):
            block = list(islice(lines, n_per_class))
            if len(block) < n_per_class:
                kind = "genuine" if is_genuine else "impostor"
                raise FormatError(
                    f"'{path}' ends at line {_n_lines(path)}, after {len(block)} of {n_per_class} {kind} pairs of fold "
                    f"{fold + 1}; its header announces {n_folds} folds of 2 × {n_per_class}."
                )
            pairs += [_lfw_pair(path, number, fields, fold, is_genuine) for number, fields in block]
    extra = next(lines, None)
    if extra is not None:
        raise FormatError(f"'{path}', line {extra[0]}: more pairs than the header announces ({len(pairs)}).")
    return table(pairs)


def is_lfw_view_1(path: Path) -> bool:
    """Whether an LFW list is one half of View 1 (its header has a single number)."""
    first = next(_lines(path), None)
    return first is not None and len(first[1]) == 1


def _lfw_header(path: Path, lines: Iterator[tuple[int, list[str]]]) -> tuple[int, int]:
    number, fields = next(lines, (1, []))
    if not 1 <= len(fields) <= 2 or not all(field.isdecimal() and len(field) < 8 for field in fields):
        raise FormatError(
            f"'{path}', line {number}: expected the header '10<TAB>300' or '1100', found '{_shown(fields)}'."
        )
    n_folds, n_per_class = ([1] * (2 - len(fields))) + [int(field) for field in fields]
    if not n_folds or not n_per_class:
        raise FormatError(f"'{path}', line {number}: the header '{_shown(fields)}' announces no pairs.")
    return n_folds, n_per_class


def _lfw_pair(path: Path, line: int, fields: list[str], fold: int, is_genuine: int) -> Pair:
    if len(fields) != (3 if is_genuine else 4):
        expected = "'name<TAB>i<TAB>j' (genuine)" if is_genuine else "'name<TAB>i<TAB>name<TAB>j' (impostor)"
        raise FormatError(f"'{path}', line {line}: expected {expected}, found '{_shown(fields)}'.")
    first, i, second, j = fields if len(fields) == 4 else (fields[0], fields[1], fields[0], fields[2])
    if not (i.isdecimal() and j.isdecimal()):
        raise FormatError(f"'{path}', line {line}: image numbers must be whole numbers, found '{i}' and '{j}'.")
    return Pair(fold, _lfw_id(path, line, first, i), _lfw_id(path, line, second, j), is_genuine)


def _lfw_id(path: Path, line: int, name: str, number: str) -> str:
    return _checked_id(path, line, f"{name}/{name}_{number:0>4}.jpg")


def read_lfw_dev(one: Path, other: Path) -> pd.DataFrame:
    """LFW View 1 as one table: fold 0 = pairsDevTrain.txt, fold 1 = pairsDevTest.txt.

    The files may come in any order and under any name: the half with more pairs (2 × 1100, not 2 × 500) is for
    training.
    """
    halves = sorted((read_lfw(one), read_lfw(other)), key=len, reverse=True)
    return pd.concat([half.assign(fold=fold) for fold, half in enumerate(halves)], ignore_index=True)


def read_cfp(folder: Path) -> dict[str, pd.DataFrame]:
    """CFP: ``Split/{FF,FP}/NN/{same,diff}.txt`` hold ``i,j``, numbers in ``Pair_list_F.txt`` and ``Pair_list_P.txt``.

    Parameters
    ----------
    folder : Path
        The folder that holds ``Split`` and the two lists.

    Returns
    -------
    dict
        ``cfp_ff`` and ``cfp_fp`` → table; fold 0 = ``01``; in a fold genuine first; ids ``001/frontal/01.jpg``.

    Raises
    ------
    FormatError
        If a file is absent or a line is wrong; names file and line.
    """
    frontal = _cfp_list(folder / "Pair_list_F.txt")
    profile = _cfp_list(folder / "Pair_list_P.txt")
    return {
        "cfp_ff": _cfp_split(folder / "Split" / "FF", frontal, frontal),
        "cfp_fp": _cfp_split(folder / "Split" / "FP", frontal, profile),
    }


def _cfp_list(path: Path) -> dict[int, str]:
    ids: dict[int, str] = {}
    for line, fields in _lines(path):
        if len(fields) != 2 or not _is_number(fields[0]):
            raise FormatError(
                f"'{path}', line {line}: expected '1 ../Data/Images/001/frontal/01.jpg', found '{_shown(fields)}'."
            )
        ids[int(fields[0])] = _checked_id(path, line, "/".join(PurePosixPath(fields[1]).parts[-3:]))
    return ids


def _cfp_split(folder: Path, references: dict[int, str], probes: dict[int, str]) -> pd.DataFrame:
    names = sorted(child.name for child in folder.glob("*") if child.is_dir()) if folder.is_dir() else []
    if not names:
        raise FormatError(f"'{folder}' holds no fold folders 01, 02, …; expected CFP's Protocol/Split as published.")
    pairs: list[Pair] = []
    for fold, name in enumerate(names):
        for file, is_genuine in (("same.txt", 1), ("diff.txt", 0)):
            pairs += _cfp_pairs(folder / name / file, fold, is_genuine, references, probes)
    return table(pairs)


def _cfp_pairs(
    path: Path, fold: int, is_genuine: int, references: dict[int, str], probes: dict[int, str]
) -> Iterator[Pair]:
    for line, fields in _lines(path, separator=","):
        numbers = [int(field) for field in fields if _is_number(field)]
        if len(fields) != 2 or len(numbers) != 2:
            raise FormatError(f"'{path}', line {line}: expected two line numbers 'i,j', found '{_shown(fields)}'.")
        if numbers[0] not in references or numbers[1] not in probes:
            raise FormatError(
                f"'{path}', line {line}: pair '{_shown(fields)}' names a line that the pair list does not have."
            )
        yield Pair(fold, references[numbers[0]], probes[numbers[1]], is_genuine)


def read_agedb(path: Path, n_folds: int = 10) -> pd.DataFrame:
    """AgeDB-30: a line ``reference probe label`` (or label first); label 1 = genuine, −1 or 0 = impostor.

    Folds follow the order when each then holds as many genuine as impostor pairs; otherwise the list is interleaved.
    """
    return _in_folds(path, [_agedb_pair(path, line, fields) for line, fields in _lines(path)], n_folds)


def _in_folds(path: Path, pairs: Sequence[Pair], n_folds: int) -> pd.DataFrame:
    """Folds by position if each then holds as many genuine as impostor pairs as every other; else interleaved."""
    is_genuine = np.array([pair.is_genuine for pair in pairs], bool)
    if len(pairs) % n_folds == 0 and len(pairs) and len(set(is_genuine.reshape(n_folds, -1).sum(1))) == 1:
        size = len(pairs) // n_folds
        return table([pair._replace(fold=i // size) for i, pair in enumerate(pairs)])
    return interleave(path, pairs, n_folds)


def _agedb_pair(path: Path, line: int, fields: list[str]) -> Pair:
    labels = {"1": 1, "0": 0, "-1": 0}
    if len(fields) == 3 and fields[2] not in labels:
        fields = [*fields[1:], fields[0]]
    if len(fields) != 3 or fields[2] not in labels:
        raise FormatError(f"'{path}', line {line}: expected 'image image 1' (or 0, -1), found '{_shown(fields)}'.")
    return Pair(0, _checked_id(path, line, fields[0]), _checked_id(path, line, fields[1]), labels[fields[2]])


def read_rfw(path: Path, race: str, n_folds: int = 10) -> pd.DataFrame:
    """One of RFW's four lists, LFW's lines without a header: ``name i j`` is genuine, ``name1 i name2 j`` impostor.

    Returns
    -------
    DataFrame
        With columns `COLUMNS` and ``race``; folds as in `read_agedb`; ids ``race/name/name_0001.jpg``.

    Raises
    ------
    FormatError
        If a line has other fields; names file and line.
    """
    pairs = [_lfw_pair(path, line, fields, 0, int(len(fields) == 3)) for line, fields in _lines(path)]
    folds = _in_folds(path, pairs, n_folds)
    for column in ("reference_id", "probe_id"):
        folds[column] = f"{race}/" + folds[column]
    return folds.assign(race=race)


def read_calfw(path: Path, n_folds: int = 10) -> pd.DataFrame:
    """CALFW or CPLFW: a pair is two lines ``image label``; label 0 = impostor, anything above = genuine.

    The published lists hold the 3,000 genuine pairs first: they are interleaved to `n_folds` folds of both classes.

    Raises
    ------
    FormatError
        If a line is wrong, the two lines of a pair disagree, or a class does not divide by `n_folds`; names file and
        line.
    """
    pairs: list[Pair] = []
    lines = _lines(path)
    for line, fields in lines:
        second_line, second = next(lines, (line, []))
        if not second:
            raise FormatError(f"'{path}' ends at line {line} inside a pair; expected two lines 'image label' a pair.")
        for number, checked in ((line, fields), (second_line, second)):
            if len(checked) != 2 or not _is_number(checked[1]):
                raise FormatError(f"'{path}', line {number}: expected 'image label', found '{_shown(checked)}'.")
        if int(fields[1]) != int(second[1]):
            raise FormatError(
                f"'{path}', line {second_line}: label '{second[1]}' differs from '{fields[1]}' of the line before."
            )
        ids = (_checked_id(path, line, fields[0]), _checked_id(path, second_line, second[0]))
        pairs.append(Pair(0, *ids, int(int(fields[1]) > 0)))
    return interleave(path, pairs, n_folds)


read_cplfw = read_calfw


def interleave(path: Path, pairs: Sequence[Pair], n_folds: int) -> pd.DataFrame:
    """Deal genuine and impostor pairs, in their order, to folds of equal size; per fold genuine first."""
    classes = [[pair for pair in pairs if pair.is_genuine == wanted] for wanted in (1, 0)]
    for kind, found in zip(("genuine", "impostor"), classes, strict=True):
        if not found or len(found) % n_folds:
            raise FormatError(
                f"'{path}' holds {len(found)} {kind} pairs; expected a multiple of {n_folds}, one share per fold."
            )
    dealt: list[Pair] = []
    for fold in range(n_folds):
        for found in classes:
            share = len(found) // n_folds
            dealt += [pair._replace(fold=fold) for pair in found[fold * share : (fold + 1) * share]]
    return table(dealt)


def from_flags(image_ids: Sequence[str], is_genuine: Sequence[bool], n_folds: int = 10) -> pd.DataFrame:
    """The pairs (0, 1), (2, 3), … of a ``.bin``: folds by position, as `KFold` without shuffling cuts them."""
    sizes = [len(part) for part in np.array_split(np.arange(len(is_genuine)), n_folds)]
    folds = np.repeat(np.arange(n_folds), sizes)
    rows = zip(folds, image_ids[0::2], image_ids[1::2], is_genuine, strict=True)
    return table([Pair(int(fold), a, b, int(same)) for fold, a, b, same in rows])


def table(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Pairs as a DataFrame with the columns `COLUMNS`."""
    return pd.DataFrame(list(pairs), columns=list(COLUMNS))


def read_csv(path: Path) -> pd.DataFrame:
    """Read a normalised pair list: CSV with the columns `COLUMNS`, in any order, and metadata.

    Returns
    -------
    DataFrame
        fold int64, ids str, is_genuine bool; a metadata column is numeric if every value in it is a number.

    Raises
    ------
    FormatError
        If it is damaged; names the file and the line.
    """
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise FormatError(f"'{path}' is a damaged pair list: {reason}. Import the dataset again.") from None
    missing = [column for column in COLUMNS if column not in text.columns]
    if missing:
        raise FormatError(
            f"'{path}' line 1 lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"expected {', '.join(COLUMNS)}."
        )
    well_formed = (
        text["fold"].str.fullmatch(r"\d{1,9}").eq(True)  # eq: an absent value is not True
        & text["is_genuine"].isin(("0", "1"))
        & text["reference_id"].notna()
        & text["probe_id"].notna()
    )
    if not well_formed.all():
        row = int(np.argmin(well_formed.to_numpy(np.bool_)))
        raise FormatError(
            f"'{path}' line {row + 2} is damaged: expected a fold number, two image ids and is_genuine 0 or 1, "
            f"got {', '.join(repr(text[column].iloc[row]) for column in COLUMNS)}. Import the dataset again."
        )
    return _typed(text)


def _typed(text: pd.DataFrame) -> pd.DataFrame:
    """Columns of text as what they are; a metadata column becomes numeric if every value in it is a number."""
    typed: dict[str, pd.Series] = {"fold": text["fold"].astype(np.int64), "is_genuine": text["is_genuine"].eq("1")}
    for column in text.columns.difference([*COLUMNS]):
        numbers = pd.to_numeric(text[column], errors="coerce")
        if numbers.notna().eq(text[column].notna()).all():
            typed[str(column)] = numbers
    return text.assign(**typed)


def _lines(path: Path, separator: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """(line number from 1, fields) of each line that is not blank."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        fields = [field.strip() for field in line.split(separator)] if line.strip() else []
        if fields:
            yield number, fields


def _n_lines(path: Path) -> int:
    return len(_text(path).splitlines())


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"'{path}' has {path.stat().st_size:,} bytes; a pair list has at most {MAX_BYTES:,}.")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FormatError(f"'{path}' does not exist; expected a pair list.") from None
    except UnicodeDecodeError as error:
        raise FormatError(f"'{path}' is no text: byte {error.start} is not UTF-8.") from None
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror}.") from None


def _checked_id(path: Path, line: int, image_id: str) -> str:
    """The id, refused if it would lead outside the folder of images."""
    parts = PurePosixPath(image_id).parts
    if image_id.startswith("/") or ".." in parts or "\0" in image_id or "\\" in image_id:
        raise FormatError(f"'{path}', line {line}: image '{image_id}' leaves the folder of images.")
    return image_id


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdecimal() and len(field) < 10


def _shown(fields: Sequence[str]) -> str:
    text = " ".join(fields)
    return text if len(text) <= 60 else f"{text[:57]}…"
