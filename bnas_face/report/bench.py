"""``bench.json`` as typed records, checked field by field, and which of its rows belong to an evaluated model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bnas_face.errors import FormatError, ReportError
from bnas_face.files import read_json
from bnas_face.report.node import Node
from bnas_face.report.records import Measured, Model, Result

SCHEMA = "bnas_face.bench/1"
FILE_NAME = "bench.json"
WRITER = "bnasface bench"
PACKED = "packed"
OF_RUNS = "fp16"
"""The floats of the packed file that is made of a run unless somebody asks for another."""
EXACT = "fp32"
MOST = 10**15
"""Bytes, operations, milliseconds: beyond it, a number is damage."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model of the bench; None where it is not known."""

    id: str
    weight_bits: int | None
    activation_bits: int | None
    n_parameters: int | None
    n_binary_parameters: int | None
    n_binary_macs: int | None
    n_float_macs: int | None
    n_ops: int | None
    weights_sha256: str | None
    packed_from_sha256: str | None

    @property
    def n_float_parameters(self) -> int | None:
        """All parameters but the 1-bit weights."""
        if self.n_parameters is None or self.n_binary_parameters is None:
            return None
        return max(0, self.n_parameters - self.n_binary_parameters)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in an engine with a number of threads and a batch size; without times there is a `reason`.

    `floats` says how a packed file stores the weights that are no bits; None for other files, and where it is unknown.
    """

    model: str
    engine: str
    title: str
    threads: int
    batch: int
    is_quantised: bool
    floats: str | None
    reason: str
    file_bytes: int | None
    file_format: str
    file_sha256: str | None
    p50_ms: float | None
    p95_ms: float | None
    images_per_s: float | None
    peak_bytes: int | None

    @property
    def label(self) -> str:
        """The engine, and how its packed file stores floats."""
        return f"{self.title} {self.floats}" if self.floats else self.title


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything ``bench.json`` holds."""

    created: str
    cpu: str
    cores: int | None
    usable_cores: int | None
    versions: tuple[tuple[str, str], ...]
    kernels: str
    calibration: str
    rounds: int
    seconds: float
    networks: tuple[Network, ...]
    rows: tuple[Row, ...]

    @property
    def measured(self) -> list[Row]:
        """Rows with times."""
        return [row for row in self.rows if row.p50_ms is not None]


def load(folder: Path) -> Bench | None:
    """Read ``bench.json`` of a report folder; None where there is none.

    Raises
    ------
    ReportError
        If the file is damaged, of another schema, or lacks a field; names the file and the field.
    """
    file = folder / FILE_NAME
    if not file.exists():
        return None
    try:
        root = Node(file, "", read_json(file), WRITER)
    except FormatError as error:
        raise ReportError(f"{error} Write it again with '{WRITER} --out {folder}'.") from None
    schema = root["schema"].text()
    if schema != SCHEMA:
        raise ReportError(f"'{file}' has the schema '{schema}', expected '{SCHEMA}'. Update bnas_face to read it.")
    networks = tuple(_network(node) for node in root["models"].items())
    known = {network.id: network for network in networks}
    if len(known) < len(networks):
        raise root.error("names a model twice in 'models'")
    environment, usable = root["environment"], root["environment"].get("usable_cores")
    return Bench(
        created=root["created"].text(),
        cpu=environment["cpu"].text(),
        cores=environment["cores"].maybe_integer(),
        usable_cores=None if usable is None else usable.maybe_integer(),
        versions=tuple((name, str(value)) for name, value in root["versions"].fields().items()),
        kernels=root["kernels"].text(),
        calibration=root["calibration"].text(),
        rounds=root["rounds"].integer(),
        seconds=root["seconds"].number(),
        networks=networks,
        rows=tuple(_row(node, known) for node in root["rows"].items()),
    )


def _network(node: Node) -> Network:
    return Network(
        id=node["id"].text(),
        weight_bits=_amount(node, "weight_bits"),
        activation_bits=_amount(node, "activation_bits"),
        n_parameters=_amount(node, "n_parameters"),
        n_binary_parameters=_amount(node, "n_binary_parameters"),
        n_binary_macs=_amount(node, "n_binary_macs"),
        n_float_macs=_amount(node, "n_float_macs"),
        n_ops=_amount(node, "n_ops"),
        weights_sha256=_text(node, "weights_sha256") or None,
        packed_from_sha256=_text(node, "packed_from_sha256") or None,
    )


