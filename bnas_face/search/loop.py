"""The search loop: readable from top to bottom, resumable after every unit."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bnas_face import files, machine, ranks, tables
from bnas_face import genotype as genotypes
from bnas_face.config import SearchConfig
from bnas_face.errors import CheckpointError, TrainingError
from bnas_face.genotype import Genotype
from bnas_face.search import folder, log, presets, searchers, shares
from bnas_face.search.progress import Moment, TimeLeft
from bnas_face.search.searchers._base import Engine, Searcher

PACKAGES = ("torch", "numpy", "safetensors", "opencv-python-headless")
SAVING_SHARE = 0.05
"""Saving the state takes at most this share of the time, unless it is due."""


class SearchEngine(Engine, Protocol):
    """An engine whose state can be saved."""

    def tensors(self) -> Mapping[str, Any]:
        """Weights, α, β, optimizer states and what is abandoned, as tensors by name."""

    def load_tensors(self, tensors: Mapping[str, Any]) -> None:
        """Go back to `tensors`; raises `CheckpointError` if they are not of this search."""


MakeEngine = Callable[[SearchConfig, int], tuple[SearchEngine, Mapping[str, Any]]]
"""(resolved config, units of the learning rate's course) → engine, and what it searches on as JSON values."""


@dataclass(frozen=True)
class Outcome:
    """How a search ended.

    Attributes
    ----------
    run_dir : Path
    genotype : Genotype
        With its origin; also in ``genotype.json``.
    seconds : float
        Time spent searching, over all resumptions, without decoding of images.
    """

    run_dir: Path
    genotype: Genotype
    seconds: float


def search(
    config: SearchConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    on_progress: Callable[[Moment], None] | None = None,
    on_decode: Callable[[int, int], None] | None = None,
    make_engine: MakeEngine | None = None,
) -> Outcome:
    """Search a genotype and write its folder; see `folder` for what lies there.

    Parameters
    ----------
    config : SearchConfig
    run_dir : Path
    resume : bool
        Go on from the last saved state, if there is one; the genotype equals that of an uninterrupted search on the
        same machine. Without it, an earlier search in the folder is removed as soon as everything is ready to begin.
    on_progress : callable or None
        Called after every unit, in the first of several processes.
    on_decode : callable or None
        Called with (images decoded, images in all).
    make_engine : callable or None
        Replaces data and network, for tests of the loop.

    Raises
    ------
    ConfigError, UnknownNameError
        If the settings cannot be used.
    DatasetError
        If the dataset is absent or too small to split.
    CheckpointError
        If the state to resume from is damaged or belongs to other data, or another process works in the folder.
    TrainingError
        If a loss or an accuracy is no longer finite, or another process of the search has ended; the last saved state
        is kept.
    BnasFaceError
        If the folder cannot be written to; earlier files are unchanged.
    """
    config = presets.resolve(config)
    presets.check_names(config)
    presets.check_binarizer(config)
    searcher: Searcher = tables.load(searchers.__name__, "searcher", config.searcher).build(config)
    is_first = ranks.job().is_first
    if is_first:
        folder.check_ours(run_dir)
    with ranks.joined(remedy=ranks.GO_ON), folder.only_one(run_dir) if is_first else nullcontext():
        make = make_engine or _maker(on_decode)
        engine, search_data = make(config, searcher.schedule_units)
        seconds = _restore(run_dir, searcher, engine, search_data) if resume else 0.0
        run = _Run(config, run_dir, searcher, engine, seconds)
        ranks.exchanged(None)  # all have read what is there before the first writes
        if is_first:
            if not resume:
                folder.clear(run_dir)
            files.sweep(run_dir)
            folder.save_config(run_dir, config, search_data)
            files.write_json(run_dir / folder.ENVIRONMENT, _environment())
        seconds = run.run(on_progress)
        found = replace(searcher.genotype(), origin=_origin(config, search_data, searcher, seconds))
        if is_first:
            genotypes.save(run_dir / folder.GENOTYPE, found)
    return Outcome(run_dir, found, seconds)


def _maker(on_decode: Callable[[int, int], None] | None) -> MakeEngine:
    def make(config: SearchConfig, n_units: int) -> tuple[SearchEngine, Mapping[str, Any]]:
        from bnas_face.search import data
        from bnas_face.search.engine import Engine as TorchEngine

        prepared = data.prepare(config, progress=on_decode)
        return TorchEngine(config, prepared, n_units), prepared.provenance

    return make


def _restore(run_dir: Path, searcher: Searcher, engine: SearchEngine, search_data: Mapping[str, Any]) -> float:
    """Bring searcher and engine back to the last saved state; returns the seconds behind."""
    if not folder.is_begun(run_dir):
        return 0.0
    before = folder.load_config(run_dir)[1]
    if any(before.get(key) != search_data.get(key) for key in ("content_hash", "n_images", "n_identities")):
        raise CheckpointError(
            f"Search '{run_dir}' was begun on other images than '{search_data.get('dataset')}' gives now. "
            "Restore the dataset (and those whose people it leaves out), or search under a new name."
        )
    found = folder.load_state(run_dir)
    if found is None:
        return 0.0
    tensors, state, seconds = found
    try:
        searcher.restore(state)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"'{run_dir / folder.STATE}' is not of this search: {error} is missing. "
            "Begin again with bnasface search --overwrite."
        ) from error
    engine.load_tensors(tensors)
    return seconds


