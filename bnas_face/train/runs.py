"""Run folders: begin one, go on with one, and never destroy one unasked."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from bnas_face import files, ranks
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import CheckpointError, ConfigError, FormatError
from bnas_face.genotype import Genotype
from bnas_face.models import saved
from bnas_face.train import recipe

CHANGEABLE = frozenset(
    {
        *("devices", "threads", "wait_minutes", "checkpoint_minutes", "on_nan", "tensorboard"),
        *("loading", "workers", "on_corrupt"),
    }
)
"""Settings of which a resumed run may have others."""


def is_finished(run_dir: Path) -> bool:
    """Whether the training of a run folder has ended."""
    return (run_dir / saved.WEIGHTS).exists()


def is_begun(run_dir: Path) -> bool:
    """Whether a training has been begun in the folder."""
    return (run_dir / saved.CONFIG).exists()


def agrees(run_dir: Path, config: TrainConfig) -> bool:
    """Whether the folder's run was begun with the settings of `config`, or no run was begun there."""
    return not is_begun(run_dir) or recipe.resolve(from_json(saved.load_config(run_dir))) == recipe.resolve(config)


def begin(
    config: TrainConfig, run_dir: Path, *, resume: bool, overwrite: bool, given: Collection[str] = ()
) -> TrainConfig:
    """Decide what a call of ``train`` does with an existing folder, and with which settings.

    Parameters
    ----------
    config : TrainConfig
        As asked for now.
    run_dir : Path
    resume : bool
        Go on with an unfinished run, with the settings it was begun with; begin where there is none.
    overwrite : bool
        Begin again where a run is; `clear` removes it once the new one is sure to begin.
    given : collection of str
        Settings the user typed; on resume they must equal the saved ones, but for `CHANGEABLE`.

    Returns
    -------
    TrainConfig
        What to train with.

    Raises
    ------
    CheckpointError
        If the folder holds a finished run, or an unfinished one and neither `resume` nor `overwrite` is asked for, or
        something else than a run.
    ConfigError
        If both are asked for, or a given setting differs from the one the run was begun with.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other. Give one of them.")
    if is_helper_process():
        goes_on = resume and is_begun(run_dir)
        return _merged(from_json(saved.load_config(run_dir)), config, given) if goes_on else config
    saved.refuse_search(run_dir)
    if overwrite:
        _check_ours(run_dir)
        return config
    if is_finished(run_dir):
        raise CheckpointError(f"Run '{run_dir}' is finished. Choose another --name, or --overwrite to train it again.")
    if not is_begun(run_dir):
        _check_ours(run_dir)
        return config
    if not resume:
        raise CheckpointError(
            f"Run '{run_dir}' was begun and is not finished. Add --resume to go on, or --overwrite to begin again."
        )
    return _merged(from_json(saved.load_config(run_dir)), config, given)


def is_helper_process() -> bool:
    """Whether this is one of the further processes of a training: the first checks, writes files and talks."""
    return not ranks.job().is_first


def _check_ours(run_dir: Path) -> None:
    if run_dir.exists() and not is_begun(run_dir) and any(run_dir.iterdir()):
        raise CheckpointError(
            f"'{run_dir}' is no run folder (no {saved.CONFIG}); it is left alone. Choose another --name."
        )


def clear(run_dir: Path) -> None:
    """Remove an earlier run; `CheckpointError` for a folder that is none, or a search."""
    saved.refuse_search(run_dir)
    _check_ours(run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)


@contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold the run's lock, ``runs/.<name>.lock``, which the kernel releases when the process ends, however it ends.

    Raises
    ------
    CheckpointError
        If another process trains this run.
    """
    busy = CheckpointError(f"Another process is training '{run_dir}'. Wait for it to end, or choose another --name.")
    with files.locked(run_dir.parent / f".{run_dir.name}.lock", busy):
        yield


def _merged(before: TrainConfig, now: TrainConfig, given: Collection[str]) -> TrainConfig:
    old, new = _flat(before), _flat(now)
    for name in sorted(set(given) & set(old) - CHANGEABLE):
        if old[name] != new[name] and new[name] not in (None, "auto"):
            option = name.replace("_", "-")
            raise ConfigError(
                f"--{option} is '{_shown(new[name])}', but run '{before.name}' was begun with '{_shown(old[name])}'. "
                "Leave it out to go on, or train under a new --name."
            )
    return replace(before, **{name: new[name] for name in CHANGEABLE & set(given)})


def _flat(config: TrainConfig) -> dict[str, Any]:
    """Settings of training and model by name; the genotype as a value, equal whatever its origin."""
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.name != "model"}
    return {**{field.name: getattr(config.model, field.name) for field in fields(config.model)}, **values}


def _shown(value: object) -> object:
    return value.short_text() if isinstance(value, Genotype) else value


def from_json(info: Mapping[str, Any]) -> TrainConfig:
    """The `TrainConfig` of a ``config.json``; raises `CheckpointError` if a setting is unknown or out of range."""
    known = {field.name for field in fields(TrainConfig)}
    values = {name: value for name, value in info.items() if name in known}
    try:
        values["exclude_names_of"] = tuple(values.get("exclude_names_of", ()))
        return TrainConfig(**{**values, "model": ModelConfig(**info["model"])})
    except (ConfigError, FormatError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{saved.CONFIG} of run '{info.get('name')}' has a setting that cannot be used: {error}"
        ) from error
