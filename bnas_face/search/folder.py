"""The folder of a search, ``runs/<name>/``: begin one, go on with one, and never destroy one unasked.

config.json     the `SearchConfig`, resolved, with ``schema`` and ``search_data`` (what is searched on)
state/          last.safetensors: the shared network, α, β, optimizers; its text metadata: the searcher's state
log.csv         see `log`
genotype.json   written when the search has finished: a folder without it is an unfinished search
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from bnas_face import files, ranks
from bnas_face.config import SearchConfig
from bnas_face.errors import BnasFaceError, CheckpointError, ConfigError
from bnas_face.search import presets

SCHEMA = "bnas_face.search/1"
CONFIG, GENOTYPE, ENVIRONMENT = "config.json", "genotype.json", "environment.json"
STATE, STATE_SCHEMA = Path("state", "last.safetensors"), "bnas_face.search_state/1"
MACHINE_FIELDS = frozenset({"devices", "threads", "checkpoint_minutes"})


def is_finished(run_dir: Path) -> bool:
    """Whether the folder's search has ended."""
    return is_begun(run_dir) and (run_dir / GENOTYPE).exists()


def is_begun(run_dir: Path) -> bool:
    """Whether a search has been begun in the folder."""
    try:
        content = files.read_json(run_dir / CONFIG)
    except BnasFaceError:
        return False
    return isinstance(content, dict) and content.get("schema") == SCHEMA


def begin(
    config: SearchConfig, run_dir: Path, *, resume: bool, overwrite: bool, given: Collection[str] = ()
) -> SearchConfig:
    """Decide what a call of ``search`` does with an existing folder, and with which settings.

    Parameters
    ----------
    config : SearchConfig
        As asked for now.
    run_dir : Path
    resume : bool
        Go on with an unfinished search, with the settings it was begun with; begin where there is none.
    overwrite : bool
        Begin again where a search is.
    given : collection of str
        Settings the user typed; on resume they must equal the saved ones (but those of the machine).

    Raises
    ------
    CheckpointError
        If the folder holds a finished search, or an unfinished one and neither `resume` nor `overwrite` is asked for,
        or something else than a search.
    ConfigError
        If both are asked for, or a given setting differs from the one the search was begun with.
    """
    if resume and overwrite:
        raise ConfigError("--resume and --overwrite contradict each other. Give one of them.")
    if not ranks.job().is_first:  # the first checks, writes files and talks
        return _merged(load_config(run_dir)[0], config, given) if resume and is_begun(run_dir) else config
    check_ours(run_dir)
    if overwrite or not is_begun(run_dir):
        return config
    if is_finished(run_dir):
        raise CheckpointError(
            f"Search '{run_dir}' is finished; it found {run_dir / GENOTYPE}. Choose another --name, or --overwrite to "
            "search again."
        )
    if not resume:
        raise CheckpointError(
            f"Search '{run_dir}' was begun and is not finished. Go on with bnasface search --resume {run_dir.name}, or "
            "add --overwrite to begin again."
        )
    return _merged(load_config(run_dir)[0], config, given)


def check_ours(run_dir: Path) -> None:
    """Raise `CheckpointError` for a folder that is no search and not empty: it is never touched."""
    if run_dir.exists() and not is_begun(run_dir) and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise CheckpointError(f"'{run_dir}' is no search and not empty; it is left alone. Choose another --name.")


def clear(run_dir: Path) -> None:
    """Remove an earlier search; `CheckpointError` for a folder that is none."""
    check_ours(run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)


def only_one(run_dir: Path) -> AbstractContextManager[None]:
    """Hold the lock of the folder; `CheckpointError` if another process has it."""
    busy = CheckpointError(f"Another process is working in '{run_dir}'. Wait for it to end, or choose another --name.")
    return files.locked(run_dir.parent / f".{run_dir.name}.lock", busy)


def save_config(run_dir: Path, config: SearchConfig, search_data: Mapping[str, Any]) -> None:
    """Write ``config.json``; `search_data` says what is searched on (JSON values only)."""
    files.write_json(run_dir / CONFIG, {"schema": SCHEMA, **asdict(config), "search_data": dict(search_data)})


def load_config(run_dir: Path) -> tuple[SearchConfig, dict[str, Any]]:
    """The settings of a search and its ``search_data``.

    Raises
    ------
    CheckpointError
        If the file is absent, damaged or of another schema, or a setting is unknown or out of range.
    """
    path = run_dir / CONFIG
    if not path.exists():
        raise CheckpointError(f"'{run_dir}' holds no search: it has no {CONFIG}. Begin one with bnasface search.")
    try:
        content = files.read_json(path)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            found = content.get("schema") if isinstance(content, dict) else type(content).__name__
            raise CheckpointError(f"'{path}' has schema '{found}'; expected '{SCHEMA}': it is no search.")
        known = {field.name for field in fields(SearchConfig)}
        values = {name: value for name, value in content.items() if name not in ("schema", "search_data")}
        if unknown := sorted(set(values) - known):
            raise CheckpointError(f"'{path}' has unknown settings {', '.join(unknown)}. Was a newer version at work?")
        values["exclude_names_of"] = tuple(values.get("exclude_names_of", ()))
        return SearchConfig(**values), content.get("search_data", {})
    except CheckpointError:
        raise
    except (BnasFaceError, TypeError) as error:
        raise CheckpointError(f"'{path}' cannot be used: {error}") from error


def _merged(before: SearchConfig, now: SearchConfig, given: Collection[str]) -> SearchConfig:
    old, new = asdict(before), asdict(presets.resolve(now))
    for name in sorted(set(given) & set(old) - MACHINE_FIELDS):
        if old[name] != new[name]:
            raise ConfigError(
                f"--{name.replace('_', '-')} is '{new[name]}', but search '{before.name}' was begun with "
                f"'{old[name]}'. Leave it out to go on, or search under a new --name."
            )
    return replace(before, **{name: new[name] for name in MACHINE_FIELDS & set(given)})


def save_state(run_dir: Path, tensors: Mapping[str, Any], searcher: Mapping[str, Any], seconds: float) -> None:
    """Write tensors and the searcher's state as one file, atomically: the earlier one stays until this one is whole."""
    from bnas_face.models import saved

    metadata = {"schema": STATE_SCHEMA, "searcher": json.dumps(searcher), "seconds": repr(seconds)}
    saved.save_tensors(run_dir / STATE, dict(tensors), metadata)


def load_state(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any], float] | None:
    """Tensors, the searcher's state and the seconds behind; None if nothing was saved yet.

    Raises
    ------
    CheckpointError
        If the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    from bnas_face.models import saved

    path = run_dir / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("schema") != STATE_SCHEMA:
            raise CheckpointError(f"'{path}' has schema '{metadata.get('schema')}'; expected '{STATE_SCHEMA}'.")
        searcher, seconds = json.loads(metadata["searcher"]), float(metadata["seconds"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"'{path}' is damaged: {reason}. Begin again with bnasface search --overwrite, or restore the file."
        ) from error
    return saved.load_tensors(path), searcher, seconds
