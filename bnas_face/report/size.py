"""Accuracy against bytes: every model as a point, the Pareto front, and what the bytes consist of.

Milliseconds are not in a result, so there is no axis for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnas_face.report import figures, numbers
from bnas_face.report.records import Model, Outcome, Protocol, Result

_ROOM = 1.35  # the axis goes on by this factor left and right of the models
_LETTER, _LINE, _NAME_MOST = 1.6, 5.5, 41.0  # of a name: width of a letter, height and greatest width in percent


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model: `size_bytes` of its file, or computed for a 1-bit network whose file holds floats (`is_computed`)."""

    model: int
    name: str
    mark: figures.Mark
    size_bytes: int
    is_computed: bool
    accuracy: float
    shown: str
    span: str
    x: float
    y: float
    low: float | None
    high: float | None
    on_front: bool
    on_measured_front: bool


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One protocol. `front` joins the best of the files there are, `computed_front` counts computed sizes too.

    `labels` says where the name of each point stands ("right above", …); empty where it would cover another.
    """

    protocol: Protocol
    caption: str
    x_ticks: tuple[figures.Tick, ...]
    y_ticks: tuple[figures.Tick, ...]
    points: tuple[Point, ...]
    front: str
    computed_front: str
    without: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the parameters and bytes of a model are; None where the result does not say."""

    index: int
    model: Model
    mark: figures.Mark
    n_binary: int | None
    n_float: int | None
    packed_bytes: int | None
    file_format: str


def is_simulated(model: Model) -> bool:
    """Whether its file holds floats of which the network uses one bit only."""
    return "simulated" in str(model.raw.get("file_format") or "")


def packed_bytes(model: Model) -> int | None:
    """The computed size with 1-bit weights at one bit, or None."""
    return _whole(model, "packed_bytes")


def size_of(model: Model) -> tuple[int, bool] | None:
    """Bytes and whether they are computed: of a simulated network its packed size, of any other its file."""
    packed = packed_bytes(model)
    if is_simulated(model) and packed:
        return packed, True
    return (model.file_bytes, False) if model.file_bytes else None


def costs(result: Result, marks: Sequence[figures.Mark]) -> list[Cost]:
    """A row for every model."""
    return [
        Cost(
            index=place,
            model=model,
            mark=marks[place],
            n_binary=_whole(model, "n_binary_parameters"),
            n_float=_n_float(model),
            packed_bytes=packed_bytes(model),
            file_format=str(model.raw.get("file_format") or ""),
        )
        for place, model in enumerate(result.models)
    ]


def _whole(model: Model, key: str) -> int | None:
    found = model.raw.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _n_float(model: Model) -> int | None:
    found, binary = _whole(model, "n_float_parameters"), _whole(model, "n_binary_parameters")
    if found is None and model.n_parameters is not None and binary is not None:
        return max(0, model.n_parameters - binary)
    return found


def plots(result: Result, marks: Sequence[figures.Mark]) -> list[Plot]:
    """One plot for every protocol with at least two models of known size and accuracy."""
    found = (plot(protocol, result.entries(protocol), result.models, marks) for protocol in result.protocols)
    return [one for one in found if one is not None]


def plot(
    protocol: Protocol,
    entries: Sequence[tuple[int, Outcome]],
    models: Sequence[Model],
    marks: Sequence[figures.Mark],
    caption: str = "",
) -> Plot | None:
    """The plot of one protocol, or None where fewer than two models have a place in it."""
    sized = [(place, entry, size_of(models[place])) for place, entry in entries]
    drawn = [(p, e, size) for p, e, size in sized if size is not None and e.accuracy.value is not None]
    if len(drawn) < 2:
        return None
    x = figures.Scale(min(s for *_, (s, _) in drawn) / _ROOM, max(s for *_, (s, _) in drawn) * _ROOM, math.log10)
    y = _accuracy_scale([entry for _, entry, _ in drawn])
    every = {place: (size, entry.accuracy.value or 0.0) for place, entry, (size, _) in drawn}
    files = {place: every[place] for place, _, (_, computed) in drawn if not computed}
    front, measured = pareto(every), pareto(files)
    points = tuple(
        Point(
            model=place,
            name=models[place].id,
            mark=marks[place],
            size_bytes=size,
            is_computed=computed,
            accuracy=entry.accuracy.value or 0.0,
            shown=numbers.percent(entry.accuracy.value, entry.n),
            span=numbers.span(entry.accuracy.low, entry.accuracy.high, entry.n),
            x=x.at(size),
            y=_top(y, entry.accuracy.value) or 0.0,
            low=_top(y, entry.accuracy.low),
            high=_top(y, entry.accuracy.high),
            on_front=place in front,
            on_measured_front=place in measured,
        )
        for place, entry, (size, computed) in sorted(drawn, key=lambda item: item[2])
    )
    steps = figures.round_steps(y.low, y.high, 5)
    return Plot(
        protocol=protocol,
        caption=caption or ("top-1 %" if protocol.is_of_objects else "accuracy %"),
        x_ticks=_byte_ticks(x),
        y_ticks=y.ticks(steps, steps, lambda value: f"{100 * value:.6g}"),
        points=points,
        front=_staircase(points, {place for place in measured}),
        computed_front=_staircase(points, {place for place in front}) if front != measured else "",
        without=tuple(models[place].id for place, entry, size in sized if size is None or entry.accuracy.value is None),
        labels=_labels(points),
    )


