"""The whole chain for ``bnasface demo``, readable from top to bottom: search → train → evaluate → report."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from bnas_face import machine
from bnas_face.config import ModelConfig, SearchConfig, TrainConfig
from bnas_face.errors import TrainingError
from bnas_face.genotype import Genotype

PROTOCOLS = ("demo_lfw", "demo_cfp", "demo_agedb")
DATASET = "demo:600x10@64"
SEARCH_NAME = "demo_search"
SEARCH: dict[str, Any] = {"space": "onebit", "dataset": DATASET}
"""Beside the preset ``quick``."""
NETWORKS: dict[str, dict[str, Any]] = {
    # run name: what differs; `binarizer` none is the full-precision twin
    "demo_full_precision": {"backbone": "searched", "binarizer": "none", "activation_bits": 32},
    "demo_w1a1": {"backbone": "searched", "binarizer": "xnor", "activation_bits": 1},
}
MODEL: dict[str, Any] = {"size_px": 64, "embedding_dim": 128}
CELLS: dict[str, Any] = {"cells": 5, "channels": 8}
RECIPE: dict[str, Any] = {
    # chosen on held-out training identities; the same for all networks, so that a pair of twins differs in bits alone
    "epochs": 3,
    "batch_size": 32,
    "optimizer": "adam",
    "lr": 6e-3,
    "precision": "fp32",
    "scale": 30.0,
    "margin": 0.25,
}
N_SIDE_BY_SIDE = 2
"""Networks trained at the same time, each on its share of the CPU's cores: small networks use few cores well."""


def search_settings(*, seed: int = 0) -> SearchConfig:
    """How the demo searches its cells."""
    from bnas_face.search import presets

    return SearchConfig(name=SEARCH_NAME, seed=seed, **{**presets.preset("quick"), **SEARCH})


def settings(name: str, found: Genotype | None, *, seed: int = 0) -> TrainConfig:
    """How the demo trains one of its `NETWORKS`; `found` are the cells of those that are searched."""
    own = NETWORKS[name]
    if own["backbone"] == "searched":
        own = {**own, **CELLS, "genotype": found}
    return TrainConfig(name=name, model=ModelConfig(**MODEL, **own), dataset=DATASET, seed=seed, **RECIPE)


def demo(
    out: Path,
    runs_root: Path,
    *,
    fresh: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = print,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Search cells on rendered people, train them 1-bit and in full precision, test on other rendered people, report.

    Interrupted at any moment, the next call goes on; what is done already with these settings is kept.

    Parameters
    ----------
    out : Path
        Report folder.
    runs_root : Path
        Folder of the run folders.
    fresh : bool
        Search and train again even where that is finished.
    seed : int
        Of search, training and the bootstrap.
    say : callable
        Called with one line per step.
    progress : callable, optional
        Called with (what, n_done, n_total) while embedding.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    BnasFaceError
        Whatever a stage raises; what was saved before stays.
    """
    from bnas_face.evaluate.evaluate import evaluate
    from bnas_face.report import html

    say(f"[1/3] Searching cells on {DATASET} …")
    found = _searched(runs_root / SEARCH_NAME, fresh=fresh, seed=seed, say=say)
    say(f"[2/3] Training {', '.join(NETWORKS)} …")
    _train_all({runs_root / name: settings(name, found, seed=seed) for name in NETWORKS}, fresh=fresh, say=say)
    say(f"[3/3] Evaluating {len(NETWORKS)} models on {', '.join(PROTOCOLS)} …")
    models = [str(runs_root / name) for name in NETWORKS]
    evaluate(models, PROTOCOLS, out, seed=seed, command="bnasface demo", progress=progress)
    return html.write(out)


def _searched(run_dir: Path, *, fresh: bool, seed: int, say: Callable[[str], None]) -> Genotype:
    """The cells, searched now unless they are there."""
    from bnas_face import genotype
    from bnas_face.search import folder, presets
    from bnas_face.search.loop import search
    from bnas_face.search.progress import SearchProgress

    config = presets.resolve(search_settings(seed=seed))
    anew = fresh or (folder.is_begun(run_dir) and folder.load_config(run_dir)[0] != config)
    if folder.is_finished(run_dir) and not anew:
        say(f"      {run_dir} is searched already (--fresh searches it again).")
        return genotype.load(run_dir / folder.GENOTYPE)
    folder.begin(config, run_dir, resume=not anew, overwrite=anew)
    with SearchProgress() as on_progress:
        outcome = search(config, run_dir, resume=not anew, on_progress=on_progress)
    say(f"      {outcome.seconds:.0f} s. Its cells: bnasface show genotype {run_dir / folder.GENOTYPE}")
    return outcome.genotype


def _train_all(configs: Mapping[Path, TrainConfig], *, fresh: bool, say: Callable[[str], None]) -> None:
    """Train what is not trained yet, `N_SIDE_BY_SIDE` at a time."""
    todo = dict(_to_train(configs, fresh=fresh, say=say))
    n_workers = min(N_SIDE_BY_SIDE, len(todo), machine.processors())
    if not n_workers:
        return
    threads = max(1, machine.processors() // n_workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(_train, config, path, anew, threads): path for path, (config, anew) in todo.items()}
        try:
            for task in as_completed(tasks):
                seconds, images_per_s = task.result()
                say(f"      {tasks[task]}: {seconds:.0f} s, {images_per_s:.0f} images/s")
        except BrokenProcessPool as error:
            raise TrainingError(
                "A training process was ended from outside (out of memory?). The same command goes on."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _to_train(
    configs: Mapping[Path, TrainConfig], *, fresh: bool, say: Callable[[str], None]
) -> Iterator[tuple[Path, tuple[TrainConfig, bool]]]:
    """Run folder, settings and whether to begin anew, of every network that is not finished."""
    from bnas_face.train import runs

    for run_dir, config in configs.items():
        anew = fresh or not runs.agrees(run_dir, config)
        if runs.is_finished(run_dir) and not anew:
            say(f"      {run_dir} is trained already (--fresh trains it again).")
            continue
        yield run_dir, (runs.begin(config, run_dir, resume=not anew, overwrite=anew), anew)


def _train(config: TrainConfig, run_dir: Path, anew: bool, threads: int) -> tuple[float, float]:
    """Train in a process of its own; returns the seconds and images per second."""
    import torch

    from bnas_face.train.loop import train

    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with redirect_stdout(_Named(sys.stdout, config.name)):
        outcome = train(config, run_dir, resume=not anew)
    return outcome.seconds, outcome.images_per_s


def _end_with_parent() -> None:
    """Do not train on when the process that asked for it is gone, killed even."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Named(io.TextIOBase):
    """Whole lines of text, each with the name of who says it in front."""

    def __init__(self, out: TextIO, name: str) -> None:
        self._out, self._name, self._begun = out, name, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._out.write(f"      {self._name}  {line}\n")
        self._out.flush()
        return len(text)
