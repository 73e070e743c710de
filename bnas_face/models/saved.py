"""A run folder: ``config.json`` and ``weights.safetensors``, written atomically and checked when read back.

``config.json`` is the whole `TrainConfig` as nested objects, with ``schema``, ``kept_weights`` (of the last step, or
their moving average) and ``training_data`` (provenance of the images). The genotype of a searched network is in it, and
once more in ``genotype.json`` beside it, for people and ``bnasface show``; the two must agree. ``weights.safetensors``
is written when training has finished: a folder without it is an unfinished run. ``config.toml`` holds the same settings
as options of ``bnasface train``, to train again with; nothing here reads it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bnas_face import files, models
from bnas_face import genotype as genotypes
from bnas_face.config import ModelConfig, TrainConfig, toml
from bnas_face.errors import BnasFaceError, CheckpointError, ConfigError, FormatError
from bnas_face.models.partial import Shard

SCHEMA = "bnas_face.run/1"
SEARCH_SCHEMA = "bnas_face.search/"
CONFIG = "config.json"
SETTINGS = "config.toml"
GENOTYPE = "genotype.json"
WEIGHTS = "weights.safetensors"


def save_config(run_dir: Path, config: TrainConfig, training_data: dict[str, Any]) -> None:
    """Write ``config.json`` and ``config.toml``, and ``genotype.json`` for a searched network.

    Parameters
    ----------
    run_dir : Path
    config : TrainConfig
    training_data : dict of JSON values
        What the network is trained on.
    """
    if config.model.genotype is not None:
        genotypes.save(run_dir / GENOTYPE, config.model.genotype)
    kept = "moving average" if config.ema else "last step"
    content = {"schema": SCHEMA, **settings(config), "kept_weights": kept, "training_data": training_data}
    files.write_json(run_dir / CONFIG, content)
    again = f"bnasface train --config {run_dir / SETTINGS} --name NAME trains the same network again."
    files.write_text(run_dir / SETTINGS, toml.text(_flat(run_dir, config), again))


def _flat(run_dir: Path, config: TrainConfig) -> dict[str, Any]:
    """Settings as options of ``bnasface train``; the genotype is the path of its file."""
    values = settings(config)
    model = values.pop("model")
    if config.model.genotype is not None:
        model["genotype"] = str(run_dir / GENOTYPE)
    return {name: value for name, value in (model | values).items() if name != "name"}


def settings(config: TrainConfig) -> dict[str, Any]:
    """All fields as JSON values; ``TrainConfig`` and ``ModelConfig`` read them back."""
    model = {field.name: getattr(config.model, field.name) for field in fields(config.model)}
    if config.model.genotype is not None:
        model["genotype"] = config.model.genotype.to_json()
    return {**{field.name: getattr(config, field.name) for field in fields(config)}, "model": model}


def save(run_dir: Path, model: nn.Module, config: TrainConfig, training_data: dict[str, Any] | None = None) -> None:
    """Write ``config.json`` and then ``weights.safetensors``: the run folder of a finished training.

    Parameters
    ----------
    run_dir : Path
    model : nn.Module
        The network without its head.
    config : TrainConfig
    training_data : dict of JSON values
        None writes an empty object.
    """
    save_config(run_dir, config, training_data or {})
    save_weights(run_dir / WEIGHTS, model)


def save_weights(target: Path, model: nn.Module) -> None:
    """Write every parameter and buffer of `model` as contiguous CPU tensors, atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_tensors(target, tensors)


