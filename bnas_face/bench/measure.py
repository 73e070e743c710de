"""Latency and memory of networks in several engines, side by side: every engine gets its turn in every round.

Each engine runs one network in a process of its own (`worker`). Rounds go over all of them, so that a slow minute of
the machine falls on all alike. Times are of whole calls, from uint8 images to embeddings.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face import files, machine, tables
from bnas_face.bench.model import Model, open_model
from bnas_face.bench.prepared import Prepared
from bnas_face.bench.runner import WAIT_POLICIES, Runner
from bnas_face.errors import BnasFaceError, ConfigError

ENGINES = "bnas_face.bench.engines"
SCHEMA = "bnas_face.bench/1"
ROUNDS = 5
SECONDS = 0.4
"""Of one turn at least."""
CALIBRATE = "demo:50x4"
"""Rendered faces on which 8-bit ranges are measured: 200 images of 50 people."""
LARGEST_BATCH = 4096
MOST_ROUNDS = 1000
USUAL_THREADS = (1, 2)
LONGEST_REASON = 600
"""Characters."""
PACKAGES = ("torch", "numpy", "onnxruntime")
Progress = Callable[[str], None]


def usual_threads() -> tuple[int, ...]:
    """Those of `USUAL_THREADS` that this process may use."""
    return tuple(count for count in USUAL_THREADS if count <= machine.processors())


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes
    ----------
    engines : tuple of str
        Modules of `bnas_face.bench.engines`; empty for all.
    threads, batches : tuple of int
        >= 1 each; no more threads than processors that this process may use.
    rounds : int
        Turns of every engine with every batch size, >= 1.
    seconds : float
        Of a turn, at least; three calls at least.
    wait_policy : str
        How threads wait for each other, see `Runner`.
    calibrate : str
        Images on which 8-bit ranges are measured, see `quantize.int8`.
    """

    engines: tuple[str, ...] = ()
    threads: tuple[int, ...] = field(default_factory=usual_threads)
    batches: tuple[int, ...] = (1, 32)
    rounds: int = ROUNDS
    seconds: float = SECONDS
    wait_policy: str = WAIT_POLICIES[0]
    calibrate: str = CALIBRATE

    def __post_init__(self) -> None:
        _check("threads", self.threads, machine.processors(), ", the processors that this process may use")
        _check("batch", self.batches, LARGEST_BATCH)
        _check("rounds", (self.rounds,), MOST_ROUNDS)
        if not 0 <= self.seconds <= 600:
            raise ConfigError(f"--seconds {self.seconds:g}; expected 0 to 600 for a turn.")
        if self.wait_policy not in WAIT_POLICIES:
            raise ConfigError(f"Wait policy '{self.wait_policy}'; expected one of {', '.join(WAIT_POLICIES)}.")
        for name in self.engines:
            tables.check_known("engine", name, tables.names(ENGINES))

    @property
    def all_engines(self) -> tuple[str, ...]:
        """Those asked for, each once; else all."""
        return tuple(dict.fromkeys(self.engines)) or tables.names(ENGINES)


def _check(what: str, values: Sequence[int], most: int, why: str = "") -> None:
    shown = ",".join(map(str, values))
    if not values or not all(1 <= value <= most for value in values):
        raise ConfigError(f"--{what} {shown}; expected whole numbers from 1 to {most}{why}.")
    if len(set(values)) < len(values):
        raise ConfigError(f"--{what} {shown}; expected different numbers. Name each once.")


def bench(specs: Sequence[str], plan: Plan, *, progress: Progress | None = None) -> dict[str, Any]:
    """Measure networks in every engine that runs them.

    Parameters
    ----------
    specs : sequence of str
        Run folders, ``onnx:FILE`` and packed ``FILE.bnn``.
    plan : Plan
    progress : callable or None
        Called with a line now and then.

    Returns
    -------
    dict
        JSON values of ``bench.json``: ``models``, and ``rows``, one per model, engine, number of threads and batch
        size; where there are no times, ``reason`` says why.

    Raises
    ------
    UnknownNameError, CheckpointError, ConfigError
        If a model is not known, damaged or named twice.
    """
    tell = progress or (lambda line: None)
    models = _distinct([open_model(spec) for spec in specs])
    with tempfile.TemporaryDirectory(prefix="bnasface-bench-") as folder:
        runners, rows = _prepare(models, plan, Path(folder), tell)
        for count in plan.threads:
            own = [
                replace(runner, threads=count, wait_policy=plan.wait_policy, seconds={}, failed={}, peak_bytes={})
                for runner in runners
            ]
            _measure(own, plan, f"{count} thread{'' if count == 1 else 's'}", tell)
            rows += [_row(runner, batch) for runner in own for batch in plan.batches]
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": {
            "cpu": machine.cpu_name(),
            "cores": os.cpu_count(),
            "usable_cores": machine.processors(),
            "platform": platform.platform(),
        },
        "versions": machine.versions(PACKAGES),
        "kernels": _kernels(),
        "calibration": plan.calibrate,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "wait_policy": plan.wait_policy,
        "models": [dict(model.info) for model in models],
        "rows": rows,
    }