def pareto(known: dict[int, tuple[int, float]]) -> set[int]:
    """Models of which no other is both smaller (or equal) and more accurate (or equal), one of them truly."""

    def beaten(own: tuple[int, float]) -> bool:
        return any(size <= own[0] and value >= own[1] and (size, value) != own for size, value in known.values())

    return {place for place, own in known.items() if not beaten(own)}


def _labels(points: Sequence[Point]) -> tuple[str, ...]:
    """Where names stand without covering each other or a mark, found one by one; percents of a plot 430 px wide."""
    taken = [(point.x - 1.5, point.y - 2.5, point.x + 1.5, point.y + 2.5) for point in points]
    found = []
    for point in points:
        width = min(_NAME_MOST, _LETTER * len(point.name))
        boxes = {
            f"{side} {level}": (left, top, left + width, top + _LINE)
            for level, top in (("above", point.y - 1 - _LINE), ("below", point.y + 1))
            for side, left in (("right", point.x + 2), ("left", point.x - 2 - width))
        }
        free = [name for name, box in boxes.items() if _is_inside(box) and not any(_meet(box, t) for t in taken)]
        found.append(free[0] if free else "")
        taken += [boxes[name] for name in free[:1]]
    return tuple(found)


_Box = tuple[float, float, float, float]


def _is_inside(box: _Box) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= 100 and box[3] <= 100


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _staircase(points: Iterable[Point], front: set[int]) -> str:
    """The front as steps: from each of its models level to the right, then up to the next."""
    on = [point for point in points if point.model in front]
    if not on:
        return ""
    return f"M{on[0].x:g} 100V{on[0].y:g}" + "".join(f"H{point.x:g}V{point.y:g}" for point in on[1:]) + "H100"


def _accuracy_scale(entries: Sequence[Outcome]) -> figures.Scale:
    ends = [
        value
        for entry in entries
        for value in (entry.accuracy.value, entry.accuracy.low, entry.accuracy.high)
        if value is not None
    ]
    margin = max(0.08 * (max(ends) - min(ends)), 0.002)
    return figures.Scale(min(ends) - margin, max(ends) + margin, float)


def _top(scale: figures.Scale, value: float | None) -> float | None:
    return None if value is None else round(100 - scale.at(value), 2)


def _byte_ticks(x: figures.Scale) -> tuple[figures.Tick, ...]:
    steps = [factor * 10**power for power in range(2, 13) for factor in (1, 2, 5)]
    within = [step for step in steps if x.low <= step <= x.high]
    labelled = within if len(within) <= 7 else [step for step in within if f"{step}"[0] == "1"]
    return x.ticks(within, labelled, lambda value: _round_size(int(value)))


def _round_size(value: int) -> str:
    """``"200 kB"`` for a round number of bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= size:
            return f"{value / size:g}\u00a0{unit}"
    return f"{value}\u00a0B"


def tips(plot: Plot) -> dict[str, list[str]]:
    """What the page's script reads out at every point."""
    return {
        "tips": [
            f"{point.name}\n{point.shown} % (95 % interval {point.span})\n{point.size_bytes:,} bytes"
            + (", computed" if point.is_computed else "")
            for point in plot.points
        ]
    }
