"""The geometry of the figures: where every tick, line and mark stands, in percent of the plot area.

A plot area is stretched by the page to whatever width it has, so positions are percentages (x from the left, y from the
top) and text keeps its size on a phone. Nothing here knows HTML.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Protocol as Interface

from bnas_face.report.records import Comparison, Histogram, Outcome

_DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 3", "5 2 1 2")
_FAR_OFF = 200.0  # percent; outside every plot area, where the page clips it


class Bits(Interface):
    """Whatever has bits: a model of a result, a network of a bench."""

    @property
    def weight_bits(self) -> int | None:
        """Of its weights; None where unknown."""

    @property
    def activation_bits(self) -> int | None:
        """Of its activations; None where unknown."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a model looks in every figure and table: colour by bits, and a shape, so that colour is never alone.

    Attributes
    ----------
    css : str
        Colour class: ``fp``, ``w1a32``, ``w1a1`` or ``other``.
    shape : str
        ``circle``, ``square``, ``diamond`` or ``triangle``.
    dash : str
        SVG dash pattern; differs between the models of one colour.
    bits : str
        ``W1A1``, ``W1A32``, …, or ``bits unknown``.
    """

    css: str
    shape: str
    dash: str
    bits: str


@dataclass(frozen=True)
class Tick:
    """A position on an axis in percent and its label (empty for a grid line only)."""

    at: float
    label: str


@dataclass(frozen=True, kw_only=True)
class GapRow:
    """A row of the forest plot; positions in percent, None where the interval is undefined."""

    comparison: Comparison
    mark: Mark
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Gaps of all comparisons on one axis."""

    rows: tuple[GapRow, ...]
    ticks: tuple[Tick, ...]
    zero: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The score histograms of one model: closed areas, and its threshold (a band over the folds)."""

    model: int
    mark: Mark
    genuine: str
    impostor: str
    threshold: float | None
    threshold_low: float | None
    threshold_high: float | None


@dataclass(frozen=True, kw_only=True)
class ScorePlot:
    """Histograms of a twin and a binarized model on one score axis; `shared` is the twin's threshold through both."""

    ticks: tuple[Tick, ...]
    panels: tuple[Panel, ...]
    shared: float | None


@dataclass(frozen=True)
class Scale:
    """A map from values to percent: `transform` of `low` is 0, of `high` is 100."""

    low: float
    high: float
    transform: Callable[[float], float]

    def at(self, value: float) -> float:
        """Position of a value in percent, two decimals; far outside where the transform is undefined."""
        try:
            start, end = self.transform(self.low), self.transform(self.high)
            return round(max(-_FAR_OFF, min(_FAR_OFF, 100 * (self.transform(value) - start) / (end - start))), 2)
        except (ValueError, ArithmeticError):
            return -_FAR_OFF if value <= self.low else _FAR_OFF

    def ticks(
        self, values: Sequence[float], labelled: Sequence[float], text: Callable[[float], str]
    ) -> tuple[Tick, ...]:
        """Ticks of the values within the scale; those not in `labelled` are grid lines only."""
        within = [value for value in values if self.low <= value <= self.high]
        return tuple(Tick(self.at(value), text(value) if value in labelled else "") for value in within)


def marks(models: Sequence[Bits]) -> list[Mark]:
    """The mark of every model: colour and shape by its bits, dash by its order among those of the same bits."""
    seen: dict[str, int] = {}
    found = []
    for model in models:
        own = mark_of(model.weight_bits, model.activation_bits)
        nth = seen.setdefault(own.css, 0)
        seen[own.css] += 1
        found.append(replace(own, dash=_DASHES[nth % len(_DASHES)]))
    return found


def mark_of(weight_bits: int | None, activation_bits: int | None) -> Mark:
    """The mark of the first model with these bits."""
    css, shape = _style(weight_bits, activation_bits)
    return Mark(css=css, shape=shape, dash="", bits=_bits(weight_bits, activation_bits))


def bits_label(model: Bits) -> str:
    """``W1A1`` for 1-bit weights and 1-bit activations; ``bits unknown`` where the model does not say."""
    return _bits(model.weight_bits, model.activation_bits)


def _bits(weight_bits: int | None, activation_bits: int | None) -> str:
    if weight_bits is None or activation_bits is None:
        return "bits unknown"
    return f"W{weight_bits}A{activation_bits}"


