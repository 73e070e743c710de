"""Networks beside their twins: what each kind of layer costs, and the curves of their training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bnas_face.report import figures, layers, numbers
from bnas_face.report.figures import Mark
from bnas_face.report.layers import ONE_BIT, Layer, Training
from bnas_face.report.records import Model, Result

_MOST_POINTS = 400
PACKED = (
    "Packed bytes are computed, not measured: a 1-bit weight counts one bit, everything else (statistics and scales "
    "too) 32."
)
MACS = (
    "Multiply-accumulates of one image at the network's own size; normalisation and activation count none. Those of a "
    "1-bit convolution multiply nothing: with 1-bit activations they are XNOR and popcount, with float activations "
    "additions and subtractions. They are counts, not time."
)
_HOW: dict[int | None, str] = {1: "XNOR and popcount", 32: "additions and subtractions"}


@dataclass(frozen=True, kw_only=True)
class Table:
    """The cost of models whose layers cost the same.

    Attributes
    ----------
    models : tuple of int
        Places in the list of models.
    rows : tuple of Layer
    total : Layer
    how : str
        What a multiply-accumulate of its 1-bit convolutions is; empty where unknown.
    note : str
        What does not add up; empty where everything does.
    """

    models: tuple[int, ...]
    rows: tuple[Layer, ...]
    total: Layer
    how: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """The curve of a model: vertex i of `path` is described by tip i; `x`, `y` (percent, from the top) is its end."""

    model: int
    mark: Mark
    path: str
    x: float
    y: float
    tips: tuple[str, ...]
    told: str


@dataclass(frozen=True)
class Event:
    """A moment in percent of the width: an ``interruption``, or the begin of the second ``stage``."""

    at: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A quantity of a training over epochs or steps; `kind` is what is measured (``loss``, ``development``, …)."""

    kind: str
    title: str
    axis: str
    x_ticks: tuple[figures.Tick, ...]
    y_ticks: tuple[figures.Tick, ...]
    lines: tuple[Line, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Family:
    """A full-precision twin and the models it belongs to; models of which nothing is known are left out.

    `without_layers` and `without_curve` name the models that have the one part but not the other.
    """

    models: tuple[int, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    without_layers: tuple[str, ...]
    without_curve: tuple[str, ...]


@dataclass(frozen=True)
class _Quantity:
    """What a chart is about: its names, how it is found in a log, how an axis and a read-out print it."""

    kind: str
    title: str
    axis: str
    values: Callable[[Training], tuple[float | None, ...]]
    label: Callable[[float], str]
    told: Callable[[float], str]


_QUANTITIES = (
    _Quantity(
        "loss",
        "Training loss",
        "over epochs",
        lambda training: training.loss,
        lambda value: f"{value:.4g}".replace("-", "−"),
        lambda value: f"loss {value:.4g}".replace("-", "−"),
    ),
    _Quantity(
        "development",
        "Development accuracy",
        "%, on held-out data, over epochs",
        lambda training: training.development_accuracy,
        lambda value: f"{100 * value:.4g}",
        lambda value: f"development accuracy {100 * value:.1f} %",
    ),
)


def families(result: Result, marks: Sequence[Mark]) -> list[Family]:
    """Twins together, in the order of the models; none where no model has layers or a history."""
    roots = _roots(result)
    found: dict[str, list[int]] = {}
    for place, model in enumerate(result.models):
        if model.layers or model.history:
            found.setdefault(roots[model.id], []).append(place)
    return [_family(result.models, places, marks) for places in found.values()]


def _roots(result: Result) -> dict[str, str]:
    """The last twin one comes to from every model; models that are each other's twins share one."""
    known = result.places
    twins = {gap.model: gap.twin for gap in result.comparisons} | {m.id: m.twin for m in result.models if m.twin}
    found = {}
    for model in known:
        seen, name = {model}, model
        while (following := twins.get(name)) in known and following not in seen:
            name = following
            seen.add(name)
        found[model] = min(seen, key=known.__getitem__) if twins.get(name) in seen else name
    return found


def _family(models: Sequence[Model], places: list[int], marks: Sequence[Mark]) -> Family:
    logs = [training for place in places if (training := models[place].history)]
    x = scale_of([at for log in logs for at, _ in _moments(log)], 0.02, 0.5)
    drawn = [_chart(quantity, x, models, places, marks) for quantity in _QUANTITIES]
    charts = tuple(chart for chart in drawn if chart is not None)
    with_curve = {line.model for chart in charts for line in chart.lines}
    return Family(
        models=tuple(places),
        tables=_tables(models, places),
        charts=charts,
        without_layers=tuple(models[place].id for place in places if not models[place].layers),
        without_curve=tuple(models[place].id for place in places if place not in with_curve),
    )


def _tables(models: Sequence[Model], places: Sequence[int]) -> tuple[Table, ...]:
    found: dict[tuple[Layer, ...], list[int]] = {}
    for place in places:
        if models[place].layers:
            found.setdefault(models[place].layers, []).append(place)
    return tuple(
        Table(
            models=tuple(own),
            rows=rows,
            total=(sums := layers.total(rows)),
            how=_how([models[place] for place in own]),
            note=_note(models, own, sums),
        )
        for rows, own in found.items()
    )


def _how(models: Sequence[Model]) -> str:
    """What a 1-bit convolution does instead of multiplying; empty where there is none, or the bits are unknown."""
    if not any(layer.kind == ONE_BIT for layer in models[0].layers):
        return ""
    bits = dict.fromkeys(model.activation_bits for model in models)
    told = [(n, _HOW[n]) for n in bits if n in _HOW]
    return told[0][1] if len(bits) == len(told) == 1 else "; ".join(f"W1A{n}: {what}" for n, what in told)


def _note(models: Sequence[Model], places: Sequence[int], sums: Layer) -> str:
    other = [models[place] for place in places if models[place].n_parameters not in (None, sums.n_parameters)]
    return " ".join(
        f"The layers of {model.id} hold {numbers.count(sums.n_parameters)} parameters, the model is said to have "
        f"{numbers.count(model.n_parameters)}."
        for model in other
    )


def share(part: int, whole: int) -> str:
    """A part of a whole as percent; a dash where there is no whole."""
    return f"{100 * part / whole:.1f}" if whole else numbers.MISSING


def _chart(
    quantity: _Quantity, x: figures.Scale | None, models: Sequence[Model], places: Sequence[int], marks: Sequence[Mark]
) -> Chart | None:
    """The curves of all models on one pair of axes, or None where there is nothing (or nothing finite) to draw."""
    known = {place: _points(training, quantity) for place in places if (training := models[place].history)}
    points = {place: found for place, found in known.items() if found}
    y = scale_of([value for found in points.values() for _, value, _ in found], 0.07, 0.01)
    if x is None or y is None:
        return None
    epochs = [step for step in figures.round_steps(x.low, x.high, 6) if step == round(step)]
    steps = figures.round_steps(y.low, y.high, 5)
    return Chart(
        kind=quantity.kind,
        title=quantity.title,
        axis=quantity.axis,
        x_ticks=x.ticks(epochs, epochs, lambda value: f"{value:g}"),
        y_ticks=y.ticks(steps, steps, quantity.label),
        lines=tuple(_line(place, marks[place], found, x, y, quantity) for place, found in points.items()),
    )


def _points(training: Training, quantity: _Quantity) -> list[tuple[float, float, str]]:
    """(position, value, when) of the measured rows, thinned where there are too many."""
    rows = zip(_moments(training), quantity.values(training), strict=True)
    found = [(at, value, when) for (at, when), value in rows if value is not None]
    return found if len(found) <= _MOST_POINTS else [*found[:: len(found) // (_MOST_POINTS // 2)], found[-1]]


def _moments(training: Training) -> Iterator[tuple[float, str]]:
    """(position, when) of every row; rows of one epoch are spread over it, the last at its end."""
    for epoch, rows in groupby(training.epoch):
        n_rows = len(list(rows))
        for row in range(1, n_rows + 1):
            yield epoch - 1 + row / n_rows, f"epoch {epoch:g}" + (f", row {row} of {n_rows}" if n_rows > 1 else "")


def scale_of(values: Sequence[float], margin: float, least: float) -> figures.Scale | None:
    """From the least to the largest with room at both ends; None without values, or if they are too far apart."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = max(margin * (high - low), least * max(1.0, abs(low)) if low == high else 0.0)
    return figures.Scale(low - room, high + room, float) if math.isfinite(high - low + 2 * room) else None


def _line(
    place: int,
    mark: Mark,
    points: Sequence[tuple[float, float, str]],
    x: figures.Scale,
    y: figures.Scale,
    quantity: _Quantity,
) -> Line:
    at = [(x.at(position), round(100 - y.at(value), 2)) for position, value, _ in points]
    tips = tuple(f"{when}\n{quantity.told(value)}" for _, value, when in points)
    first, last = (f"{quantity.told(value)} in {when}" for _, value, when in (points[0], points[-1]))
    return Line(
        model=place,
        mark=mark,
        path="M" + "L".join(f"{u:g} {v:g}" for u, v in at),
        x=at[-1][0],
        y=at[-1][1],
        tips=tips,
        told=first if len(points) == 1 else f"from {first} to {last}",
    )


def tips(found: Sequence[Family]) -> dict[str, Any]:
    """What the page's script reads out at every point."""
    return {
        f"{chart.kind}{number}-{line.model}": {"tips": list(line.tips)}
        for number, family in enumerate(found)
        for chart in family.charts
        for line in chart.lines
    }
