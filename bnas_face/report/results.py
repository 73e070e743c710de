"""``result.json`` as typed records, checked field by field before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face.errors import FormatError, ReportError
from bnas_face.files import read_json
from bnas_face.genotype import Genotype, from_json
from bnas_face.report.node import Node

SCHEMA = "bnas_face.result/1"
FILE_NAME = "result.json"
OBJECTS = "classification"


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
    """A model of the report. Bits, counts and bytes are None where unknown; `raw` is its whole JSON object.

    `genotype` is that of a searched network, with its origin; None for every other.
    """

    id: str
    weight_bits: int | None
    activation_bits: int | None
    n_parameters: int | None
    file_bytes: int | None
    twin: str | None
    raw: Mapping[str, Any]
    genotype: Genotype | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol of the report; `raw` is its whole JSON object.

    `n_images` and `n_classes` belong to object recognition and are 0 for protocols of pairs.
    """

    name: str
    title: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_folds: int
    raw: Mapping[str, Any]
    n_images: int = 0
    n_classes: int = 0

    @property
    def is_of_objects(self) -> bool:
        """Whether objects are recognised, instead of faces verified."""
        return self.raw.get("task") == OBJECTS

    @property
    def n(self) -> int:
        """Images or pairs that decisions are made on."""
        return self.n_images if self.is_of_objects else self.n_pairs


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
    top1: Estimate | None = None
    top5: Estimate | None = None
    n_images: int = 0

    @property
    def is_of_objects(self) -> bool:
        """Whether objects are recognised, instead of faces verified."""
        return self.top1 is not None

    @property
    def n(self) -> int:
        """Decisions the accuracy is counted over."""
        return self.n_images if self.is_of_objects else self.n_pairs

    @property
    def unit(self) -> str:
        """What is decided about: images or pairs."""
        return "images" if self.is_of_objects else "pairs"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model against its full-precision twin; `difference` is model − twin accuracy, a signed fraction.

    `p_holm` is the p-value corrected over all comparisons of the file, None where the file has no correction;
    `smallest_gap` is the smallest gap the test would have called significant, None where none or where unknown.
    """

    protocol: str
    model: str
    twin: str
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    p_method: str
    smallest_gap: float | None = None


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
    except (FormatError, RecursionError) as error:
        reason = error if isinstance(error, FormatError) else f"'{file}' is nested too deeply to be a result."
        raise ReportError(f"{reason} A report folder is written by 'bnasface eval --out {folder}'.") from None
    root = Node(file, "", content)
    schema = root["schema"].text()
    if schema != SCHEMA:
        raise ReportError(f"'{file}' has the schema '{schema}', expected '{SCHEMA}'. Update bnas_face to read it.")
    notes = root.get("notes")
    models = tuple(_model(node) for node in root["models"].items())
    protocols = tuple(_protocol(node) for node in root["protocols"].items())
    known_models = _distinct(root["models"], [model.id for model in models])
    known_protocols = _distinct(root["protocols"], [protocol.name for protocol in protocols])
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


def _distinct(node: Node, names: list[str]) -> set[str]:
    """The names, each once; an error names one that stands twice."""
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise node.error(f"holds '{twice[0]}' twice in '{node.where}', expected different names")
    return set(names)


def _model(node: Node) -> Model:
    twin = node["twin"]
    return Model(
        id=node["id"].text(),
        weight_bits=node["weight_bits"].maybe_integer(),
        activation_bits=node["activation_bits"].maybe_integer(),
        n_parameters=node["n_parameters"].maybe_integer(),
        file_bytes=node["file_bytes"].maybe_integer(),
        twin=None if twin.value is None else twin.text(),
        raw=node.fields(),
        genotype=_genotype(node),
    )


def _genotype(node: Node) -> Genotype | None:
    found = node.get("genotype")
    if found is None:
        return None
    try:
        return from_json(found.fields(), found.where)
    except FormatError as error:
        raise found.error(f"holds no genotype: {str(error).removesuffix('.')}") from error


def _protocol(node: Node) -> Protocol:
    return Protocol(
        name=node["name"].text(),
        title=node["title"].text(),
        n_pairs=node["n_pairs"].integer(),
        n_genuine=node["n_genuine"].integer(),
        n_impostor=node["n_impostor"].integer(),
        n_folds=node["n_folds"].integer(),
        raw=node.fields(),
        n_images=_count(node, "n_images"),
        n_classes=_count(node, "n_classes"),
    )


def _count(node: Node, key: str) -> int:
    found = node.get(key)
    return 0 if found is None else found.integer()


def _outcome(node: Node, models: set[str], protocols: set[str]) -> Outcome:
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
        accuracy_std=accuracy["std"].maybe_rate(),
        accuracy_sem=accuracy["sem"].maybe(),
        thresholds=tuple(n for n in (m.maybe() for m in accuracy["thresholds"].items()) if n is not None),
        auc=_estimate(node["auc"], "value"),
        eer=_estimate(eer, "value"),
        eer_threshold=eer["threshold"].maybe(),
        tar_at_fmr=tuple(_tar(entry) for entry in node["tar_at_fmr"].items()),
        curve=None if curve is None else _curve(curve),
        histogram=None if histogram is None else _histogram(histogram),
        failures=tuple(_failure(entry) for entry in node["failures"].items()),
        **_recognition(node),
    )


def _recognition(node: Node) -> dict[str, Any]:
    """The fields of object recognition; none for verification."""
    task = node.get("task")
    if task is None or task.text() != OBJECTS:
        return {}
    top = {name: _estimate(node[name], "value") for name in ("top1", "top5")}
    return {**top, "n_images": node["n_images"].integer()}


def _estimate(node: Node, key: str, least: float = 0.0) -> Estimate:
    method, reason = node.get("ci_method"), node.get("reason")
    return Estimate(
        value=node[key].maybe_rate(least),
        low=node["ci_low"].maybe(),
        high=node["ci_high"].maybe(),
        method="" if method is None else method.text(),
        reason="" if reason is None else reason.text(),
    )


def _tar(node: Node) -> Tar:
    refused = node["refused"]
    return Tar(
        fmr_target=node["fmr_target"].number(),
        refused=None if refused.value is None else refused.text(),
        tar=_estimate(node, "tar"),
        fmr_achieved=node["fmr_achieved"].maybe_rate(),
        n_false_matches=node["n_false_matches"].maybe_integer(),
        threshold=node["threshold"].maybe(),
    )


def _curve(node: Node) -> Curve:
    threshold, fmr, fnmr = node["threshold"].numbers(), node["fmr"].rates(), node["fnmr"].rates()
    if not len(threshold) == len(fmr) == len(fnmr):
        raise node.error(
            f"holds {len(threshold)}, {len(fmr)} and {len(fnmr)} points in '{node.where}', expected equal counts"
        )
    return Curve(threshold=threshold, fmr=fmr, fnmr=fnmr)


def _histogram(node: Node) -> Histogram:
    edges, genuine, impostor = (node[key].numbers() for key in ("edges", "genuine", "impostor"))
    if not len(edges) - 1 == len(genuine) == len(impostor):
        raise node.error(f"holds {len(edges)} edges for {len(genuine)} and {len(impostor)} bins in '{node.where}'")
    return Histogram(edges=edges, genuine=genuine, impostor=impostor)


def _failure(node: Node) -> Failure:
    reference, probe = node.get("reference_image"), node.get("probe_image")
    return Failure(
        fold=node["fold"].integer(),
        reference_id=node["reference_id"].text(),
        probe_id=node["probe_id"].text(),
        is_genuine=node["is_genuine"].flag(),
        score=node["score"].number(),
        threshold=node["threshold"].number(),
        reference_image=None if reference is None else reference.text(),
        probe_image=None if probe is None else probe.text(),
    )


def _comparison(node: Node, models: set[str], protocols: set[str]) -> Comparison:
    method, p_holm, smallest = node.get("p_method"), node.get("p_holm"), node.get("smallest_gap")
    return Comparison(
        protocol=node["protocol"].one_of(protocols, "protocol"),
        model=node["model"].one_of(models, "model"),
        twin=node["twin"].one_of(models, "model"),
        difference=_estimate(node, "difference", -1.0),
        p_value=node["p_value"].maybe_rate(),
        p_holm=None if p_holm is None else p_holm.maybe_rate(),
        p_method="" if method is None else method.text(),
        smallest_gap=None if smallest is None else smallest.maybe_rate(),
    )