def _row(node: Node, known: Mapping[str, Network]) -> Row:
    network = known[node["model"].one_of(set(known), "model")]
    threads, batch = (_amount(node, name) or 0 for name in ("threads", "batch"))
    times = {name: _positive(node, name) for name in ("p50_ms", "p95_ms", "images_per_s")}
    reason = _text(node, "reason")
    if len({value is None for value in times.values()} | {bool(reason)}) > 1:
        raise node.error(f"has neither all times nor a reason in '{node.where}'")
    if not threads or not batch:
        raise node.error(f"holds no number of threads or images in '{node.where}'")
    return Row(
        model=network.id,
        engine=node["engine"].text(),
        title=node["title"].text(),
        threads=threads,
        batch=batch,
        is_quantised=node["is_quantised"].flag(),
        floats=_floats(node, network),
        reason=reason,
        file_bytes=_amount(node, "file_bytes"),
        file_format=_text(node, "file_format"),
        file_sha256=_text(node, "file_sha256") or None,
        peak_bytes=_amount(node, "peak_bytes"),
        **times,
    )


def _floats(node: Node, network: Network) -> str | None:
    """How a packed file stores floats; files of before this was told pack runs in one way."""
    of_run = node["engine"].text() == PACKED and network.packed_from_sha256 is None and node["reason"].value is None
    return _text(node, "floats") or (OF_RUNS if of_run else None)


def _text(node: Node, key: str) -> str:
    found = node.get(key)
    return "" if found is None else found.text()


def _amount(node: Node, key: str) -> int | None:
    found = node[key].maybe_integer()
    if found is not None and found > MOST:
        raise node.error(f"holds a number beyond {MOST:.0e} in '{node.where}.{key}'")
    return found


def _positive(node: Node, key: str) -> float | None:
    found = node[key].maybe()
    if found is not None and not 1 / MOST <= found <= MOST:
        raise node.error(f"holds {found!r} in '{node.where}.{key}', expected more than 0 and at most {MOST:.0e}")
    return found


def joined(result: Result, bench: Bench | None) -> Result:
    """The result with what was measured of its models."""
    if bench is None:
        return result
    models = tuple(replace(model, measured=measured_of(model, bench)) for model in result.models)
    return replace(result, models=models)


def measured_of(model: Model, bench: Bench) -> Measured | None:
    """The smallest file and the shortest time of an evaluated model, of the rows that have its numbers; or None."""
    networks = {network.id: network for network in bench.networks}
    rows = [row for row in bench.measured if _is_of(model, networks[row.model], row)]
    sizes = [row.file_bytes for row in rows if row.file_bytes]
    if not sizes:
        return None
    threads, batch = fewest(bench)
    timed = [row for row in rows if (row.threads, row.batch) == (threads, batch)]
    best = min(timed, key=lambda row: row.p50_ms or 0.0, default=None)
    return Measured(
        file_bytes=min(sizes),
        engine=best.label if best else "",
        threads=threads,
        batch=batch,
        p50_ms=best.p50_ms if best else None,
    )


def fewest(bench: Bench) -> tuple[int, int]:
    """The fewest threads and the smallest batch that were asked for; 1 and 1 of nothing."""
    return min((row.threads for row in bench.rows), default=1), min((row.batch for row in bench.rows), default=1)


def _is_of(model: Model, network: Network, row: Row) -> bool:
    """Whether a row was measured on the numbers of an evaluated model.

    Models are the same by the hash of the file that was run, or by that of their weights and their bits (a network and
    its twin may begin with the same weights); by name only where a result has no hash. A packed file is the network it
    was made from, in the packed engine, where its floats are stored alike: `_packing`. Weights that were rounded for an
    engine are another network.
    """
    own = _text_of(model, "weights_sha256")
    if own is not None and own == row.file_sha256:
        return True
    if row.is_quantised or not _have_the_same_bits(model, network):
        return False
    origin, of_row = own, network.weights_sha256
    if row.engine == PACKED:
        if row.floats is None or row.floats != _packing(model):
            return False
        origin, of_row = _text_of(model, "packed_from_sha256") or own, network.packed_from_sha256 or of_row
    return model.id == network.id if origin is None else origin == of_row


def _packing(model: Model) -> str | None:
    """How the floats of a packed file are stored whose rows are a model's; None: of no packed file but itself.

    That of a packed file is its own. A 1-bit run is what `bnasface export` makes of it by default, whose embeddings
    are rounded; a float run has nothing but floats, and is itself only where they are not.
    """
    if _text_of(model, "packed_from_sha256") is not None or model.raw.get("file_format") == PACKED:
        return _text_of(model, "floats")
    return OF_RUNS if model.weight_bits == 1 else EXACT


def _have_the_same_bits(model: Model, network: Network) -> bool:
    pairs = ((model.weight_bits, network.weight_bits), (model.activation_bits, network.activation_bits))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _text_of(model: Model, key: str) -> str | None:
    found: Any = model.raw.get(key)
    return found if isinstance(found, str) and found else None
