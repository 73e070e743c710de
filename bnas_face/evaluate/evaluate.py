"""Models × protocols → a report folder: embed, score, decide, measure, compare with the twins, write."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import machine
from bnas_face.config import RUNS
from bnas_face.errors import ConfigError, DatasetError
from bnas_face.evaluate import conventions, output, protocol, results, twins
from bnas_face.evaluate.embed import Embedder, embed_images, open_embedder
from bnas_face.evaluate.protocol import Protocol
from bnas_face.evaluate.results import Measured
from bnas_face.evaluate.score import pair_scores

PACKAGES = ("numpy", "scipy", "pandas", "opencv-python-headless", "torch", "torchvision", "onnxruntime")
N_MODELS_IN_NAME = 3
Progress = Callable[[str, int, int], None]


def evaluate(
    models: Sequence[str],
    protocols: Sequence[str],
    out: Path,
    convention: str = "strict",
    *,
    twin: Sequence[str] = (),
    images: bool = True,
    onnx_mean: tuple[float, float, float] | None = None,
    onnx_std: tuple[float, float, float] | None = None,
    onnx_colour_order: str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    n_replicates: int = results.N_REPLICATES,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate models side by side and write ``result.json``, ``summary.csv``, ``pairs.csv`` and thumbnails to `out`.

    Parameters
    ----------
    models : sequence of str
        What `embed.open_embedder` opens: run folders, ``onnx:FILE``, ``facenet:NAME``.
    protocols : sequence of str
        Names of cards.
    out : Path
        Report folder; made if absent.
    convention : str
        ``"strict"`` or ``"insightface"``.
    twin : sequence of str
        ``"MODEL=TWIN"``: overrides the twin rule of `twins.find`.
    images : bool
        Write thumbnails of failed pairs.
    onnx_mean, onnx_std, onnx_colour_order : optional
        Preprocessing of ONNX models, see `embed.open_embedder`.
    seed : int
        Of the bootstrap.
    batch_size : int
        Images embedded at once.
    n_replicates : int
        Of the bootstrap.
    command : str
        How this was called, for the record.
    progress : callable, optional
        Called with (what, n_done, n_total) after every batch that had to be embedded.

    Returns
    -------
    dict
        The content of ``result.json``, schema ``bnas_face.result/1``.

    Raises
    ------
    UnknownNameError, ConfigError
        If a name is not known, or `twin` does not fit.
    DatasetError, ProtocolError, CheckpointError
        If data or a model is absent or damaged; nothing is written then.
    BnasFaceError
        If `out` cannot be written to; said before anything is embedded.
    MetricError
        If a model compared too few pairs for any number.
    """
    chosen = conventions.get(convention)
    opened = [protocol.load(name) for name in _distinct(protocols, "protocol")]
    embedders = [
        open_embedder(spec, onnx_mean=onnx_mean, onnx_std=onnx_std, onnx_colour_order=onnx_colour_order)
        for spec in _distinct(models, "model", _place)
    ]
    entries = _with_unique_ids([dict(embedder.info) for embedder in embedders])
    twin_of, notes = twins.find(entries, twin)
    output.check_writable(out)
    measured = []
    for entry, embedder in zip(entries, embedders, strict=True):
        entry["twin"] = twin_of.get(entry["id"])
        for one in opened:
            scores, extra = _scores(entry["id"], embedder, one, chosen.single, batch_size, progress)
            found = results.measure(entry["id"], one, scores, chosen, n_replicates=n_replicates, seed=seed)
            found.entry.update(extra)
            measured.append(found)
    result = {
        "schema": results.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": seed,
        "versions": machine.versions(PACKAGES),
        "environment": _environment(),
        "models": entries,
        "protocols": [results.protocol_entry(one) for one in opened],
        "results": [one.entry for one in measured],
        "comparisons": _comparisons(measured, twin_of, n_replicates, seed),
        "notes": notes,
    }
    output.write(out, result, measured, images=images)
    return result


