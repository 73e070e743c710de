"""The optional parts of a verification result: slices, bands, the moved threshold, accuracy without shared people."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.report import estimate
from bnas_face.report.estimate import Estimate
from bnas_face.report.node import Node


@dataclass(frozen=True, kw_only=True)
class Rates:
    """FMR and FNMR at one threshold with their intervals, and the errors they were counted from (None: unknown)."""

    fmr: Estimate
    fnmr: Estimate
    n_false_matches: int | None
    n_false_non_matches: int | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """The pairs that share a value of a metadata column; `small` says why they are too few, None where they are not."""

    label: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_failed: int
    rates: Rates
    small: str | None


@dataclass(frozen=True, kw_only=True)
class SliceColumn:
    """The groups of one metadata column, all decided at one global threshold."""

    column: str
    threshold: float | None
    threshold_method: str
    note: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Band:
    """Pointwise 95 % band of the error curve: the interval of the FNMR at each FMR; three sequences of equal length."""

    fmr: tuple[float, ...]
    fnmr_low: tuple[float, ...]
    fnmr_high: tuple[float, ...]
    method: str


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """The same result without the people that the training set also has; `reason` says why it is undefined."""

    n_people: int
    n_pairs: int
    n_left_out: int
    accuracy: Estimate
    auc: float | None
    reason: str
    method: str


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What the twin's threshold does to a binarized model: rates at the model's `own` and at the `moved` threshold."""

    threshold: float
    threshold_method: str
    own_threshold: float
    own: Rates
    moved: Rates


@dataclass(frozen=True, kw_only=True)
class TarDifference:
    """Model − twin TAR at one FMR target."""

    fmr_target: float
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class Development:
    """The pairs decided at a threshold that was fitted on another protocol and saw none of them."""

    protocol: str
    threshold: float
    threshold_method: str
    accuracy: Estimate
    rates: Rates


def slices(node: Node) -> tuple[SliceColumn, ...]:
    """``slices`` of a result; none where it has none."""
    found = node.get("slices")
    return tuple(_column(entry) for entry in found.items()) if found else ()


def _column(node: Node) -> SliceColumn:
    return SliceColumn(
        column=node["column"].text(),
        threshold=node["threshold"].maybe(),
        threshold_method=estimate.optional_text(node, "threshold_method"),
        note=estimate.optional_text(node, "note"),
        groups=tuple(_group(entry) for entry in node["groups"].items()),
    )


def _group(node: Node) -> Group:
    small = node.get("small")
    return Group(
        label=node["label"].text(),
        n_pairs=node["n_pairs"].integer(),
        n_genuine=node["n_genuine"].integer(),
        n_impostor=node["n_impostor"].integer(),
        n_failed=node["n_failed"].integer(),
        rates=_rates(node),
        small=None if small is None else small.text(),
    )


def _rates(node: Node) -> Rates:
    return Rates(
        fmr=estimate.read_rate(node, "fmr"),
        fnmr=estimate.read_rate(node, "fnmr"),
        n_false_matches=node["n_false_matches"].maybe_integer(),
        n_false_non_matches=node["n_false_non_matches"].maybe_integer(),
    )


def band(node: Node) -> Band | None:
    """``band`` of a result, its points of known interval; None where there are none, as with a handful of pairs.

    Raises
    ------
    ReportError
        If its sequences differ in length.
    """
    found = node.get("band")
    if found is None:
        return None
    columns = [[entry.maybe_rate() for entry in found[key].items()] for key in ("fmr", "fnmr_low", "fnmr_high")]
    n_fmr, n_low, n_high = map(len, columns)
    if not n_fmr == n_low == n_high:
        raise found.error(f"holds {n_fmr}, {n_low} and {n_high} points in '{found.where}', expected equal counts")
    points = [
        (fmr, low, high)
        for fmr, low, high in zip(*columns, strict=True)
        if fmr is not None and low is not None and high is not None
    ]
    if not points:
        return None
    fmr, low, high = zip(*points, strict=True)
    return Band(fmr=fmr, fnmr_low=low, fnmr_high=high, method=estimate.optional_text(found, "method"))


def overlap(node: Node) -> Overlap | None:
    """``without_overlap`` of a result; None where the training set is not known."""
    found = node.get("without_overlap")
    if found is None:
        return None
    auc = found.get("auc")
    return Overlap(
        n_people=found["n_people"].integer(),
        n_pairs=found["n_pairs"].integer(),
        n_left_out=found["n_left_out"].integer(),
        accuracy=_maybe_estimate(found),
        auc=None if auc is None else auc.maybe_rate(),
        reason=estimate.optional_text(found, "reason"),
        method=estimate.optional_text(found, "method"),
    )


def _maybe_estimate(node: Node) -> Estimate:
    """``accuracy`` of an object; undefined where it is null."""
    found = node.get("accuracy")
    if found is None:
        reason = estimate.optional_text(node, "reason")
        return Estimate(value=None, low=None, high=None, method="", reason=reason)
    return estimate.read(found)


def transfer(node: Node) -> Transfer | None:
    """``transfer`` of a comparison; None where it has none."""
    found = node.get("transfer")
    if found is None:
        return None
    return Transfer(
        threshold=found["threshold"].number(),
        threshold_method=estimate.optional_text(found, "threshold_method"),
        own_threshold=found["own_threshold"].number(),
        own=_rates(found["own"]),
        moved=_rates(found["moved"]),
    )


def auc_difference(node: Node) -> Estimate | None:
    """``auc_difference`` of a comparison (model − twin); None where it has none."""
    found = node.get("auc_difference")
    return None if found is None else estimate.read(found, least=-1.0)


def tar_differences(node: Node) -> tuple[TarDifference, ...]:
    """``tar_difference`` of a comparison, one for each FMR target; none where it has none."""
    found = node.get("tar_difference")
    return tuple(
        TarDifference(fmr_target=entry["fmr_target"].number(), difference=estimate.read(entry, least=-1.0))
        for entry in (found.items() if found else [])
    )


def development(node: Node) -> Development | None:
    """``development`` of a result; None where no development protocol was named."""
    found = node.get("development")
    if found is None:
        return None
    return Development(
        protocol=found["protocol"].text(),
        threshold=found["threshold"].number(),
        threshold_method=estimate.optional_text(found, "threshold_method"),
        accuracy=estimate.read(found["accuracy"]),
        rates=_rates(found),
    )
