"""``log.csv``: one row per epoch, and every so many steps within a long one."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bnas_face import files
from bnas_face.errors import CheckpointError

LOG = "log.csv"


@dataclass(frozen=True)
class Row:
    """One row of the log. Columns from `stage` on may be absent in logs of earlier versions.

    Attributes
    ----------
    epoch : int
        1-based.
    step : int
        Steps done.
    loss : float
        Mean over the steps since the row before; nan if all of them were passed over.
    lr : float
    images_per_s : float
        Training only, without development accuracy.
    development_accuracy : float or None
        Fraction; an empty field where it was not measured.
    stage : int
        1, or 2 in the second stage of a training in two.
    skipped : int
        Steps passed over since the beginning: their gradient was not finite.
    session : int
        1 until the run was interrupted, one more after every resumption.
    seconds : float or None
        Time spent training since the beginning, over all sessions.
    memory_mb : float or None
        Main memory of the process at this moment, in 10⁶ bytes.
    gpu_memory_mb : float or None
        Most memory of the GPU that tensors have taken, in 10⁶ bytes.
    left_out : int
        Images that could not be read, since the row before; `left_out` lists them.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    images_per_s: float
    development_accuracy: float | None
    stage: int = 1
    skipped: int = 0
    session: int = 1
    seconds: float | None = None
    memory_mb: float | None = None
    gpu_memory_mb: float | None = None
    left_out: int = 0


HEADER = tuple(field.name for field in fields(Row))


def write(run_dir: Path, rows: list[Row]) -> None:
    """Write the whole log, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in rows:
        writer.writerow(["" if value is None else _short(value) for value in astuple(row)])
    files.write_text(run_dir / LOG, text.getvalue())


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def read(run_dir: Path, *, up_to_step: int | None = None) -> list[Row]:
    """The rows up to a step, of a run that is resumed there, or all; none without a log.

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
                rows.append(_row(record))
            except (TypeError, ValueError, KeyError) as error:
                raise CheckpointError(
                    f"'{path}' is damaged at line {number}: {error}. Delete it to go on without."
                ) from error
    return [row for row in rows if up_to_step is None or row.step <= up_to_step]


def epoch_loss(rows: list[Row]) -> float:
    """Mean loss over the steps of the last row's epoch; nan without any, `rows` has at least one row."""
    parts = [
        (row.step - before, row.loss)
        for before, row in zip([0, *(row.step for row in rows)], rows, strict=False)
        if row.epoch == rows[-1].epoch and math.isfinite(row.loss)
    ]
    count = sum(n for n, _ in parts)
    return sum(n * loss for n, loss in parts) / count if count else math.nan


def _row(record: dict[str, str]) -> Row:
    return Row(
        epoch=int(record["epoch"]),
        step=int(record["step"]),
        loss=float(record["loss"]),
        lr=float(record["lr"]),
        images_per_s=float(record["images_per_s"]),
        development_accuracy=_maybe(record["development_accuracy"]),
        stage=int(record.get("stage") or 1),
        skipped=int(record.get("skipped") or 0),
        session=int(record.get("session") or 1),
        seconds=_maybe(record.get("seconds")),
        memory_mb=_maybe(record.get("memory_mb")),
        gpu_memory_mb=_maybe(record.get("gpu_memory_mb")),
        left_out=int(record.get("left_out") or 0),
    )


def _maybe(text: str | None) -> float | None:
    return float(text) if text else None
