"""Error rates by group of a metadata column, one global threshold for all: a table whose rows are also a dot plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bnas_face.report import figures, numbers
from bnas_face.report.detail import Group, SliceColumn
from bnas_face.report.estimate import Estimate
from bnas_face.report.records import Model, Outcome, Protocol, Result

MOST_GROUPS, MOST_COLUMNS = 40, 20
_CEILINGS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A rate on the axis of its column: positions in percent, None where it is undefined; and as text."""

    at: float | None
    low: float | None
    high: float | None
    rate: str
    span: str
    counts: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model in one group."""

    model: int
    mark: figures.Mark
    fmr: Strip
    fnmr: Strip


@dataclass(frozen=True, kw_only=True)
class Part:
    """One group: its counts, why it is small (or None), and a line for every model."""

    label: str
    n_genuine: int
    n_impostor: int
    n_failed: int
    small: str | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One metadata column of one protocol; `left_out` groups were too many to show.

    `columns_left_out` of the protocol are counted at its last table.
    """

    protocol: Protocol
    column: str
    parts: tuple[Part, ...]
    left_out: int
    fmr_ceiling: str
    fnmr_ceiling: str
    thresholds: tuple[tuple[int, str, str], ...]
    notes: tuple[str, ...]
    worst: str
    columns_left_out: int = 0


def tables(result: Result, marks: Sequence[figures.Mark]) -> list[Table]:
    """A table for every protocol and metadata column that at least one model was sliced by."""
    found = []
    for protocol in result.protocols:
        entries = result.entries(protocol)
        columns = list(dict.fromkeys(one.column for _, outcome in entries for one in outcome.slices))
        shown = [_table(protocol, column, entries, result.models, marks) for column in columns[:MOST_COLUMNS]]
        found += [*shown[:-1], *(replace(last, columns_left_out=len(columns) - len(shown)) for last in shown[-1:])]
    return found


def _table(
    protocol: Protocol,
    column: str,
    entries: Sequence[tuple[int, Outcome]],
    models: Sequence[Model],
    marks: Sequence[figures.Mark],
) -> Table:
    sliced = [(place, one) for place, outcome in entries for one in outcome.slices if one.column == column]
    labels = list(dict.fromkeys(group.label for _, one in sliced for group in one.groups))
    shown = _largest(labels, sliced)
    groups = {
        label: [(place, group) for place, one in sliced for group in one.groups if group.label == label]
        for label in shown
    }
    fmr = _scale([group.rates.fmr for same in groups.values() for _, group in same])
    fnmr = _scale([group.rates.fnmr for same in groups.values() for _, group in same])
    return Table(
        protocol=protocol,
        column=column,
        parts=tuple(_part(label, same, marks, fmr, fnmr) for label, same in groups.items()),
        left_out=len(labels) - len(shown),
        fmr_ceiling=f"{100 * fmr.high:g}",
        fnmr_ceiling=f"{100 * fnmr.high:g}",
        thresholds=tuple((place, numbers.score(one.threshold), one.threshold_method) for place, one in sliced),
        notes=tuple(dict.fromkeys(one.note for _, one in sliced if one.note)),
        worst=_worst(groups, [model.id for model in models]),
    )


def _worst(groups: Mapping[str, Sequence[tuple[int, Group]]], names: Sequence[str]) -> str:
    """The highest FNMR of a group that is not small, in words; empty where there is none."""
    known = [
        (group.rates.fnmr.value, label, names[place], group.n_genuine)
        for label, same in groups.items()
        for place, group in same
        if group.small is None and group.rates.fnmr.value is not None
    ]
    if len({label for _, label, *_ in known}) < 2:
        return ""
    value, label, name, n = max(known, key=lambda item: item[0])
    return f"highest FNMR {numbers.rate(value, n)} % ({label}, {name})"


def _largest(labels: Sequence[str], sliced: Sequence[tuple[int, SliceColumn]]) -> list[str]:
    """The `MOST_GROUPS` groups with the most pairs, in the order of the file."""
    size = {group.label: group.n_pairs for _, one in sliced for group in one.groups}
    kept = set(sorted(labels, key=lambda label: -size[label])[:MOST_GROUPS])
    return [label for label in labels if label in kept]


def _scale(rates: Sequence[Estimate]) -> figures.Scale:
    """From 0 to a round number above every rate and interval of a group that is drawn."""
    ends = [value for rate in rates for value in (rate.value, rate.high) if value is not None]
    most = max(ends, default=1.0)
    return figures.Scale(0.0, next(ceiling for ceiling in _CEILINGS if ceiling >= min(most, 1.0)), float)


def _part(
    label: str,
    same: Sequence[tuple[int, Group]],
    marks: Sequence[figures.Mark],
    fmr: figures.Scale,
    fnmr: figures.Scale,
) -> Part:
    first = same[0][1]
    return Part(
        label=label,
        n_genuine=first.n_genuine,
        n_impostor=first.n_impostor,
        n_failed=max(group.n_failed for _, group in same),
        small=next((group.small for _, group in same if group.small), None),
        lines=tuple(
            Line(
                model=place,
                mark=marks[place],
                fmr=_strip(group.rates.fmr, group.rates.n_false_matches, group.n_impostor, fmr),
                fnmr=_strip(group.rates.fnmr, group.rates.n_false_non_matches, group.n_genuine, fnmr),
            )
            for place, group in same
        ),
    )


def _strip(rate: Estimate, errors: int | None, n: int, scale: figures.Scale) -> Strip:
    def at(value: float | None) -> float | None:
        return None if value is None else scale.at(value)

    return Strip(
        at=at(rate.value),
        low=at(rate.low),
        high=at(rate.high),
        rate=numbers.rate(rate.value, n),
        span=numbers.rate_span(rate.low, rate.high, n),
        counts=numbers.MISSING if errors is None else f"{errors:,} of {n:,}",
        value=rate.value,
    )
