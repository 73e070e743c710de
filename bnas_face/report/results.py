"""``result.json`` as typed records, checked field by field before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face.errors import FormatError, ReportError
from bnas_face.files import read_json

SCHEMA = "bnas_face.result/1"
FILE_NAME = "result.json"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its confidence interval; None with a `reason` where it is undefined.

    Attributes
    ----------
    value, low, high : float or None
        The number and its interval, as fractions (an interval of a difference is signed).
    method : str
        How the interval was made ("Wilson 95 %", …); empty where unknown.
    reason : str
        Why the value is undefined; empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the report. Bits, counts and bytes are None where unknown; `raw` is its whole JSON object."""

    id: str
    weight_bits: int | None
    activation_bits: int | None
    n_parameters: int | None
    file_bytes: int | None
    twin: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol of the report; `raw` is its whole JSON object."""

    name: str
    title: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_folds: int
    raw: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tar:
    """TAR at one FMR target, or the reason why the data cannot support it (`refused`)."""

    fmr_target: float
    refused: str | None
    tar: Estimate
    fmr_achieved: float | None
    n_false_matches: int | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Error rates over thresholds: three sequences of equal length, rates as fractions in [0, 1]."""

    threshold: tuple[float, ...]
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of genuine and impostor scores in the bins between `edges` (one more than counts)."""

    edges: tuple[float, ...]
    genuine: tuple[float, ...]
    impostor: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A wrongly decided pair; images are paths relative to the report folder, or None."""

    fold: int
    reference_id: str
    probe_id: str
    is_genuine: bool
    score: float
    threshold: float
    reference_image: str | None
    probe_image: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One model on one protocol."""

    model: str
    protocol: str
    convention: str
    convention_stamp: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_failed: int
    accuracy: Estimate
    accuracy_std: float | None
    accuracy_sem: float | None
    thresholds: tuple[float, ...]
    auc: Estimate
    eer: Estimate
    eer_threshold: float | None
    tar_at_fmr: tuple[Tar, ...]
    curve: Curve | None
    histogram: Histogram | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model against its full-precision twin; `difference` is model − twin accuracy, a signed fraction.

    `p_holm` is the p-value corrected over all comparisons of the file, None where the file has no correction.
    """

    protocol: str
    model: str
    twin: str
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    p_method: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything ``result.json`` holds; `raw` is the whole JSON object."""

    created: str
    command: str
    models: tuple[Model, ...]
    protocols: tuple[Protocol, ...]
    outcomes: tuple[Outcome, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    raw: Mapping[str, Any]

    def outcome(self, protocol: str, model: str) -> Outcome | None:
        """The first outcome of a model on a protocol, or None where it was not evaluated."""
        found = (entry for entry in self.outcomes if (entry.protocol, entry.model) == (protocol, model))
        return next(found, None)


@dataclass(frozen=True)
class _Node:
    """A value in the file and the way to it, so that every error can name the place."""

    file: Path
    where: str
    value: Any

    def __getitem__(self, key: str) -> _Node:
        """The member `key`; an error if it is absent."""
        fields = self._checked(dict, "an object")
        if key not in fields:
            raise self._error(f"lacks the field '{self._below(key)}'")
        return _Node(self.file, self._below(key), fields[key])

    def get(self, key: str) -> _Node | None:
        """The member `key`, or None where it is absent or null."""
        value = self._checked(dict, "an object").get(key)
        return None if value is None else _Node(self.file, self._below(key), value)

    def items(self) -> list[_Node]:
        """The members of a list."""
        members = self._checked(list, "a list")
        return [_Node(self.file, f"{self.where}[{i}]", member) for i, member in enumerate(members)]

    def fields(self) -> dict[str, Any]:
        """The object as it stands."""
        found: dict[str, Any] = self._checked(dict, "an object")
        return found

    def text(self) -> str:
        """A string."""
        return str(self._checked(str, "text"))

    def number(self) -> float:
        """A finite number."""
        self._checked((int, float), "a number")
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise self._error(f"holds {self.value!r} in '{self.where}', expected a finite number")
        return float(self.value)

    def maybe(self) -> float | None:
        """A finite number or null."""
        return None if self.value is None else self.number()

    def integer(self) -> int:
        """A whole number of at least zero."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self._error(f"holds {self.value!r} in '{self.where}', expected a whole number of at least 0")
        return self.value

    def maybe_integer(self) -> int | None:
        """A whole number of at least zero, or null."""
        return None if self.value is None else self.integer()

    def numbers(self) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(member.number() for member in self.items())

    def one_of(self, known: set[str], kind: str) -> str:
        """A string that names one of `known`."""
        name = self.text()
        if name not in known:
            raise self._error(f"names the unknown {kind} '{name}' in '{self.where}'")
        return name

    def _below(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _checked(self, types: Any, expected: str) -> Any:
        if not isinstance(self.value, types):
            raise self._error(f"holds {self.value!r:.60} in '{self.where or 'the whole file'}', expected {expected}")
        return self.value

    def _error(self, what: str) -> ReportError:
        return ReportError(f"'{self.file}' {what}. Write it again with 'bnasface eval'.")


def load(folder: Path) -> Result:
    """Read ``result.json`` of a report folder.

    Raises
    ------
    ReportError
        If the file is absent, damaged, of another schema, or lacks a field; names the file and the field.
    """
    file = folder / FILE_NAME
    try:
        content = read_json(file)
    except FormatError as error:
        raise ReportError(f"{error} A report folder is written by 'bnasface eval --out {folder}'.") from None
    root = _Node(file, "", content)
    schema = root["schema"].text()
    if schema != SCHEMA:
        raise ReportError(f"'{file}' has the schema '{schema}', expected '{SCHEMA}'. Update bnas_face to read it.")
    notes = root.get("notes")
    models = tuple(_model(node) for node in root["models"].items())
    protocols = tuple(_protocol(node) for node in root["protocols"].items())
    known_models, known_protocols = {model.id for model in models}, {protocol.name for protocol in protocols}
    return Result(
        created=root["created"].text(),
        command=root["command"].text(),
        models=models,
        protocols=protocols,
        outcomes=tuple(_outcome(node, known_models, known_protocols) for node in root["results"].items()),
        comparisons=tuple(_comparison(node, known_models, known_protocols) for node in root["comparisons"].items()),
        notes=tuple(note.text() for note in notes.items()) if notes else (),
        raw=content,
    )


def _model(node: _Node) -> Model:
    twin = node["twin"]
    return Model(
        id=node["id"].text(),
        weight_bits=node["weight_bits"].maybe_integer(),
        activation_bits=node["activation_bits"].maybe_integer(),
        n_parameters=node["n_parameters"].maybe_integer(),
        file_bytes=node["file_bytes"].maybe_integer(),
        twin=None if twin.value is None else twin.text(),
        raw=node.fields(),
    )


def _protocol(node: _Node) -> Protocol:
    return Protocol(
        name=node["name"].text(),
        title=node["title"].text(),
        n_pairs=node["n_pairs"].integer(),
        n_genuine=node["n_genuine"].integer(),
        n_impostor=node["n_impostor"].integer(),
        n_folds=node["n_folds"].integer(),
        raw=node.fields(),
    )


def _outcome(node: _Node, models: set[str], protocols: set[str]) -> Outcome:
    accuracy, eer = node["accuracy"], node["eer"]
    curve, histogram, stamp = node.get("curve"), node.get("histogram"), node.get("convention_stamp")
    return Outcome(
        model=node["model"].one_of(models, "model"),
        protocol=node["protocol"].one_of(protocols, "protocol"),
        convention=node["convention"].text(),
        convention_stamp="" if stamp is None else stamp.text(),
        n_pairs=node["n_pairs"].integer(),
        n_genuine=node["n_genuine"].integer(),
        n_impostor=node["n_impostor"].integer(),
        n_failed=node["n_failed"].integer(),
        accuracy=_estimate(accuracy, "value"),
        accuracy_std=accuracy["std"].maybe(),
        accuracy_sem=accuracy["sem"].maybe(),
        thresholds=tuple(n for n in (m.maybe() for m in accuracy["thresholds"].items()) if n is not None),
        auc=_estimate(node["auc"], "value"),
        eer=_estimate(eer, "value"),
        eer_threshold=eer["threshold"].maybe(),
        tar_at_fmr=tuple(_tar(entry) for entry in node["tar_at_fmr"].items()),
        curve=None if curve is None else _curve(curve),
        histogram=None if histogram is None else _histogram(histogram),
        failures=tuple(_failure(entry) for entry in node["failures"].items()),
    )


def _estimate(node: _Node, key: str) -> Estimate:
    method, reason = node.get("ci_method"), node.get("reason")
    return Estimate(
        value=node[key].maybe(),
        low=node["ci_low"].maybe(),
        high=node["ci_high"].maybe(),
        method="" if method is None else method.text(),
        reason="" if reason is None else reason.text(),
    )


def _tar(node: _Node) -> Tar:
    refused = node["refused"]
    return Tar(
        fmr_target=node["fmr_target"].number(),
        refused=None if refused.value is None else refused.text(),
        tar=_estimate(node, "tar"),
        fmr_achieved=node["fmr_achieved"].maybe(),
        n_false_matches=node["n_false_matches"].maybe_integer(),
        threshold=node["threshold"].maybe(),
    )


def _curve(node: _Node) -> Curve:
    threshold, fmr, fnmr = (node[key].numbers() for key in ("threshold", "fmr", "fnmr"))
    if not len(threshold) == len(fmr) == len(fnmr):
        raise node._error(
            f"holds {len(threshold)}, {len(fmr)} and {len(fnmr)} points in '{node.where}', expected equal counts"
        )
    return Curve(threshold=threshold, fmr=fmr, fnmr=fnmr)


def _histogram(node: _Node) -> Histogram:
    edges, genuine, impostor = (node[key].numbers() for key in ("edges", "genuine", "impostor"))
    if not len(edges) - 1 == len(genuine) == len(impostor):
        raise node._error(f"holds {len(edges)} edges for {len(genuine)} and {len(impostor)} bins in '{node.where}'")
    return Histogram(edges=edges, genuine=genuine, impostor=impostor)


def _failure(node: _Node) -> Failure:
    reference, probe = node.get("reference_image"), node.get("probe_image")
    return Failure(
        fold=node["fold"].integer(),
        reference_id=node["reference_id"].text(),
        probe_id=node["probe_id"].text(),
        is_genuine=bool(node["is_genuine"].value),
        score=node["score"].number(),
        threshold=node["threshold"].number(),
        reference_image=None if reference is None else reference.text(),
        probe_image=None if probe is None else probe.text(),
    )


def _comparison(node: _Node, models: set[str], protocols: set[str]) -> Comparison:
    method, p_holm = node.get("p_method"), node.get("p_holm")
    return Comparison(
        protocol=node["protocol"].one_of(protocols, "protocol"),
        model=node["model"].one_of(models, "model"),
        twin=node["twin"].one_of(models, "model"),
        difference=_estimate(node, "difference"),
        p_value=node["p_value"].maybe(),
        p_holm=None if p_holm is None else p_holm.number(),
        p_method="" if method is None else method.text(),
    )