def save_tensors(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write CPU tensors and text as one safetensors file, atomically; raises `BnasFaceError` on a full disk."""
    with files.atomic_path(target) as part:
        try:
            save_file(tensors, part, metadata)
        except SafetensorError as error:  # its message for what the system says; it is no OSError
            reason = " ".join(str(error).removeprefix("Error while serializing: I/O error: ").split())
            raise BnasFaceError(f"Cannot write '{target}': {reason}. Earlier files are unchanged.") from error


def load(run_dir: Path) -> tuple[nn.Module, ModelConfig, dict[str, Any]]:
    """Open the network of a finished run.

    Returns
    -------
    model : nn.Module
        In evaluation mode, on the CPU, float32.
    config : ModelConfig
    info : dict
        The whole ``config.json``.

    Raises
    ------
    CheckpointError
        If a file is absent, damaged, of another schema, or does not fit the network; one line naming the file.
    """
    info = load_config(run_dir)
    weights = run_dir / WEIGHTS
    if not weights.exists():
        raise CheckpointError(
            f"Run '{run_dir}' has no {WEIGHTS}: its training did not finish. Continue it with "
            f"bnasface train --name {info['name']} --resume."
        )
    config = model_config(run_dir, info)
    try:
        model = models.build(config)
    except (ConfigError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"'{run_dir / CONFIG}' describes no network that can be built: {reason}") from error
    except BnasFaceError as error:
        raise CheckpointError(f"'{run_dir / CONFIG}': {error}") from error
    load_into(model, load_tensors(weights), weights)
    return model.eval(), config, info


def load_config(run_dir: Path) -> dict[str, Any]:
    """Read ``config.json`` and check its schema; raises `CheckpointError`."""
    path = run_dir / CONFIG
    if not path.exists():
        raise CheckpointError(f"'{run_dir}' is no run folder: it has no {CONFIG}. Train one with bnasface train.")
    try:
        info = files.read_json(path)
    except BnasFaceError as error:
        raise CheckpointError(str(error)) from error
    refuse_search(run_dir)
    if not isinstance(info, dict) or info.get("schema") != SCHEMA:
        found = info.get("schema") if isinstance(info, dict) else type(info).__name__
        raise CheckpointError(f"'{path}' has schema '{found}'; expected '{SCHEMA}'. Was it written by another version?")
    if not isinstance(info.get("name"), str) or not isinstance(info.get("model"), dict):
        raise CheckpointError(f"'{path}' lacks its name or its model. Restore the file or train again.")
    return info


def refuse_search(run_dir: Path) -> None:
    """Raise `CheckpointError` if the folder is one of ``bnasface search``: it has cells, but no trained network."""
    try:
        info = files.read_json(run_dir / CONFIG)
    except BnasFaceError:
        return
    if isinstance(info, dict) and str(info.get("schema")).startswith(SEARCH_SCHEMA):
        raise CheckpointError(f"'{run_dir}' is a search and holds no trained network. {_after_search(run_dir, info)}.")


def _after_search(run_dir: Path, info: dict[str, Any]) -> str:
    """What to type to get a trained network."""
    if not (run_dir / GENOTYPE).exists():
        return f"It is not finished, either: bnasface search --resume {shlex.quote(run_dir.name)}"
    binarizer = str(info.get("binarizer", "none"))
    arguments = ["--genotype", str(run_dir / GENOTYPE), "--dataset", str(info.get("dataset", "demo"))]
    for other in info.get("exclude_names_of") or ():
        arguments += ["--exclude-names-of", str(other)]
    arguments += ["--binarizer", binarizer]
    if binarizer != "none" and info.get("space") == "onebit":
        arguments += ["--activation-bits", "1"]
    arguments += ["--name", f"{run_dir.name}-{'twin' if binarizer == 'none' else '1bit'}"]
    return f"Train what it found: bnasface train --backbone searched {shlex.join(arguments)}"


def model_config(run_dir: Path, info: dict[str, Any]) -> ModelConfig:
    """The `ModelConfig` of a run's ``config.json``.

    Raises
    ------
    CheckpointError
        If a setting is unknown or out of range, or the genotype is damaged or not that of ``genotype.json``.
    """
    path = run_dir / CONFIG
    known = {field.name for field in fields(ModelConfig)}
    unknown = sorted(set(info["model"]) - known)
    if unknown:
        raise CheckpointError(
            f"'{path}' has unknown model settings {', '.join(unknown)}. Was it written by a newer version?"
        )
    try:
        config = ModelConfig(**info["model"])
    except FormatError as error:
        raise CheckpointError(f"'{path}' has a damaged genotype: {error}") from error
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"'{path}' has a model setting out of range: {error}") from error
    _check_genotype(run_dir, config)
    return config


def _check_genotype(run_dir: Path, config: ModelConfig) -> None:
    """The copy beside ``config.json``, where there is one, must be the genotype of the network."""
    path = run_dir / GENOTYPE
    if config.genotype is None or not path.exists():
        return
    try:
        copy = genotypes.load(path)
    except FormatError as error:
        raise CheckpointError(f"{error} Delete it: the run's genotype is in {CONFIG}, too.") from error
    if copy != config.genotype:
        raise CheckpointError(
            f"'{path}' is not the genotype in {CONFIG}, with which the run was trained. Restore or delete it; train "
            "under a new --name to use another genotype."
        )


def load_tensors(path: Path, rows: Mapping[str, Shard] | None = None) -> dict[str, Tensor]:
    """Read a safetensors file; of the tensors in `rows` a process's own rows alone.

    Raises
    ------
    CheckpointError
        If it is damaged, truncated or no safetensors file.
    """
    try:
        return _load_parts(path, rows) if rows else load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"'{path}' ({_size_of(path)} bytes) is damaged or no safetensors file: {reason}. Copy or train it again."
        ) from error


def _load_parts(path: Path, rows: Mapping[str, Shard]) -> dict[str, Tensor]:
    found = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            part = file.get_slice(name)
            shape = part.get_shape()
            found[name] = part[rows[name].rows(shape[0])] if name in rows and shape else file.get_tensor(name)
    return found


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def load_into(module: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Copy `tensors` into `module`; raises `CheckpointError` naming the first that is missing, surplus or misshapen."""
    expected = module.state_dict()
    for kind, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has a surplus", tensors.keys() - expected.keys()),
    ):
        if names:
            raise CheckpointError(
                f"'{source}' {kind} tensor '{min(names)}' ({len(names)} such); it is not the network of config.json."
            )
    for name, value in expected.items():
        if value.shape != tensors[name].shape:
            raise CheckpointError(
                f"'{source}' holds '{name}' of shape {tuple(tensors[name].shape)}; expected {tuple(value.shape)}."
            )
    with torch.no_grad():
        module.load_state_dict(tensors)
