"""The file behind ``csv:PATH``: pairs of images, their class, and whatever else is known of them."""

from __future__ import annotations

import posixpath
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face import tables
from bnas_face.errors import ProtocolError
from bnas_face.evaluate import text_csv

REQUIRED = ("probe", "reference", "is_genuine")
SUBJECTS = ("probe_identity", "reference_identity")
N_FOLDS = 10
TRUE, FALSE = ("1", "true"), ("0", "false")
EXAMPLE = """\
probe,reference,is_genuine,fold,age_gap      paths relative to the file; fold and any further columns are optional
ann/2.jpg,ann/1.jpg,1,0,12
bob/1.jpg,ann/1.jpg,0,0,30"""


def read(path: Path) -> pd.DataFrame:
    """Read and check a file of pairs.

    Returns
    -------
    DataFrame
        Indexed by line number. probe, reference (str, ``a/../b/./1.jpg`` as ``b/1.jpg``), is_genuine (bool), further
        columns as they are: numeric if every value is a number.

    Raises
    ------
    ProtocolError
        If it is absent, no CSV, lacks a column, or a line is wrong; names the line.
    """
    text = text_csv.read(path, ProtocolError, f"a file of pairs such as\n{EXAMPLE}")
    text = text.rename(columns={"probe_id": "probe", "reference_id": "reference"})
    _check_columns(path, [str(column) for column in text.columns])
    if not len(text):
        raise ProtocolError(f"'{path}' holds no pairs; expected\n{EXAMPLE}")
    flag = text["is_genuine"].str.lower()
    named = text["probe"].ne("") & text["reference"].ne("")
    _check_lines(path, named, "names no image")
    _check_lines(path, flag.isin((*TRUE, *FALSE)), "has an is_genuine other than 1 or 0", text["is_genuine"])
    ids = text[["probe", "reference"]].map(posixpath.normpath)
    _check_lines(path, ids["probe"] != ids["reference"], "compares an image with itself", ids["probe"])
    _check_repeated(path, ids)
    for column in ("fold", *SUBJECTS):
        if column in text:
            what = "fold" if column == "fold" else "identity"
            _check_lines(path, text[column].ne(""), f"has no {what}")
    return _typed(text.assign(is_genuine=flag.isin(TRUE), probe=ids["probe"], reference=ids["reference"]))


def _check_columns(path: Path, columns: list[str]) -> None:
    for column in REQUIRED:
        if column not in columns:
            near = tables.suggest(column, columns)
            raise ProtocolError(
                f"'{path}' line 1 lacks the column {column}.{near.replace('Did you mean', 'Is it')} Expected\n{EXAMPLE}"
            )
    for column in columns:
        if not column:
            raise ProtocolError(f"'{path}' line 1 has a column without a name. Name it, or remove it from every line.")
        if columns.count(column) > 1:
            raise ProtocolError(
                f"'{path}' line 1 names the column {column} twice (probe_id and reference_id are other words for probe "
                "and reference). Rename or remove one."
            )
    given = [column for column in SUBJECTS if column in columns]
    if len(given) == 1:
        lacking = next(column for column in SUBJECTS if column not in given)
        raise ProtocolError(
            f"'{path}' line 1 has the column {given[0]} and lacks {lacking}. Add it, or leave both out: then "
            "whoever genuine pairs connect is one person."
        )


def _check_lines(path: Path, fits: pd.Series, wrong: str, shown: pd.Series | None = None) -> None:
    if not fits.all():
        row = int(np.argmin(fits.to_numpy(np.bool_)))
        value = "" if shown is None else f" ('{shown.iloc[row]}')"
        n_more = int((~fits).sum()) - 1
        more = f"; so do {n_more} more lines" if n_more else ""
        raise ProtocolError(f"'{path}' line {fits.index[row]} {wrong}{value}{more}. Correct or remove it.")


def _check_repeated(path: Path, ids: pd.DataFrame) -> None:
    """A pair must stand there once, in whatever order its images are."""
    swapped = ids["probe"] > ids["reference"]
    first = ids["probe"].where(~swapped, ids["reference"])
    second = ids["reference"].where(~swapped, ids["probe"])
    unordered = pd.DataFrame({"first": first, "second": second})
    repeated = unordered.duplicated()
    if repeated.any():
        row = int(np.argmax(repeated.to_numpy()))
        same = (unordered == unordered.iloc[row]).all(axis=1)
        raise ProtocolError(
            f"'{path}' line {ids.index[row]} repeats the pair of line {ids.index[int(np.argmax(same.to_numpy()))]} "
            f"('{ids['probe'].iloc[row]}', '{ids['reference'].iloc[row]}'). Remove one: a pair counts once."
        )