def _distinct(models: Sequence[Model]) -> list[Model]:
    """The models, each with an id of its own; the parent's name comes before one that stands twice."""
    found: list[Model] = []
    for model in models:
        if any(model.path.resolve() == other.path.resolve() for other in found):
            raise ConfigError(f"'{model.spec}' is named twice, expected different models. Name it once.")
        taken = {str(other.info["id"]) for other in found}
        name = own = str(model.info["id"])
        number = 2
        while name in taken:
            name, number = f"{own}-{number}", number + 1
        found.append(replace(model, info={**model.info, "id": name}))
    return found


def _prepare(
    models: Sequence[Model], plan: Plan, folder: Path, tell: Progress
) -> tuple[list[Runner], list[dict[str, Any]]]:
    """A runner for every model in every engine that runs it, and rows without numbers for the others."""
    runners: list[Runner] = []
    rows: list[dict[str, Any]] = []
    for model in models:
        for engine in plan.all_engines:
            tell(f"{model.info['id']}: preparing {engine}")
            try:
                prepared: Prepared = tables.load(ENGINES, "engine", engine).prepare(model, folder, plan.calibrate)
                runners.append(Runner(model, engine, 0, prepared))
            except Exception as error:  # an exporter's own: the other networks and engines are measured all the same
                reason = str(error) if isinstance(error, BnasFaceError) else f"{type(error).__name__}: {error}"
                empty = _without_numbers(model, engine, " ".join(reason.split())[:LONGEST_REASON])
                rows += [empty | {"threads": count, "batch": batch} for count in plan.threads for batch in plan.batches]
    return runners, rows


def _measure(runners: Sequence[Runner], plan: Plan, title: str, tell: Progress) -> None:
    with ExitStack() as stack:
        for runner in runners:
            tell(f"{title}: starting {runner.engine} with {runner.model.info['id']}")
            stack.callback(runner.stop)
            runner.start()
        for number in range(plan.rounds):
            tell(f"{title}: round {number + 1} of {plan.rounds}")
            for batch in sorted(plan.batches):  # memory once taken is kept: see `Runner.peak_bytes`
                for runner in runners:
                    runner.turn(batch, plan.seconds)


def _without_numbers(model: Model, engine: str, reason: str | None) -> dict[str, Any]:
    return {
        "model": model.info["id"],
        "engine": engine,
        "title": tables.load(ENGINES, "engine", engine).TITLE,
        "threads": None,
        "batch": None,
        "file_bytes": None,
        "file_format": None,
        "file_sha256": None,
        "is_quantised": False,
        "floats": None,
        "reason": reason,
        "p50_ms": None,
        "p95_ms": None,
        "images_per_s": None,
        "n_calls": 0,
        "peak_bytes": None,
    }


def _row(runner: Runner, batch: int) -> dict[str, Any]:
    prepared, reason = runner.prepared, runner.reason(batch)
    row = _without_numbers(runner.model, runner.engine, reason) | {
        "threads": runner.threads,
        "batch": batch,
        "file_bytes": prepared.shipped.stat().st_size,
        "file_format": prepared.file_format,
        "file_sha256": files.sha256_file(prepared.shipped),
        "is_quantised": prepared.is_quantised,
        "floats": prepared.floats,
    }
    if reason is not None:
        return row
    times = runner.seconds[batch]
    p50, p95 = (float(value) for value in np.percentile(times, (50, 95)))
    return row | {
        "p50_ms": 1e3 * p50,
        "p95_ms": 1e3 * p95,
        "images_per_s": batch / p50,
        "n_calls": len(times),
        "peak_bytes": runner.peak_bytes[batch],
    }


def _kernels() -> str:
    from bnas_face.packed import kernels

    return kernels.implementation()