class _Run:
    """The units that are left of one search."""

    def __init__(
        self, config: SearchConfig, run_dir: Path, searcher: Searcher, engine: SearchEngine, seconds: float
    ) -> None:
        self.checkpoint_s = 60 * config.checkpoint_minutes
        self.run_dir, self.searcher, self.engine, self.seconds = run_dir, searcher, engine, seconds
        self.rows = log.read(run_dir, n_units=searcher.n_done) if searcher.n_done else []
        self.time_left = TimeLeft(searcher.plan)
        self.last_saved, self.cost = time.monotonic(), 0.0

    def run(self, on_progress: Callable[[Moment], None] | None) -> float:
        """Do them; returns the seconds of the whole search."""
        while self.searcher.n_done < len(self.searcher.plan):
            first = self._unit()
            last = self.searcher.n_done == len(self.searcher.plan)
            waited = time.monotonic() - self.last_saved
            if last or waited >= min(self.checkpoint_s, self.cost / SAVING_SHARE):
                self._save()
            if on_progress is not None and ranks.job().is_first:
                on_progress(self._moment(first))
        return self.seconds

    def _unit(self) -> log.Row:
        """Do one unit; returns the row of its epoch."""
        started = time.monotonic()
        first, *others = self.searcher.step(self.engine)
        shares.check_same(self.searcher.state())
        took = time.monotonic() - started
        for what, value in (("loss", first.loss), ("accuracy", first.accuracy)):
            if value is not None and not math.isfinite(value):
                raise TrainingError(self._not_finite(what, value, first))
        self.rows += [replace(first, seconds=took), *others]
        self.seconds += took
        self.time_left.add(first.phase, took)
        return first

    def _not_finite(self, what: str, value: float, row: log.Row) -> str:
        kept = (
            "The last saved state is kept" if (self.run_dir / folder.STATE).exists() else "No state was saved before it"
        )
        return (
            f"The {what} became {value} in epoch {row.unit + 1} of the search ({row.phase}). {kept}. Search under a "
            "new name with a lower --lr."
        )

    def _save(self) -> None:
        if not ranks.job().is_first:
            return
        started = time.monotonic()
        log.write(self.run_dir, self.rows)
        folder.save_state(self.run_dir, self.engine.tensors(), self.searcher.state(), self.seconds)
        self.last_saved = time.monotonic()
        self.cost = self.last_saved - started

    def _moment(self, row: log.Row) -> Moment:
        edges = (edge for cell in self.engine.remaining.values() for edge in cell)
        return Moment(
            n_done=self.searcher.n_done,
            n_units=len(self.searcher.plan),
            phase=row.phase,
            n_operations=max(len(edge) for edge in edges),
            loss=row.loss,
            accuracy=row.accuracy,
            images_per_s=row.images_per_s,
            seconds_left=self.time_left.seconds(self.searcher.n_done),
        )


def _environment() -> dict[str, Any]:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "schema": "bnas_face.environment/1",
        "versions": machine.versions(PACKAGES),
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "threads": torch.get_num_threads(),
        "device_name": gpu,
    }


def _origin(config: SearchConfig, search_data: Mapping[str, Any], searcher: Searcher, seconds: float) -> dict[str, Any]:
    """Where a genotype comes from; JSON values for the report."""
    return {
        "searcher": config.searcher,
        "space": config.space,
        "binarizer": config.binarizer,
        "fitness": config.fitness,
        "seed": config.seed,
        "dataset": config.dataset,
        "dataset_hash": search_data.get("content_hash"),
        "n_images": search_data.get("n_images"),
        "search_data": dict(search_data),
        "config": asdict(config),
        "seconds": round(seconds, 3),
        "history": searcher.history(),
        "summary": searcher.summary(),
    }
