"""A run folder, finished or not, as text: what is trained, how far it is, and how it goes."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from bnas_face import files
from bnas_face.errors import BnasFaceError, ReportError
from bnas_face.report import numbers
from bnas_face.report.searched import duration

_SCHEMA = "bnas_face.run/1"
_COLUMNS = ("loss", "lr", "images_per_s", "development_accuracy", "seconds", "memory_mb", "gpu_memory_mb")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of ``log.csv``; `values` holds what is finite of its measured columns.

    `session` is None in logs of versions that did not count interruptions.
    """

    epoch: int
    step: int
    stage: int
    skipped: int
    session: int | None
    values: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run folder says.

    Attributes
    ----------
    folder : Path
    config : mapping
        ``config.json``.
    environment : mapping
        ``environment.json``; empty where there is none.
    rows : tuple of Row
    weights_bytes : int or None
        Size of the finished run's weights; None for an unfinished run.
    n_left_out : int
        Images that could not be read, the lines of ``left_out.txt``.
    """

    folder: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    rows: tuple[Row, ...]
    weights_bytes: int | None
    n_left_out: int = 0

    @property
    def name(self) -> str:
        """As it was given."""
        return str(self.config.get("name", self.folder.name))

    def points(self, column: str) -> list[tuple[Row, float]]:
        """The rows in which a column was measured."""
        return [(row, row.values[column]) for row in self.rows if column in row.values]

    def last(self, column: str) -> float | None:
        """The column's last value."""
        found = self.points(column)
        return found[-1][1] if found else None

    @property
    def interruptions(self) -> list[int]:
        """Steps of the last row before each interruption; 0 for one before the first row."""
        known = [(0, 1), *((row.step, row.session) for row in self.rows if row.session is not None)]
        return [before for (before, one), (_, other) in pairwise(known) for _ in range(other - one)]

    @property
    def second_stage(self) -> int | None:
        """The last row's step before the second stage; None where there is none (yet)."""
        steps = [row.step for row in self.rows if row.stage == 1]
        return steps[-1] if steps and self.rows[-1].stage == 2 else None


def read(folder: Path) -> Run:
    """Read ``config.json``, ``log.csv`` and ``environment.json`` of a run folder.

    Raises
    ------
    ReportError
        If the folder is no run, or one of the files is damaged; names it.
    """
    try:
        config = files.read_json(folder / "config.json")
        path = folder / "environment.json"
        environment = files.read_json(path) if path.exists() else {}
    except BnasFaceError as error:
        raise ReportError(f"'{folder}' is no run folder: {error} Name one that bnasface train has written.") from error
    if not isinstance(config, dict) or config.get("schema") != _SCHEMA or not isinstance(config.get("model"), dict):
        raise ReportError(f"'{folder / 'config.json'}' is not that of a training. Name a folder of bnasface train.")
    weights = folder / "weights.safetensors"
    return Run(
        folder=folder,
        config=config,
        environment=environment if isinstance(environment, dict) else {},
        rows=_rows(folder / "log.csv"),
        weights_bytes=weights.stat().st_size if weights.is_file() else None,
        n_left_out=_lines(folder / "left_out.txt"),
    )