def _style(weight_bits: int | None, activation_bits: int | None) -> tuple[str, str]:
    if weight_bits is None or activation_bits is None:
        return "other", "triangle"
    if min(weight_bits, activation_bits) >= 16:
        return "fp", "circle"
    known = {(1, 32): ("w1a32", "square"), (1, 1): ("w1a1", "diamond")}
    return known.get((weight_bits, activation_bits), ("other", "triangle"))


def forest(comparisons: Sequence[Comparison], marks_of: dict[str, Mark]) -> Forest | None:
    """The forest plot of accuracy gaps (binarized − twin, fractions), or None where no gap is known."""
    drawn = [entry for entry in comparisons if entry.difference.value is not None]
    if not drawn:
        return None
    ends = [0.0] + [
        v for e in drawn for v in (e.difference.value, e.difference.low, e.difference.high) if v is not None
    ]
    margin = max(0.06 * (max(ends) - min(ends)), 0.0005)
    scale = Scale(min(ends) - margin, max(ends) + margin, float)
    rows = tuple(
        GapRow(
            comparison=entry,
            mark=marks_of[entry.model],
            at=scale.at(entry.difference.value or 0.0),
            low=None if entry.difference.low is None else scale.at(entry.difference.low),
            high=None if entry.difference.high is None else scale.at(entry.difference.high),
        )
        for entry in drawn
    )
    steps = round_steps(scale.low, scale.high, 6)
    labels = scale.ticks(steps, steps, lambda value: f"{100 * value:.4g}".replace("-", "−"))
    return Forest(rows=rows, ticks=labels, zero=scale.at(0.0))


def round_steps(low: float, high: float, at_most: int) -> list[float]:
    """Round numbers between `low` and `high`, at most `at_most` + 1 of them: 1, 2 or 5 × a power of ten apart."""
    raw = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def scores(twin: tuple[int, Outcome] | None, own: tuple[int, Outcome], mark_list: Sequence[Mark]) -> ScorePlot | None:
    """Score histograms, the twin's above the binarized model's, on one axis; None where the model has no histogram."""
    shown = [
        (i, o, o.histogram) for i, o in ([twin] if twin else []) + [own] if o.histogram and sum(o.histogram.genuine)
    ]
    if not shown or shown[-1][0] != own[0]:
        return None
    low, high = min(h.edges[0] for *_, h in shown), max(h.edges[-1] for *_, h in shown)
    if not low < high:
        return None
    scale = Scale(low, high, float)
    panels = tuple(_panel(index, entry, hist, scale, mark_list[index]) for index, entry, hist in shown)
    steps = round_steps(low, high, 6)
    ticks = scale.ticks(steps, steps, lambda value: f"{value:.4g}".replace("-", "−"))
    return ScorePlot(ticks=ticks, panels=panels, shared=panels[0].threshold if len(panels) == 2 else None)


def _panel(index: int, entry: Outcome, histogram: Histogram, scale: Scale, mark: Mark) -> Panel:
    shares = [_shares(counts, histogram.edges) for counts in (histogram.genuine, histogram.impostor)]
    top = max(max(values) for values in shares) or 1.0
    areas = [_area(values, histogram.edges, scale, top) for values in shares]
    known = sorted(entry.thresholds)
    return Panel(
        model=index,
        mark=mark,
        genuine=areas[0],
        impostor=areas[1],
        threshold=scale.at(median_low(known)) if known else None,
        threshold_low=scale.at(known[0]) if known else None,
        threshold_high=scale.at(known[-1]) if known else None,
    )


def _shares(counts: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Share of the pairs per unit of score in each bin."""
    total = sum(counts) or 1.0
    return [
        count / total / max(right - left, 1e-12) for count, left, right in zip(counts, edges, edges[1:], strict=False)
    ]


def _area(shares: Sequence[float], edges: Sequence[float], scale: Scale, top: float) -> str:
    """A closed staircase that fills 86 % of the height at the largest share."""
    steps = [
        f"V{100 - 86 * share / top:.2f}H{scale.at(right):g}" for share, right in zip(shares, edges[1:], strict=True)
    ]
    return f"M{scale.at(edges[0]):g} 100" + "".join(steps) + "V100Z"