def _typed(text: pd.DataFrame) -> pd.DataFrame:
    """Columns of whole numbers or of numbers as such; an empty field is a missing value."""
    for column in text.columns.difference([*REQUIRED, *SUBJECTS]):
        given = text[column].where(text[column].ne(""), None)
        numbers = pd.to_numeric(given, errors="coerce")
        exact = column != "fold" or numbers.dtype.kind in "iu"  # folds that round to one number must not become one
        is_number = bool((numbers.notna() == given.notna()).all()) and exact
        text[column] = numbers if is_number else given
    return text


def identities(
    path: Path, table: pd.DataFrame, image_ids: tuple[str, ...]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Who is on each image: by the columns of `SUBJECTS`, else whoever genuine pairs connect is one person."""
    position = {image_id: k for k, image_id in enumerate(image_ids)}
    sides: list[NDArray[np.int64]] = [
        table[side].map(position).to_numpy().astype(np.int64) for side in ("probe", "reference")
    ]
    genuine = table["is_genuine"].to_numpy(np.bool_)
    if all(column in table for column in SUBJECTS):
        labels, names = _declared(path, table, sides, len(image_ids))
        wrong = "contradicts its identities ({} pair of '{}' and '{}')"
    else:
        labels, names = _connected(sides, genuine, len(image_ids))
        wrong = "contradicts other lines ({} pair of '{}' and '{}', whom genuine pairs connect)"
    same = labels[sides[0]] == labels[sides[1]]
    if (same != genuine).any():
        row = int(np.argmax(same != genuine))
        kind = "genuine" if genuine[row] else "impostor"
        told = wrong.format(kind, table["probe"].iloc[row], table["reference"].iloc[row])
        raise ProtocolError(f"'{path}' line {table.index[row]} {told}. Correct is_genuine, or who is on the images.")
    return labels, names


def _declared(
    path: Path, table: pd.DataFrame, sides: list[NDArray[np.int64]], n_images: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    both = pd.concat([table[column] for column in SUBJECTS], ignore_index=True)
    names, index = np.unique(both.to_numpy(str), return_inverse=True)
    images = np.concatenate(sides)
    labels = np.empty(n_images, np.int64)
    labels[images[::-1]] = index[::-1]  # of an image that is named twice, the first line counts
    wrong = labels[images] != index
    if wrong.any():
        row = int(np.argmax(wrong))
        told = f"'{names[index[row]]}', and an earlier line says '{names[labels[images[row]]]}'"
        line = table.index[row % len(table)]
        raise ProtocolError(f"'{path}' line {line} gives an image the identity {told}.")
    return labels, tuple(str(name) for name in names)


def _connected(
    sides: list[NDArray[np.int64]], genuine: NDArray[np.bool_], n_images: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = (np.ones(int(genuine.sum()), np.int8), (sides[0][genuine], sides[1][genuine]))
    n_people, labels = connected_components(coo_array(edges, shape=(n_images, n_images)), directed=False)
    return labels.astype(np.int64), tuple(str(k) for k in range(n_people))


def dealt(genuine: NDArray[np.bool_], path: Path) -> NDArray[np.int64]:
    """Folds for a file without: each class in order, in parts as equal as possible."""
    n_genuine, n_impostor = int(genuine.sum()), int((~genuine).sum())
    n_folds = min(N_FOLDS, n_genuine, n_impostor)
    if n_folds < 2:
        raise ProtocolError(
            f"'{path}' holds {n_genuine} genuine and {n_impostor} impostor pairs; a threshold needs "
            "at least 2 of each, to be fitted on some and tested on others. Add pairs."
        )
    fold = np.empty(len(genuine), np.int64)
    for chosen in (genuine, ~genuine):
        at = np.flatnonzero(chosen)
        fold[at] = np.arange(len(at)) * n_folds // len(at)
    return fold


def check_folds(table: pd.DataFrame, path: Path) -> None:
    """Raise `ProtocolError` unless there are two folds, each with both classes."""
    n_folds = table["fold"].nunique()
    if n_folds < 2:
        raise ProtocolError(
            f"'{path}' has one fold only ('{table['fold'].iloc[0]}'); a threshold is fitted on the other folds. Give "
            "at least 2, or leave the column out."
        )
    for fold, rows in table.groupby("fold", sort=False):
        if rows["is_genuine"].nunique() < 2:
            kind = "genuine" if rows["is_genuine"].iloc[0] else "impostor"
            raise ProtocolError(
                f"'{path}': fold '{fold}', from line {int(rows.index[0])} on, holds {kind} pairs only. Every fold "
                "needs both classes; leave the column fold out to have pairs dealt."
            )