def _lines(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.is_file() else 0


def _rows(path: Path) -> tuple[Row, ...]:
    if not path.exists():
        return ()
    found: list[Row] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, record in enumerate(csv.DictReader(file), start=2):
            try:
                found.append(_row(record))
            except (TypeError, ValueError, KeyError) as error:
                raise ReportError(f"'{path}' is damaged at line {number}: {error}.") from error
    return tuple(found)


def _row(record: Mapping[str, str | None]) -> Row:
    values = {name: float(text) for name in _COLUMNS if (text := record.get(name))}
    session = record.get("session")
    return Row(
        epoch=int(record["epoch"] or ""),
        step=int(record["step"] or ""),
        stage=int(record.get("stage") or 1),
        skipped=int(record.get("skipped") or 0),
        session=int(session) if session else None,
        values={name: value for name, value in values.items() if math.isfinite(value)},
    )


def text(run: Run) -> str:
    """The run on some ten lines."""
    facts = [("state", state(run)), *of_settings(run), *of_progress(run)]
    width = max(len(name) for name, _ in facts)
    return "\n".join([str(run.folder), *(f"  {name:<{width}}  {words}" for name, words in facts)])


def state(run: Run) -> str:
    """Whether it is finished, and what to do if not."""
    if run.weights_bytes is not None:
        kept = run.config.get("kept_weights")
        return f"finished, {numbers.file_size(run.weights_bytes)} of weights{f' ({kept})' if kept else ''}"
    done = run.rows[-1].epoch if run.rows else 1
    return (
        f"not finished, in epoch {done} of {run.config.get('epochs', '?')}. "
        f"Go on with bnasface train --name {run.name} --resume"
    )


def of_settings(run: Run) -> list[tuple[str, str]]:
    """Network, data and recipe, in words."""
    config, model = run.config, run.config["model"]
    one_bit = model.get("binarizer", "none") != "none"
    bits = f"W1A{model.get('activation_bits')} by {model['binarizer']}" if one_bit else "full precision"
    network = [model.get("backbone"), bits, f"{model.get('size_px')} px", f"{model.get('embedding_dim')} outputs"]
    data = config.get("training_data") or {}
    counts = [f"{numbers.count(n)} {word}" for n, word in _counts(data)]
    others = [f"without people of {name}" for name in config.get("exclude_names_of") or ()]
    return [
        ("network", _joined(network)),
        ("data", _joined([config.get("dataset"), *counts, *others])),
        ("recipe", _joined(_recipe(config))),
    ]


def _counts(data: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """What a run learned from; of its images, every view is counted in `n_images`."""
    n_images, n_views, n_identities = (data.get(key) for key in ("n_images", "n_views", "n_identities"))
    if type(n_images) is int:
        if type(n_views) is int and n_views > 1:
            yield n_images // n_views, f"images in {n_views} views"
        else:
            yield n_images, "images"
    if type(n_identities) is int:
        yield n_identities, "identities"


def _recipe(config: Mapping[str, Any]) -> Iterable[str | None]:
    yield f"{config.get('optimizer')} {config.get('lr')}, {config.get('schedule', 'cosine')}"
    yield f"{config.get('epochs')} epochs in batches of {config.get('batch_size')}"
    yield f"{config.get('precision')}, seed {config.get('seed')}"
    for key, words in (
        ("teacher", "taught by {}"),
        ("init", "from the weights of {}"),
        ("two_stage", "float weights for {:g} of the epochs"),
        ("ema", "moving average {:g}"),
        ("augment", "augmentation {}"),
    ):
        if config.get(key) not in (None, "", 0, "none"):
            yield words.format(config[key])
    if type(parts := config.get("accumulate", 1)) is int and parts > 1:
        yield f"batches in {parts} parts"
    if type(rate := config.get("sample_rate", 1.0)) is float and rate < 1:
        yield f"{100 * rate:g} % of the identities in a step"
    if not config.get("teacher") or config.get("label_weight"):
        yield f"head {config.get('head')}"


def of_progress(run: Run) -> list[tuple[str, str]]:
    """How far it is and how it goes; nothing of what was not measured."""
    if not run.rows:
        return [("log", "nothing logged yet")]
    last, losses = run.rows[-1], run.points("loss")
    facts = [("done", _joined([f"epoch {last.epoch}", f"step {numbers.count(last.step)}", _took(run)]))]
    if losses:
        facts.append(("loss", f"{losses[0][1]:.4g} at first, {losses[-1][1]:.4g} now"))
    if (accuracy := run.last("development_accuracy")) is not None:
        facts.append(("development accuracy", f"{100 * accuracy:.2f} % (held out of the training set, no test result)"))
    if speeds := [speed for _, speed in run.points("images_per_s")]:
        facts.append(("speed", f"{median(speeds):.0f} images/s (median of {len(speeds)} rows)"))
    facts += _memory(run)
    facts.append(("interruptions", _interruptions(run)))
    if run.n_left_out:
        facts.append(("images left out", f"{numbers.count(run.n_left_out)} could not be read: left_out.txt"))
    if last.skipped:
        facts.append(("steps passed over", f"{numbers.count(last.skipped)}: loss or gradient were not finite"))
    return facts


def _took(run: Run) -> str | None:
    return None if (seconds := run.last("seconds")) is None else duration(seconds)


def _memory(run: Run) -> list[tuple[str, str]]:
    parts = []
    if found := [value for _, value in run.points("memory_mb")]:
        parts.append(f"{found[0]:.0f} MB at first, {max(found):.0f} MB at most")
    if found := [value for _, value in run.points("gpu_memory_mb")]:
        parts.append(f"GPU {max(found):.0f} MB at most")
    return [("memory", "; ".join(parts))] if parts else []


def _interruptions(run: Run) -> str:
    if run.rows[-1].session is None:
        return "not recorded by the version that wrote this log"
    steps = [numbers.count(step) for step in run.interruptions]
    return f"{len(steps)}: resumed after step {', '.join(steps)} of the log" if steps else "none"


def _joined(parts: Sequence[Any] | Iterable[Any]) -> str:
    return ", ".join(str(part) for part in parts if part)
