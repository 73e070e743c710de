"""Models × protocols → a report folder: embed, score, decide, measure, compare with the twins, write."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bnas_face import files, machine
from bnas_face.config import RUNS
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError
from bnas_face.evaluate import breakdown, conventions, kinds, output, protocol, results, twins
from bnas_face.evaluate.embed import Embedder, Embeddings, embed_images, open_embedder
from bnas_face.evaluate.kinds._base import AnyMeasured, AnyProtocol, How

PACKAGES = ("numpy", "scipy", "pandas", "opencv-python-headless", "torch", "torchvision", "onnxruntime")
N_MODELS_IN_NAME = 3
N_FAILED_SHOWN = 24
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
    plan = prepare(
        models,
        protocols,
        convention,
        twin=twin,
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
    if _place(model) == _place(other):
        raise ConfigError(f"'{model}' and '{other}' are the same model; name two different ones.")
    plan = prepare([model, other], protocols, convention, twin=[f"{model}={other}"], **onnx)
    how = How(convention=plan.convention, n_replicates=n_replicates, seed=seed)
    return measure(plan, how, batch_size=batch_size, progress=progress)[0]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything opened and found to fit together; nothing is embedded yet.

    Attributes
    ----------
    models : list of dict
        Entries of ``models``, with their twins.
    embedders : list of Embedder
        In the same order.
    protocols : list of protocols
    fitting : mapping of model id to list of protocols
        On what each model is evaluated.
    convention : Convention
    notes : list of str
        Why a model got no twin, where that needs saying.
    """

    models: list[dict[str, Any]]
    embedders: list[Embedder]
    protocols: list[AnyProtocol]
    fitting: Mapping[str, list[AnyProtocol]]
    convention: conventions.Convention
    notes: list[str]


def prepare(
    models: Sequence[str], protocols: Sequence[str], convention: str, *, twin: Sequence[str] = (), **onnx: Any
) -> Plan:
    """Open models and protocols and match them; parameters and errors as in `evaluate`, nothing is written."""
    chosen = conventions.get(convention)
    opened: list[AnyProtocol] = [protocol.load(name) for name in _distinct(protocols, "protocol")]
    embedders = [open_embedder(spec, **onnx) for spec in _distinct(models, "model", _place)]
    entries = _with_unique_ids([dict(embedder.info) for embedder in embedders])
    twin_of, notes = twins.find(entries, twin)
    by_id = {entry["id"]: one for entry, one in zip(entries, embedders, strict=True)}
    fitting = _fitting(by_id, opened)
    _check_twins(twin_of, {name: one.task for name, one in by_id.items()})
    for entry in entries:
        entry["twin"] = twin_of.get(entry["id"])
    return Plan(models=entries, embedders=embedders, protocols=opened, fitting=fitting, convention=chosen, notes=notes)


def measure(
    plan: Plan, how: How, *, batch_size: int = 64, command: str = "", progress: Progress | None = None
) -> tuple[dict[str, Any], list[AnyMeasured]]:
    """Embed, score and count; what `evaluate` writes, as the content of ``result.json`` and what lies behind it."""
    measured: list[AnyMeasured] = []
    for entry, embedder in zip(plan.models, plan.embedders, strict=True):
        of_model = replace(how, people=breakdown.people_of(entry["training"]))
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
    wanted = [protocol.kind_of(name) for name in protocols]
    return list(models) or runs({kinds.load(kind).TASK for kind in wanted})


def runs(tasks: Collection[str] = ("embedding", "classification")) -> list[str]:
    """All run folders under ``runs/`` with weights whose network does one of `tasks`, by name.

    Raises
    ------
    DatasetError
        If there is none; says what to do next.
    """
    folders = (file.parent for file in RUNS.glob("*/weights.safetensors"))
    found = sorted(str(folder) for folder in folders if _task(folder) in tasks)
    if not found:
        raise DatasetError(
            f"No --model was given and there is no trained run in '{RUNS}/'. Train one: "
            "bnasface train --dataset demo --name mine; or name a model: --model onnx:FILE."
        )
    return found


def _task(folder: Path) -> str | None:
    """What a run's network does; None for a folder without settings. Damage is told when the run is opened."""
    if not (folder / "config.json").is_file():
        return None
    try:
        return str(files.read_json(folder / "config.json").get("model", {}).get("task", "embedding"))
    except (BnasFaceError, AttributeError):
        return "embedding"


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


def _fitting(models: Mapping[str, Embedder], protocols: Sequence[AnyProtocol]) -> dict[str, list[AnyProtocol]]:
    """The protocols each model is evaluated on; every model and every protocol must find its like."""
    found: dict[str, list[AnyProtocol]] = {}
    for name, model in models.items():
        found[name] = [one for one in protocols if model.task == kinds.of(one).TASK]
        if not found[name]:
            raise ConfigError(_misfit(name, model, protocols[0]))
        for one in found[name]:
            kinds.of(one).check(name, model, one)  # told before anything is embedded
    for one in protocols:
        if not any(one is other for fitting in found.values() for other in fitting):
            name = next(iter(models))
            raise ConfigError(_misfit(name, models[name], one))
    return found


def _misfit(name: str, model: Embedder, one: AnyProtocol) -> str:
    if model.flip:
        return (
            f"Model '{name}' embeds faces, and protocol '{one.card.name}' is one of object recognition. Train a "
            f"classifier (bnasface train --dataset {one.card.dataset.partition(':')[0]}), or evaluate it on faces: "
            "--protocol lfw."
        )
    return (
        f"Model '{name}' recognises {len(model.class_names)} kinds of objects, and protocol '{one.card.name}' compares "
        "faces. Evaluate it on the set it was trained on, such as --protocol cifar10."
    )


def _check_twins(twin_of: Mapping[str, str], tasks: Mapping[str, str]) -> None:
    for model, twin in twin_of.items():
        if tasks[model] != tasks[twin]:
            raise ConfigError(
                f"--twin {model}={twin}: one embeds faces and the other recognises objects; they have no protocol in "
                "common. Name a twin of the same task."
            )


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


def _with_unique_ids(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models of the same name in different places are told apart by their whole source."""
    ids = [entry["id"] for entry in entries]
    for entry in entries:
        if ids.count(entry["id"]) > 1:
            entry["id"] = str(entry["source"])
    return entries


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
