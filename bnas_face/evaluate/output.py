"""The files of a report folder: ``summary.csv``, ``pairs.csv`` or ``images.csv``, thumbnails of failures, and
``result.json`` last.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bnas_face.errors import BnasFaceError, BrokenImageError
from bnas_face.evaluate import kinds
from bnas_face.evaluate.kinds._base import AnyMeasured
from bnas_face.files import atomic_path, sha256_text, write_bytes, write_json

JPEG_QUALITY = 90
THUMBNAIL = re.compile(r"[a-z0-9_]+-\d{6,}\.jpg")
SLUG_LENGTH = 40


def write(out: Path, result: dict[str, Any], measured: Sequence[AnyMeasured], *, images: bool) -> None:
    """Write a report folder; ``result.json`` comes last, so a folder that has one is complete.

    Parameters
    ----------
    out : Path
        Made if absent. The three files are written beside those of an earlier result and replace them together at the
        end: an error leaves all of them as they were.
    result : dict
        The whole ``result.json``; the ``failures`` of its results are filled in here.
    measured : sequence of Measured
        In the order of ``result["results"]``.
    images : bool
        Write thumbnails of failed pairs. Without, thumbnails of an earlier result are removed: photographs of real
        people must not be published by accident.
    """
    thumbnails = Thumbnails(out) if images else None
    for entry, one in zip(result["results"], measured, strict=True):
        entry["failures"] = kinds.of(one).failures(one, thumbnails)
    with ExitStack() as stack:  # renamed in reverse order, result.json last
        last = stack.enter_context(atomic_path(out / "result.json"))
        found = _tables(result, measured)
        for name, parts in found.items():
            if parts:
                _to_csv(stack.enter_context(atomic_path(out / name)), pd.concat(parts, ignore_index=True))
        write_json(last, result)
    for name in (name for name, parts in found.items() if not parts):
        (out / name).unlink(missing_ok=True)
    _remove_stale(out, thumbnails.written if thumbnails else set())


def _tables(result: dict[str, Any], measured: Sequence[AnyMeasured]) -> dict[str, list[pd.DataFrame]]:
    """File name → the parts of its table; none for a table that this report does not need."""
    found: dict[str, list[pd.DataFrame]] = {"summary.csv": [summary_table(result, measured)]}
    found |= {kinds.load(name).TABLE: [] for name in kinds.names()}
    for one in measured:
        kind = kinds.of(one)
        found[kind.TABLE].append(kind.table(one))
    return found


def check_writable(out: Path) -> None:
    """Make the folder and try to write there, before hours are spent on what would go there.

    Raises
    ------
    BnasFaceError
        If that is not possible; names the folder and the reason.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BnasFaceError(
            f"Cannot write into the report folder '{out}': {error.strerror or error}. Name another one with --out."
        ) from None


def summary_table(result: Mapping[str, Any], measured: Sequence[AnyMeasured]) -> pd.DataFrame:
    """One row per model × protocol; all rates are fractions, an undefined number is an empty cell.

    Columns of verification stand only where faces were verified, those of recognition where objects were recognised.
    """
    models = {model["id"]: model for model in result["models"]}
    gaps = {(entry["model"], entry["protocol"]): entry for entry in result["comparisons"]}
    return pd.DataFrame(
        [
            kinds.of(one).summary_row(one.entry, models[one.model], gaps.get((one.model, one.protocol.card.name), {}))
            for one in measured
        ]
    )


class Thumbnails:
    """Writes each failed image once into ``images/``; names hold nothing that came from a file."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.written: set[str] = set()

    def name(self, protocol: Any, position: int) -> str | None:
        """Path of the thumbnail relative to the folder; None if the image cannot be read."""
        name = f"images/{slug(protocol.card.name)}-{position:06d}.jpg"
        if name in self.written:
            return name
        try:
            pixels = protocol.images.read(np.array([position], np.int64))[0]
        except BrokenImageError:
            return None
        ok, content = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [1, JPEG_QUALITY])
        if not ok:
            return None
        write_bytes(self.out / name, content.tobytes())
        self.written.add(name)
        return name


def slug(name: str) -> str:
    """A protocol's name as part of a file name: lower-case letters, digits and ``_``, at most `SLUG_LENGTH` + 9.

    A name that had to be changed ends with a part of its SHA-256: ``csv:a-b.csv`` and ``csv:a_b.csv`` are two.
    """
    plain = re.sub(r"[^a-z0-9_]+", "_", name.lower())[:SLUG_LENGTH].strip("_") or "protocol"
    return plain if plain == name else f"{plain}_{sha256_text(name)[:8]}"


def _to_csv(target: Path, table: pd.DataFrame) -> None:
    table.to_csv(target, index=False, lineterminator="\n")


def _remove_stale(out: Path, written: set[str]) -> None:
    """Remove thumbnails of an earlier result; other files in ``images/`` are not ours."""
    for file in (out / "images").glob("*.jpg"):
        if THUMBNAIL.fullmatch(file.name) and f"images/{file.name}" not in written:
            file.unlink(missing_ok=True)
