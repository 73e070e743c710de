"""What is evaluated on what: names on the command line become opened models and protocols that fit together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face import files
from bnas_face.config import RUNS
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError
from bnas_face.evaluate import audit, conventions, kinds, protocol, twins, untested
from bnas_face.evaluate.embed import Embedder, open_embedder
from bnas_face.evaluate.kinds._base import AnyProtocol
from bnas_face.evaluate.protocol import Protocol

N_MODELS_IN_NAME = 3


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
    development : Protocol or None
        Where a threshold per model is fitted besides, without the pairs that are tested.
    same_people : tuple of (str, str)
        Two names of one person each.
    notes : list of str
        Why a model got no twin, where that needs saying.
    """

    models: list[dict[str, Any]]
    embedders: list[Embedder]
    protocols: list[AnyProtocol]
    fitting: Mapping[str, list[AnyProtocol]]
    convention: conventions.Convention
    development: Protocol | None
    same_people: tuple[tuple[str, str], ...]
    notes: list[str]


def prepare(
    models: Sequence[str],
    protocols: Sequence[str],
    convention: str,
    *,
    twin: Sequence[str] = (),
    threshold_from: str | None = None,
    same_people: Path | None = None,
    **onnx: Any,
) -> Plan:
    """Open models and protocols and match them; parameters and errors as in `evaluate.evaluate`, nothing is written."""
    chosen = conventions.get(convention)
    _check_onnx(models, onnx)
    opened: list[AnyProtocol] = [protocol.load(name) for name in _distinct(protocols, "protocol")]
    development = _opened_development(threshold_from, protocols, opened)
    embedders = [open_embedder(spec, **onnx) for spec in _distinct(models, "model", place)]
    entries = _with_unique_ids([dict(embedder.info) for embedder in embedders])
    twin_of, notes = twins.find(entries, twin)
    by_id = {entry["id"]: one for entry, one in zip(entries, embedders, strict=True)}
    fitting = _fitting(by_id, opened)
    _check_twins(twin_of, {name: one.task for name, one in by_id.items()})
    for entry in entries:
        entry["twin"] = twin_of.get(entry["id"])
    return Plan(
        models=entries,
        embedders=embedders,
        protocols=opened,
        fitting=fitting,
        convention=chosen,
        development=development,
        same_people=() if same_people is None else audit.read_same_people(same_people),
        notes=notes,
    )


def _check_onnx(models: Sequence[str], options: Mapping[str, Any]) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given and not any(model.startswith("onnx:") for model in models):
        raise ConfigError(
            f"{', '.join(given)} is for ONNX models, and none is evaluated here: others bring theirs along. "
            "Leave it out, or name a model as onnx:FILE."
        )


def _opened_development(name: str | None, tested: Sequence[str], opened: Sequence[AnyProtocol]) -> Protocol | None:
    if name is None:
        return None
    if name in tested:
        raise ConfigError(
            f"--threshold-from names '{name}', which is tested here too: a threshold must not be fitted on what it is "
            "tested on. Name another protocol, such as lfw_dev for lfw."
        )
    found = protocol.load(name)
    if not isinstance(found, Protocol):
        raise ConfigError(f"--threshold-from names '{name}', which compares no pairs; expected one that does: lfw_dev.")
    return untested.without_tested(found, [one for one in opened if isinstance(one, Protocol)])


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
    names = [_short(Path(spec.rpartition(":")[2])) for spec in models]
    n_more = len(names) - N_MODELS_IN_NAME
    shown = "-vs-".join(names[:N_MODELS_IN_NAME]) + (f"-and-{n_more}-more" if n_more > 0 else "")
    readable = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in f"{shown}_{'+'.join(protocols)}")
    return root / readable[:120]


def _short(path: Path) -> str:
    """``mine`` of runs/mine and of mine.onnx, ``mine-packed`` of runs/mine/model.bnn."""
    if path.name == "model.bnn" and path.parent.name:
        return f"{path.parent.name}-packed"
    return path.stem or "model"


def _distinct(names: Sequence[str], kind: str, key: Callable[[str], str] = str) -> list[str]:
    """The names without repetitions; of several with the same key the first."""
    if not names:
        raise ConfigError(f"No {kind} was given; expected at least one --{kind}.")
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(key(name), name)
    return list(found.values())


def place(spec: str) -> str:
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


def _with_unique_ids(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models of the same name in different places are told apart by their whole source."""
    ids = [entry["id"] for entry in entries]
    for entry in entries:
        if ids.count(entry["id"]) > 1:
            entry["id"] = str(entry["source"])
    return entries
