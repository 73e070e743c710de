"""Latency and memory of networks in several engines, side by side: every engine gets its turn in every round.

Each engine runs one network in a process of its own (`worker`). Rounds go over all of them, so that a slow minute of the
machine falls on all alike. Times are of whole calls, from uint8 images to embeddings.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face import files, machine, tables
from bnas_face.bench.model import BenchError, Model, open_model
from bnas_face.bench.prepared import Prepared
from bnas_face.errors import BnasFaceError

ENGINES = "bnas_face.bench.engines"
SCHEMA = "bnas_face.bench/1"
FILE = "bench.json"
ROUNDS = 5
SECONDS = 0.4
"""Of one turn at least."""
LEAST_CALLS = 3
PACKAGES = ("torch", "numpy", "onnxruntime")
Progress = Callable[[str], None]


@dataclass
class Runner:
    """A network in an engine with a number of threads, and what was measured of it.

    Attributes
    ----------
    model : Model
    engine : str
    threads : int
    prepared : Prepared
    seconds : dict of int to list of float
        Batch size → seconds of every call.
    peak_bytes : int
        Of its process, with Python and the engine's libraries.
    failed : str or None
        Why there are no numbers.
    """

    model: Model
    engine: str
    threads: int
    prepared: Prepared
    seconds: dict[int, list[float]] = field(default_factory=dict)
    peak_bytes: int = 0
    failed: str | None = None
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Open the engine in its process; a failure is kept."""
        job = {
            "engine": self.engine,
            "file": str(self.prepared.file),
            "threads": self.threads,
            "options": dict(self.prepared.options),
            "size_px": self.model.info["size_px"],
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bnas_face.bench.worker", json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(self.threads), "OMP_WAIT_POLICY": "passive"},
        )
        self._answer()

    def turn(self, batch: int, seconds: float) -> None:
        """Measure some calls more."""
        if self.failed is not None or self.process is None or self.process.stdin is None:
            return
        try:
            print(json.dumps({"batch": batch, "seconds": seconds, "least": LEAST_CALLS}), file=self.process.stdin)
            self.process.stdin.flush()
        except BrokenPipeError:
            self.failed = "its process ended"
            return
        if (answer := self._answer()) is not None:
            self.seconds.setdefault(batch, []).extend(answer["seconds"])
            self.peak_bytes = answer["peak_bytes"]

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def _answer(self) -> dict[str, Any] | None:
        line = self.process.stdout.readline() if self.process is not None and self.process.stdout is not None else ""
        answer: dict[str, Any] = json.loads(line) if line.startswith("{") else {"error": "its process ended"}
        self.failed = answer.get("error")
        return None if self.failed else answer


def bench(
    specs: Sequence[str],
    *,
    engines: Sequence[str] = (),
    threads: Sequence[int] = (1, 2),
    batches: Sequence[int] = (1, 32),
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure networks in every engine that runs them.

    Parameters
    ----------
    specs : sequence of str
        Run folders and ``onnx:FILE``.
    engines : sequence of str
        Modules of `bnas_face.bench.engines`; empty for all.
    threads, batches : sequence of int
        >= 1 each.
    rounds : int
        Turns of every engine with every batch size, >= 1.
    seconds : float
        Of a turn, at least; three calls at least.
    progress : callable or None
        Called with a line now and then.

    Returns
    -------
    dict
        JSON values of `FILE`: ``models``, and ``rows``, one per model, engine, number of threads and batch size.

    Raises
    ------
    UnknownNameError, CheckpointError
        If a model or an engine is not known or is damaged.
    """
    for name in engines:
        tables.check_known("engine", name, tables.names(ENGINES))
    models = [open_model(spec) for spec in specs]
    tell = progress or (lambda line: None)
    rows: list[dict[str, Any]] = []
    for count in threads:
        runners, skipped = _runners(models, engines or tables.names(ENGINES), count, tell)
        with ExitStack() as stack:
            for runner in runners:
                stack.callback(runner.stop)
                runner.start()
            for number in range(rounds):
                tell(f"{_many(count, 'thread')}: round {number + 1} of {rounds}")
                for batch in batches:
                    for runner in runners:
                        runner.turn(batch, seconds)
        rows += [_row(runner, batch) for runner in runners for batch in batches]
        rows += [{**row, "batch": batch} for row in skipped for batch in batches]
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {"cpu": machine.cpu_name(), "cores": os.cpu_count(), "platform": platform.platform()},
        "versions": machine.versions(PACKAGES),
        "kernels": _kernels(),
        "rounds": rounds,
        "seconds": seconds,
        "models": [dict(model.info) for model in models],
        "rows": rows,
    }


def save(found: Mapping[str, Any], folder: Path) -> Path:
    """Write ``bench.json``; the page and the table are the report's."""
    files.write_json(folder / FILE, dict(found))
    return folder / FILE


def _runners(
    models: Sequence[Model], engines: Sequence[str], threads: int, tell: Progress
) -> tuple[list[Runner], list[dict[str, Any]]]:
    runners: list[Runner] = []
    skipped: list[dict[str, Any]] = []
    for model in models:
        for engine in engines:
            tell(f"{model.info['id']}: preparing {engine}")
            try:
                prepared = tables.load(ENGINES, "engine", engine).prepare(model, threads)
                runners.append(Runner(model, engine, threads, prepared))
            except BenchError as error:
                skipped.append(_without_numbers(model, engine, threads, str(error)))
            except BnasFaceError as error:
                skipped.append(_without_numbers(model, engine, threads, str(error)))
    return runners, skipped


def _without_numbers(model: Model, engine: str, threads: int, reason: str) -> dict[str, Any]:
    return {
        "model": model.info["id"],
        "engine": engine,
        "title": tables.load(ENGINES, "engine", engine).TITLE,
        "threads": threads,
        "file_bytes": None,
        "file_format": None,
        "reason": reason,
        "p50_ms": None,
        "p95_ms": None,
        "images_per_s": None,
        "n_calls": 0,
        "peak_bytes": None,
    }


def _row(runner: Runner, batch: int) -> dict[str, Any]:
    row = _without_numbers(runner.model, runner.engine, runner.threads, runner.failed or "") | {
        "batch": batch,
        "file_bytes": runner.prepared.file_bytes,
        "file_format": runner.prepared.file_format,
    }
    times = runner.seconds.get(batch, [])
    if runner.failed is not None or not times:
        return row
    p50, p95 = (float(value) for value in np.percentile(times, (50, 95)))
    return row | {
        "reason": None,
        "p50_ms": 1e3 * p50,
        "p95_ms": 1e3 * p95,
        "images_per_s": batch / p50,
        "n_calls": len(times),
        "peak_bytes": runner.peak_bytes,
    }


def _kernels() -> str:
    from bnas_face.packed import kernels

    return kernels.implementation()


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
