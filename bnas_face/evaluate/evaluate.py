"""Models × protocols → a report folder: embed, score, decide, measure, compare with the twins, write."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnas_face import machine
from bnas_face.errors import ConfigError
from bnas_face.evaluate import breakdown, kinds, output, results
from bnas_face.evaluate import plan as plans
from bnas_face.evaluate.embed import Embedder, Embeddings, embed_images
from bnas_face.evaluate.kinds import pairs
from bnas_face.evaluate.kinds._base import AnyMeasured, AnyProtocol, How

PACKAGES = ("numpy", "scipy", "pandas", "opencv-python-headless", "torch", "torchvision", "onnxruntime")
N_FAILED_SHOWN = 24
Progress = Callable[[str, int, int], None]


def evaluate(
    models: Sequence[str],
    protocols: Sequence[str],
    out: Path,
    convention: str = "strict",
    *,
    twin: Sequence[str] = (),
    threshold_from: str | None = None,
    same_people: Path | None = None,
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

    Networks that embed faces are evaluated on protocols of pairs, those that classify on protocols of object
    recognition (``images.csv`` then, instead of ``pairs.csv``); both kinds may stand in one report.

    Parameters
    ----------
    models : sequence of str
        What `embed.open_embedder` opens: run folders, ``onnx:FILE``, ``facenet:NAME``.
    protocols : sequence of str
        Names of cards, ``csv:PATH`` or ``folder:PATH``.
    out : Path
        Report folder; made if absent.
    convention : str
        ``"strict"``, ``"insightface"`` or ``"facex"``.
    twin : sequence of str
        ``"MODEL=TWIN"``: overrides the twin rule of `twins.find`.
    threshold_from : str, optional
        A protocol of pairs on which one threshold per model is fitted; every result says what it does there too.
    same_people : Path, optional
        CSV of `audit`: people found in the training set and the protocol's under whatever names.
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
        If a name is not known, `twin` does not fit, or a model fits none of the protocols.
    DatasetError, ProtocolError, CheckpointError
        If data or a model is absent or damaged; nothing is written then.
    BnasFaceError
        If `out` cannot be written to; said before anything is embedded.
    MetricError
        If a model compared too few pairs for any number.
    """
    plan = plans.prepare(
        models,
        protocols,
        convention,
        twin=twin,
        threshold_from=threshold_from,
        same_people=same_people,
        onnx_mean=onnx_mean,
        onnx_std=onnx_std,
        onnx_colour_order=onnx_colour_order,
    )
    output.check_writable(out)
    how = How(convention=plan.convention, n_replicates=n_replicates, seed=seed)
    result, measured = measure(plan, how, batch_size=batch_size, command=command, progress=progress)
    output.write(out, result, measured, images=images)
    return result


def compare(
    model: str,
    other: str,
    protocols: Sequence[str],
    convention: str = "strict",
    *,
    seed: int = 0,
    batch_size: int = 64,
    n_replicates: int = results.N_REPLICATES,
    progress: Progress | None = None,
    **onnx: Any,
) -> dict[str, Any]:
    """Evaluate two models and compare `model` with `other` on every protocol; nothing is written.

    Parameters and errors as in `evaluate`.

    Returns
    -------
    dict
        As `evaluate`; ``comparisons`` has one entry per protocol.

    Raises
    ------
    ConfigError
        Also if both are the same model.
    """
    if plans.place(model) == plans.place(other):
        raise ConfigError(f"'{model}' and '{other}' are the same model; name two different ones.")
    plan = plans.prepare([model, other], protocols, convention, twin=[f"{model}={other}"], **onnx)
    how = How(convention=plan.convention, n_replicates=n_replicates, seed=seed)
    return measure(plan, how, batch_size=batch_size, progress=progress)[0]


def measure(
    plan: plans.Plan, how: How, *, batch_size: int = 64, command: str = "", progress: Progress | None = None
) -> tuple[dict[str, Any], list[AnyMeasured]]:
    """Embed, score and count; what `evaluate` writes, as the content of ``result.json`` and what lies behind it."""
    measured: list[AnyMeasured] = []
    people = breakdown.people_of_all((entry["training"] for entry in plan.models), plan.same_people)
    for entry, embedder, known in zip(plan.models, plan.embedders, people, strict=True):
        development = _development(entry["id"], embedder, plan, batch_size, progress)
        of_model = replace(how, people=known, development=development)
        for one in plan.fitting[entry["id"]]:
            kind = kinds.of(one)
            embeddings = _embeddings(entry["id"], embedder, one, batch_size, how.convention.flip, progress)
            found = kind.measure(entry["id"], embedder, one, embeddings, of_model)
            found.entry.update(_about(embeddings))
            measured.append(found)
    result = {
        "schema": results.SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "seed": how.seed,
        "versions": machine.versions(PACKAGES),
        "environment": _environment(),
        "models": plan.models,
        "protocols": [kinds.of(one).protocol_entry(one) for one in plan.protocols],
        "results": [one.entry for one in measured],
        "comparisons": _comparisons(measured, {entry["id"]: entry["twin"] for entry in plan.models}, how),
        "notes": plan.notes,
    }
    return result, measured


def _development(
    model: str, embedder: Embedder, plan: plans.Plan, batch_size: int, progress: Progress | None
) -> breakdown.Development | None:
    """The model's threshold from the development protocol; None without one, and for networks that classify."""
    one = plan.development
    if one is None or not embedder.flip:
        return None
    embeddings = _embeddings(model, embedder, one, batch_size, plan.convention.flip, progress)
    return breakdown.fit_threshold(one, pairs.scores_of(one, embeddings, plan.convention.arithmetic), plan.convention)


def _embeddings(
    model: str, embedder: Embedder, one: AnyProtocol, batch_size: int, flip: bool, progress: Progress | None
) -> Embeddings:
    what = f"{model} on {one.card.name}"
    return embed_images(
        embedder,
        one.images,
        ids=kinds.of(one).image_ids(one),
        batch_size=batch_size,
        flip=flip,
        progress=None if progress is None else lambda done, total: progress(what, done, total),
    )


def _about(embeddings: Embeddings) -> dict[str, Any]:
    """What the result should say of the embeddings behind it."""
    return {
        "n_images": len(embeddings.image_ids),
        "n_images_failed": int(embeddings.failed.sum()),
        "failed_images": dict(sorted(embeddings.reasons.items())[:N_FAILED_SHOWN]),
        "n_images_from_cache": embeddings.n_from_cache,
    }


def _comparisons(measured: Sequence[AnyMeasured], twin_of: Mapping[str, str | None], how: How) -> list[dict[str, Any]]:
    by_key = {(one.model, one.protocol.card.name): one for one in measured}
    found = []
    for (model, name), one in by_key.items():
        other = by_key.get((twin_of[model] or "", name))
        if other is not None:
            found.append(kinds.of(one).compare(one, other, how))
    return results.with_holm(found)


def _environment() -> dict[str, Any]:
    system = f"{platform.system()} {platform.machine()}"
    return {"cpu": machine.cpu_name(), "threads": os.cpu_count(), "platform": system}
