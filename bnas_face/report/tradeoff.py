"""Accuracy against what it costs: every model as a point, with the Pareto front. What a cost is, the caller says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bnas_face.report import figures, numbers
from bnas_face.report.records import Model, Outcome, Protocol, Result

_ROOM = 1.35  # the axis goes on by this factor left and right of the models
_LETTER, _LINE, _NAME_MOST = 1.6, 5.5, 41.0  # of a name: width of a letter, height and greatest width in percent


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a model costs.

    Attributes
    ----------
    kind : str
        Part of names in the page: ``size``, ``time``.
    title : str
        "Accuracy against …".
    axis : str
        Of a figure on paper.
    tick : callable
        Text of a round number on the axis.
    told : callable
        Text of any number, short.
    """

    kind: str
    title: str
    axis: str
    tick: Callable[[float], str]
    told: Callable[[float], str]


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What one model costs: `exact` is the number in words, `is_computed` says that no such file exists."""

    value: float
    exact: str
    is_computed: bool = False


@dataclass(frozen=True, kw_only=True)
class Point:
    """A model in a plot; x and y in percent, y from the top."""

    model: int
    name: str
    mark: figures.Mark
    amount: Amount
    told: str
    accuracy: float
    shown: str
    span: str
    x: float
    y: float
    low: float | None
    high: float | None
    on_front: bool
    on_measured_front: bool

    @property
    def is_computed(self) -> bool:
        """Whether its cost is computed and not measured."""
        return self.amount.is_computed


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One protocol. `front` joins the best of what was measured, `computed_front` counts computed costs too.

    `labels` says where the name of each point stands ("right above", …); empty where it would cover another.
    """

    quantity: Quantity
    protocol: Protocol
    caption: str
    x_ticks: tuple[figures.Tick, ...]
    y_ticks: tuple[figures.Tick, ...]
    points: tuple[Point, ...]
    front: str
    computed_front: str
    without: tuple[str, ...]
    labels: tuple[str, ...]


def plots(
    result: Result, marks: Sequence[figures.Mark], amounts: Sequence[Amount | None], quantity: Quantity
) -> list[Plot]:
    """One plot for every protocol with at least two models of known cost and accuracy."""
    found = (
        plot(protocol, result.entries(protocol), result.models, marks, amounts, quantity)
        for protocol in result.protocols
    )
    return [one for one in found if one is not None]


def plot(
    protocol: Protocol,
    entries: Sequence[tuple[int, Outcome]],
    models: Sequence[Model],
    marks: Sequence[figures.Mark],
    amounts: Sequence[Amount | None],
    quantity: Quantity,
    caption: str = "",
) -> Plot | None:
    """The plot of one protocol, or None where fewer than two models have a place in it."""
    drawn = [
        (place, entry, amount)
        for place, entry in entries
        if (amount := amounts[place]) is not None and entry.accuracy.value is not None
    ]
    if len(drawn) < 2:
        return None
    ends = [amount.value for *_, amount in drawn]
    x = figures.Scale(min(ends) / _ROOM, max(ends) * _ROOM, math.log10)
    y = _accuracy_scale([entry for _, entry, _ in drawn])
    every = {place: (amount.value, entry.accuracy.value or 0.0) for place, entry, amount in drawn}
    front = pareto(every)
    measured = pareto({place: every[place] for place, _, amount in drawn if not amount.is_computed})
    points = tuple(
        Point(
            model=place,
            name=models[place].id,
            mark=marks[place],
            amount=amount,
            told=quantity.told(amount.value),
            accuracy=entry.accuracy.value or 0.0,
            shown=numbers.percent(entry.accuracy.value, entry.n),
            span=numbers.span(entry.accuracy.low, entry.accuracy.high, entry.n),
            x=x.at(amount.value),
            y=_top(y, entry.accuracy.value) or 0.0,
            low=_top(y, entry.accuracy.low),
            high=_top(y, entry.accuracy.high),
            on_front=place in front,
            on_measured_front=place in measured,
        )
        for place, entry, amount in sorted(drawn, key=lambda item: (item[2].value, item[2].is_computed))
    )
    steps = figures.round_steps(y.low, y.high, 5)
    return Plot(
        quantity=quantity,
        protocol=protocol,
        caption=caption or ("top-1 %" if protocol.is_of_objects else "accuracy %"),
        x_ticks=_ticks(x, quantity),
        y_ticks=y.ticks(steps, steps, lambda value: f"{100 * value:.6g}"),
        points=points,
        front=_staircase(points, measured),
        computed_front=_staircase(points, front) if front != measured else "",
        without=tuple(models[place].id for place, entry in entries if place not in every),
        labels=_labels(points),
    )


def pareto(known: dict[int, tuple[float, float]]) -> set[int]:
    """Models of which no other costs less (or as much) and is more accurate (or as much), one of them truly."""

    def beaten(own: tuple[float, float]) -> bool:
        return any(cost <= own[0] and value >= own[1] and (cost, value) != own for cost, value in known.values())

    return {place for place, own in known.items() if not beaten(own)}


def tips(plot: Plot) -> dict[str, list[str]]:
    """What the page's script reads out at every point."""
    return {
        "tips": [
            f"{point.name}\n{point.shown} % (95 % interval {point.span})\n{point.amount.exact}" for point in plot.points
        ]
    }


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


def _ticks(x: figures.Scale, quantity: Quantity) -> tuple[figures.Tick, ...]:
    steps = [float(f"{factor}e{power}") for power in range(-9, 13) for factor in (1, 2, 5)]
    within = [step for step in steps if x.low <= step <= x.high]
    labelled = within if len(within) <= 7 else [step for step in within if f"{step:e}"[0] == "1"]
    return x.ticks(within, labelled, quantity.tick)