def models_or_runs(models: Sequence[str], protocols: Sequence[str], convention: str) -> list[str]:
    """The models named, else every run; a typo in the other names is reported first.

    Raises
    ------
    UnknownNameError
        If a protocol or the convention is not known.
    DatasetError
        If no model is named and there is no run.
    """
    conventions.get(convention)
    for name in protocols:
        protocol.card(name)
    return list(models) or runs()


def runs() -> list[str]:
    """All run folders under ``runs/`` with weights, by name.

    Raises
    ------
    DatasetError
        If there is none; says what to do next.
    """
    folders = (file.parent for file in RUNS.glob("*/weights.safetensors"))
    found = sorted(str(folder) for folder in folders if (folder / "config.json").is_file())
    if not found:
        raise DatasetError(
            f"No --model was given and there is no trained run in '{RUNS}/'. Train one: "
            "bnasface train --dataset demo --name mine; or name a model: --model onnx:FILE."
        )
    return found


def default_out(root: Path, models: Sequence[str], protocols: Sequence[str]) -> Path:
    """Report folder named after what is compared: ``reports/mine-vs-other_lfw+cfp_fp``."""
    names = [Path(spec.rpartition(":")[2]).stem or "model" for spec in models]
    n_more = len(names) - N_MODELS_IN_NAME
    shown = "-vs-".join(names[:N_MODELS_IN_NAME]) + (f"-and-{n_more}-more" if n_more > 0 else "")
    readable = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in f"{shown}_{'+'.join(protocols)}")
    return root / readable[:120]


def _distinct(names: Sequence[str], kind: str, key: Callable[[str], str] = str) -> list[str]:
    """The names without repetitions; of several with the same key the first."""
    if not names:
        raise ConfigError(f"No {kind} was given; expected at least one --{kind}.")
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(key(name), name)
    return list(found.values())


def _place(spec: str) -> str:
    """The model a name stands for, however its path is spelled."""
    kind, colon, argument = spec.partition(":")
    if not colon:
        return str(Path(spec).resolve())
    return f"onnx:{Path(argument).resolve()}" if kind == "onnx" else spec


def _scores(
    model: str, embedder: Embedder, one: Protocol, single: bool, batch_size: int, progress: Progress | None
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Scores of all pairs, and what the result should say of the embeddings behind them."""
    what = f"{model} on {one.card.name}"
    embeddings = embed_images(
        embedder,
        one.images,
        ids=one.used_ids,
        batch_size=batch_size,
        progress=None if progress is None else lambda done, total: progress(what, done, total),
    )
    rows = [np.searchsorted(one.used, side) for side in (one.reference, one.probe)]
    scores = pair_scores(embeddings.values, embeddings.failed, rows[0], rows[1], single=single)
    extra = {
        "n_images": len(embeddings.image_ids),
        "n_images_failed": int(embeddings.failed.sum()),
        "failed_images": dict(sorted(embeddings.reasons.items())[: output.N_FAILURES]),
        "n_images_from_cache": embeddings.n_from_cache,
    }
    return scores, extra


def _with_unique_ids(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models of the same name in different places are told apart by their whole source."""
    ids = [entry["id"] for entry in entries]
    for entry in entries:
        if ids.count(entry["id"]) > 1:
            entry["id"] = str(entry["source"])
    return entries


def _comparisons(
    measured: Sequence[Measured], twin_of: Mapping[str, str], n_replicates: int, seed: int
) -> list[dict[str, Any]]:
    by_key = {(one.model, one.protocol.card.name): one for one in measured}
    pairs = [(one, by_key[twin_of[model], name]) for (model, name), one in by_key.items() if model in twin_of]
    return results.with_holm(
        [results.compare(one, other, n_replicates=n_replicates, seed=seed) for one, other in pairs]
    )


def _environment() -> dict[str, Any]:
    system = f"{platform.system()} {platform.machine()}"
    return {"cpu": machine.cpu_name(), "threads": os.cpu_count(), "platform": system}
