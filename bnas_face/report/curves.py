"""The geometry of DET and ROC plots, with their bands, in percent of the plot area (see `figures`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from bnas_face.report import figures
from bnas_face.report.records import Outcome, Protocol, Result

_RATE_TICKS = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99)
_RATE_GRID = (
    1e-6,
    1e-5,
    1e-4,
    1e-3,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.99,
)
_RATE_CEILINGS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999)


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A marked point of a curve with an interval along y (`low`, `high`: percent from the top, or None)."""

    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """A model's curve: vertex i of `path` is point i of the measured curve; `band` is a closed area, empty without."""

    model: int
    mark: figures.Mark
    path: str
    band: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, kw_only=True)
class CurvePlot:
    """A DET or ROC plot of one protocol; left of `supported` the impostor pairs are too few to say anything."""

    kind: str
    x_ticks: tuple[figures.Tick, ...]
    y_ticks: tuple[figures.Tick, ...]
    supported: float
    lines: tuple[Line, ...]


def figures_of(protocol: Protocol, result: Result, marks: Sequence[figures.Mark]) -> dict[str, Any]:
    """Both plots of a protocol, and the models that have no curve."""
    entries = result.entries(protocol)
    return {
        "protocol": protocol,
        "place": result.protocols.index(protocol),
        "entries": entries,
        "without": [result.models[place].id for place, entry in entries if entry.curve is None],
        "bands": list(dict.fromkeys(entry.band.method for _, entry in entries if entry.band)),
        "plots": [plot for plot in (det(entries, marks), roc(entries, marks)) if plot],
    }


def det(outcomes: Sequence[tuple[int, Outcome]], mark_list: Sequence[figures.Mark]) -> CurvePlot | None:
    """DET curves (FNMR over FMR on normal-deviate axes) of the models of one protocol; the mark stands at the EER.

    The FMR axis ends at a quarter of 1 / n_impostor; below 1 / n_impostor the data say nothing.
    """
    drawn = [(index, entry) for index, entry in outcomes if entry.curve is not None and entry.n_impostor > 0]
    if not drawn:
        return None
    n_impostor, n_genuine = (max(getattr(entry, key) for _, entry in drawn) for key in ("n_impostor", "n_genuine"))
    deviate = NormalDist().inv_cdf
    x = figures.Scale(0.25 / n_impostor, 0.5, deviate)
    ceiling = next(limit for limit in (*_RATE_CEILINGS, 0.9999) if limit >= min(0.9999, _largest_fnmr(drawn)))
    floor = max(0.25 / max(n_genuine, 1), 0.6 * _smallest_fnmr(drawn))
    y = figures.Scale(min(floor, ceiling / 4), ceiling, deviate)
    lines = tuple(
        Line(
            model=index,
            mark=mark_list[index],
            path=_path(entry.curve.fmr, entry.curve.fnmr, x, y) if entry.curve else "",
            band=_band(entry, x, y, tar=False),
            dots=() if entry.eer.value is None else (_dot(x, y, entry.eer.value, entry.eer.value, None, None),),
        )
        for index, entry in drawn
    )
    return CurvePlot(
        kind="det",
        x_ticks=x.ticks(_RATE_GRID, _RATE_TICKS, rate_label),
        y_ticks=y.ticks(_RATE_GRID, _RATE_TICKS if ceiling > 0.05 else _RATE_GRID, rate_label),
        supported=x.at(1 / n_impostor),
        lines=lines,
    )


def roc(outcomes: Sequence[tuple[int, Outcome]], mark_list: Sequence[figures.Mark]) -> CurvePlot | None:
    """ROC curves (TAR over log FMR); marks with intervals stand at the FMR targets the data support."""
    drawn = [(index, entry) for index, entry in outcomes if entry.curve is not None and entry.n_impostor > 0]
    if not drawn:
        return None
    n_impostor = max(entry.n_impostor for _, entry in drawn)
    x = figures.Scale(0.5 / n_impostor, 1.0, math.log10)
    floor = math.floor(10 * (1 - _largest_fnmr(drawn)) + 1e-9) / 10
    y = figures.Scale(max(0.0, min(floor, 0.9)), 1.0, float)
    decades = [10.0**-k for k in range(7, -1, -1)]
    steps = figures.round_steps(y.low, y.high, 5)
    lines = tuple(
        Line(
            model=index,
            mark=mark_list[index],
            path=_path(entry.curve.fmr, [1 - v for v in entry.curve.fnmr], x, y) if entry.curve else "",
            band=_band(entry, x, y, tar=True),
            dots=tuple(
                _dot(x, y, target.fmr_achieved, target.tar.value, target.tar.low, target.tar.high)
                for target in entry.tar_at_fmr
                if target.fmr_achieved and target.tar.value is not None
            ),
        )
        for index, entry in drawn
    )
    return CurvePlot(
        kind="roc",
        x_ticks=x.ticks(decades, decades, rate_label),
        y_ticks=y.ticks(steps, steps, rate_label),
        supported=x.at(1 / n_impostor),
        lines=lines,
    )


def _largest_fnmr(drawn: Sequence[tuple[int, Outcome]]) -> float:
    """The largest FNMR of any curve where its impostor pairs still support the FMR."""
    return max(
        (
            fnmr
            for _, entry in drawn
            if entry.curve is not None
            for fmr, fnmr in zip(entry.curve.fmr, entry.curve.fnmr, strict=True)
            if fmr >= 1 / entry.n_impostor
        ),
        default=0.5,
    )


def _smallest_fnmr(drawn: Sequence[tuple[int, Outcome]]) -> float:
    """The smallest FNMR above zero of any curve up to an FMR of one half."""
    points = (pair for _, entry in drawn if entry.curve for pair in zip(entry.curve.fmr, entry.curve.fnmr, strict=True))
    return min((fnmr for fmr, fnmr in points if fmr <= 0.5 and fnmr > 0), default=0.0)


def _path(xs: Sequence[float], ys: Sequence[float], x: figures.Scale, y: figures.Scale) -> str:
    pairs = (f"{x.at(u):g} {100 - y.at(v):.5g}" for u, v in zip(xs, ys, strict=True))
    return "M" + "L".join(pairs)


def _band(outcome: Outcome, x: figures.Scale, y: figures.Scale, *, tar: bool) -> str:
    """The 95 % band as a closed path, where the impostor pairs support the FMR; of the TAR, or of the FNMR."""
    band = outcome.band
    if band is None:
        return ""
    points = [
        (fmr, *((1 - high, 1 - low) if tar else (low, high)))
        for fmr, low, high in zip(band.fmr, band.fnmr_low, band.fnmr_high, strict=True)
        if fmr >= 1 / outcome.n_impostor
    ]
    if len(points) < 2:
        return ""
    there = [(fmr, low) for fmr, low, _ in points]
    back = [(fmr, high) for fmr, _, high in reversed(points)]
    xs, ys = zip(*there, *back, strict=True)
    return _path(xs, ys, x, y) + "Z"


def _dot(x: figures.Scale, y: figures.Scale, u: float, v: float, low: float | None, high: float | None) -> Dot:
    def top(value: float | None) -> float | None:
        return None if value is None else round(100 - y.at(value), 2)

    return Dot(x=x.at(u), y=round(100 - y.at(v), 2), low=top(low), high=top(high))


def rate_label(value: float) -> str:
    """A rate as percent on an axis."""
    return f"{100 * value:.6g}"
