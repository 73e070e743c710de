"""Identification (1:N) on the page: the CMC curve, the table of ranks and that of the open set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bnas_face.report import figures, numbers
from bnas_face.report.estimate import Estimate
from bnas_face.report.identification import Identification, OpenSet
from bnas_face.report.records import Protocol, Result


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model on one protocol of identification."""

    index: int
    mark: figures.Mark
    found: Identification

    def share(self, rank: int) -> Estimate | None:
        """Rank-`rank` identification rate, or None where it was not asked for."""
        return next((entry.share for entry in self.found.ranks if entry.rank == rank), None)

    def open_set(self, target: float) -> OpenSet | None:
        """The open set at an FPIR target, or None where it was not asked for."""
        return next((entry for entry in self.found.open_set if entry.fpir_target == target), None)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A CMC curve: vertex i of `path` is rank i of the file."""

    model: int
    mark: figures.Mark
    path: str


@dataclass(frozen=True, kw_only=True)
class Cmc:
    """The CMC plot of a protocol: identification rate over rank (log axis from 1)."""

    x_ticks: tuple[figures.Tick, ...]
    y_ticks: tuple[figures.Tick, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Everything about one protocol; `ranks` and `targets` are the columns of its two tables.

    `alone` are the models that no comparison of this protocol speaks of.
    """

    place: int
    protocol: Protocol
    entries: tuple[Entry, ...]
    ranks: tuple[int, ...]
    targets: tuple[float, ...]
    cmc: Cmc | None
    without: tuple[str, ...]
    refusals: tuple[str, ...]
    notes: tuple[str, ...]
    alone: tuple[Entry, ...]


def blocks(result: Result, marks: Sequence[figures.Mark]) -> list[Block]:
    """A block for every protocol with a result of identification."""
    found = []
    for place, protocol in enumerate(result.protocols):
        entries = tuple(
            Entry(index=result.places[one.model], mark=marks[result.places[one.model]], found=one)
            for one in result.identifications
            if one.protocol == protocol.name
        )
        if entries:
            found.append(_block(place, protocol, entries, result))
    return found


def _block(place: int, protocol: Protocol, entries: tuple[Entry, ...], result: Result) -> Block:
    told = {name for c in result.comparisons if c.protocol == protocol.name for name in (c.model, c.twin)}
    open_sets = [one for entry in entries for one in entry.found.open_set]
    return Block(
        place=place,
        protocol=protocol,
        entries=entries,
        ranks=tuple(sorted({one.rank for entry in entries for one in entry.found.ranks})),
        targets=tuple(sorted({one.fpir_target for one in open_sets}, reverse=True)),
        cmc=_cmc(entries),
        without=tuple(result.models[entry.index].id for entry in entries if not entry.found.cmc_rank),
        refusals=tuple(dict.fromkeys(one.refused for one in open_sets if one.refused)),
        notes=_notes(entries),
        alone=tuple(entry for entry in entries if entry.found.model not in told and entry.share(1) is not None),
    )


def _notes(entries: Sequence[Entry]) -> tuple[str, ...]:
    closed = {one.share.method for entry in entries for one in entry.found.ranks} - {""}
    opened = {one.tpir.method for entry in entries for one in entry.found.open_set} - {""}
    stamps = sorted({entry.found.convention_stamp or entry.found.convention for entry in entries} - {""})
    text = [f"Convention {stamp.rstrip('.')}." for stamp in stamps]
    if closed:
        text.append(f"Interval of the rank-k rates: {', '.join(sorted(closed))}.")
    if opened:
        text.append(f"Interval of the TPIR: {', '.join(sorted(opened))}.")
    return tuple(text)


def _cmc(entries: Sequence[Entry]) -> Cmc | None:
    drawn = [entry for entry in entries if len(entry.found.cmc_rank) > 1 and entry.found.cmc_rank[0] >= 1]
    if not drawn:
        return None
    x = figures.Scale(1.0, float(max(entry.found.cmc_rank[-1] for entry in drawn)), math.log10)
    least = min(min(entry.found.cmc_value) for entry in drawn)
    floor = math.floor(10 * least + 1e-9) / 10
    y = figures.Scale(min(floor, 0.9), 1.0, float)
    steps = figures.round_steps(y.low, y.high, 5)
    ranks = [float(f * 10**power) for power in range(6) for f in (1, 2, 5)]
    return Cmc(
        x_ticks=x.ticks(ranks, ranks, lambda value: f"{value:g}"),
        y_ticks=y.ticks(steps, steps, lambda value: f"{100 * value:.6g}"),
        lines=tuple(Line(model=entry.index, mark=entry.mark, path=_path(entry.found, x, y)) for entry in drawn),
    )


def _path(found: Identification, x: figures.Scale, y: figures.Scale) -> str:
    return "M" + "L".join(f"{x.at(rank):g} {100 - y.at(value):.5g}" for rank, value in found.cmc)


def points(result: Result) -> dict[str, dict[str, list[str]]]:
    """What the page's script reads out at every point of the CMC curves, by ``cmc<protocol>-<model>``."""
    places = {protocol.name: place for place, protocol in enumerate(result.protocols)}
    return {
        f"cmc{places[one.protocol]}-{result.places[one.model]}": {
            "tips": [
                f"rank {rank}\n{numbers.percent(value, one.n_mated)} % of {one.n_mated:,} mated probes found"
                for rank, value in one.cmc
            ]
        }
        for one in result.identifications
        if one.cmc_rank
    }
