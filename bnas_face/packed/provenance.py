"""What a packed file says of its origin, checked: anybody can write it, and results and pages are made of it.

Nothing of it is computed with by the engine. What is not as `pack.pack` writes it counts as not said.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face import genotype as genotypes
from bnas_face.errors import FormatError

FLOATS = ("int8", "fp16", "fp32")
"""How weights that are no bits may be stored, see `pack.lower`."""
TASKS = ("embedding", "classification")
COUNTS = (
    *("weight_bits", "activation_bits", "n_parameters", "n_binary_parameters", "n_float_parameters", "packed_bytes"),
    *("n_binary_macs", "n_float_macs", "n_ops"),
)
OF_LAYERS = ("n_layers", "n_parameters", "packed_bytes", "n_macs")
MOST = 10**15
"""Bytes, operations: beyond it, a number is damage."""
DEEPEST = 24
"""Objects within objects."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a packed model comes from.

    Attributes
    ----------
    backbone, binarizer : str
        ``"packed"`` and ``"none"`` where the file does not say.
    task : str
        One of `TASKS`.
    class_names : tuple of str
    floats : str or None
        One of `FLOATS`; None where the file does not say.
    weights_sha256 : str or None
        Of the run's weights.
    counts : mapping
        `COUNTS`, whole numbers from 0 to `MOST`; None where the file does not say.
    layers : list or None
        Rows of ``kind`` and `OF_LAYERS`, as `models.cost.by_kind` gives them.
    genotype : mapping or None
        That `genotype.from_json` reads.
    settings : mapping
        The run's config.json: JSON values that can be written again.
    """

    backbone: str
    binarizer: str
    task: str
    class_names: tuple[str, ...]
    floats: str | None
    weights_sha256: str | None
    counts: Mapping[str, int | None]
    layers: list[dict[str, Any]] | None
    genotype: Mapping[str, Any] | None
    settings: Mapping[str, Any]


def origin(provenance: Mapping[str, Any]) -> Origin:
    """What the provenance of a packed file says, as far as it can be used."""
    said = _mapping(_plain(dict(provenance), DEEPEST))
    settings, cost = _settings(_mapping(said.get("config"))), _mapping(said.get("cost"))
    model, data = _mapping(settings.get("model")), _mapping(settings.get("training_data"))
    names = data.get("class_names")
    return Origin(
        backbone=str(model.get("backbone", "packed")),
        binarizer=str(model.get("binarizer", "none")),
        task=_one_of(TASKS, model.get("task")) or TASKS[0],
        class_names=tuple(map(str, names)) if isinstance(names, list) else (),
        floats=_one_of(FLOATS, said.get("floats")),
        weights_sha256=_hash(said.get("weights_sha256")),
        counts={name: _whole(cost.get(name)) for name in COUNTS},
        layers=_layers(said.get("layers")),
        genotype=_genotype(model.get("genotype")),
        settings=settings,
    )


def model_id(path: Path) -> str:
    """What a packed file is called in results and benches: ``mine-packed`` of runs/mine/model.bnn and of mine.bnn."""
    return f"{path.resolve().parent.name if path.stem == 'model' else path.stem}-packed"


def portable(value: Any) -> Any:
    """A JSON value whose paths from the root, home or a parent folder on are cut to their last part.

    ``"records:/home/me/sets/casia"`` is ``"records:casia"``: a file for others does not tell of folders here.
    """
    if isinstance(value, str):
        found = re.fullmatch(r"(\w{2,}:)?(?:/(?!/)|~|\.\.?/|\w:[/\\]).*", value)
        return value if found is None else (found[1] or "") + re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    if isinstance(value, list | tuple):
        return [portable(member) for member in value]
    if isinstance(value, Mapping):
        return {key: portable(member) for key, member in value.items()}
    return value


def _plain(value: Any, depth: int) -> Any:
    """A JSON value without what could not be written again: infinities, half characters, endless nesting."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(member, depth - 1) for member in value] if depth else None
    if isinstance(value, Mapping):
        return {_plain(str(key), 0): _plain(member, depth - 1) for key, member in value.items()} if depth else None
    return value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run, without those of its data that are of another type than a run's."""
    fits: dict[str, Callable[[Any], bool]] = {
        "dataset": lambda value: isinstance(value, str),
        "exclude_names_of": _are_texts,
        "min_images": lambda value: _whole(value) is not None,
        "training_data": lambda value: isinstance(value, dict),
    }
    return {name: value for name, value in found.items() if value is None or fits.get(name, lambda _: True)(value)}


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, str) for member in value)


def _one_of(known: tuple[str, ...], value: Any) -> str | None:
    return value if isinstance(value, str) and value in known else None


def _hash(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) == 64 and set(value) <= set(string.hexdigits) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST else None


def _layers(value: Any) -> list[dict[str, Any]] | None:
    """All rows or none: some of them would be a wrong sum."""
    rows = [_layer(_mapping(row)) for row in value] if isinstance(value, list) else [None]
    known = [row for row in rows if row is not None]
    sound = len(known) == len(rows) and all(sum(row[name] for row in known) <= MOST for name in OF_LAYERS)
    return known if sound else None


def _layer(row: dict[str, Any]) -> dict[str, Any] | None:
    numbers = {name: _whole(row.get(name)) for name in OF_LAYERS}
    kind = row.get("kind")
    return {"kind": kind, **numbers} if isinstance(kind, str) and None not in numbers.values() else None


def _genotype(value: Any) -> Mapping[str, Any] | None:
    try:
        genotypes.from_json(value)
    except FormatError:
        return None
    found: Mapping[str, Any] = value
    return found
