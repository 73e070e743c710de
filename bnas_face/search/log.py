"""``log.csv`` of a search: every epoch, sample, accuracy, likelihood and abandonment, one row each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bnas_face import files
from bnas_face.errors import CheckpointError

LOG = "log.csv"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row; None is an empty field: it does not apply.

    Attributes
    ----------
    unit : int
        0-based number of the unit (one epoch) it belongs to.
    phase : str
        ``warm_up``, ``mixed`` (epochs of the whole network), ``sample`` (an epoch of one path and its accuracy),
        ``likelihood`` (of one operation, after a round), ``abandon`` (of one operation).
    round, k : int or None
        Round of the reduction from 1 on, and the number of operations that each edge has in it.
    repeat, draw : int or None
        Which draw of which repeat (pass) a sample is, from 1 on.
    cell, edge_source, edge_target, operation : optional
        What a likelihood or an abandonment is about.
    accuracy : float or None
        Fitness, a fraction, higher is better; of a likelihood row the mean of the operation's samples
        (empty with UCB, which counts accuracies relative to their round).
    likelihood : float or None
        After the update, higher is better.
    upper_bound : float or None
        Upper confidence bound, where samples are drawn by it: of accuracies relative to the mean of their round; of an
        abandoned operation the bound at equal counts.
    margin : float or None
        By how much the abandoned operation lost against the next; near 0 it was a coin toss.
    loss, images_per_s : float or None
        Of the epoch, training only.
    seconds : float or None
        Of the whole unit, fitness included.
    path : str or None
        The 14 operations of the normal cell, then after "|" those of the reduction cell, separated by commas.
    """

    unit: int
    phase: str
    round: int | None = None
    k: int | None = None
    repeat: int | None = None
    draw: int | None = None
    cell: str | None = None
    edge_source: int | None = None
    edge_target: int | None = None
    operation: str | None = None
    accuracy: float | None = None
    likelihood: float | None = None
    upper_bound: float | None = None
    margin: float | None = None
    loss: float | None = None
    images_per_s: float | None = None
    seconds: float | None = None
    path: str | None = None


HEADER = tuple(field.name for field in fields(Row))
_INTEGERS = frozenset({"unit", "round", "k", "repeat", "draw", "edge_source", "edge_target"})
_TEXTS = frozenset({"phase", "cell", "operation", "path"})


def write(run_dir: Path, rows: Sequence[Row]) -> None:
    """Write the whole log, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([_text(value) for value in astuple(row)] for row in rows)
    files.write_text(run_dir / LOG, text.getvalue())


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read(run_dir: Path, *, n_units: int) -> list[Row]:
    """The rows of the first `n_units` units, for a search that goes on there; none without a log.

    Raises
    ------
    CheckpointError
        If the file is damaged; names the line.
    """
    path = run_dir / LOG
    if not path.exists():
        return []
    rows: list[Row] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, record in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(Row(**{name: _value(name, record[name]) for name in HEADER}))  # type: ignore[arg-type]
            except (TypeError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"'{path}' is damaged at line {number}: {error}. Delete it to go on without."
                ) from error
    return [row for row in rows if row.unit < n_units]


def _value(name: str, text: str) -> float | str | None:
    if not text:
        return None
    if name in _TEXTS:
        return text
    return int(text) if name in _INTEGERS else float(text)
