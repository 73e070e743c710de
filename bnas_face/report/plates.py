"""The figures of a report as files, for a paper: ``figures/*.svg`` and, with the extra ``figures``, ``*.png``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bnas_face.errors import ReportError
from bnas_face.files import atomic_path, write_text
from bnas_face.report import bench as benches
from bnas_face.report import (
    cost,
    curves,
    drawing,
    drift,
    figures,
    network,
    numbers,
    ranks,
    results,
    size,
    slices,
    tradeoff,
)
from bnas_face.report.drawing import COLOURS, INK, MUTED, RULE, Box
from bnas_face.report.records import Protocol, Result

FOLDER = "figures"
ZOOM = 3.0
NO_PNG = (
    "No PNG was written: the package 'resvg-py' is not installed. Install it with: pip install 'bnas_face[figures]'"
)
_WIDTH, _AREA = 560.0, Box(64, 36, 470, 360)
_ROW = 18.0


def write(folder: Path) -> list[str]:
    """Write every figure of a report folder into its ``figures/``.

    Returns
    -------
    list of str
        Sentences: which files there are, and why there are no PNGs where there are none.

    Raises
    ------
    ReportError
        If ``result.json`` is absent or damaged, or the folder cannot be written.
    """
    measured = benches.load(folder)
    result = benches.joined(results.load(folder), measured)
    drawn = dict(_named(plates(result, figures.marks(result.models), measured)))
    rasterise = _rasteriser()
    out = folder / FOLDER
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise ReportError(
            f"Cannot write into the folder '{out}': {error.strerror or error}. Make room there."
        ) from None
    for name, svg in drawn.items():
        write_text(out / f"{name}.svg", svg)
        if rasterise is not None:
            with atomic_path(out / f"{name}.png") as target:
                target.write_bytes(rasterise(svg))
    kinds = "SVG and PNG" if rasterise else "SVG"
    return [f"{out} ({len(drawn)} figures as {kinds})", *([] if rasterise else [NO_PNG])]


def _rasteriser() -> Callable[[str], bytes] | None:
    try:
        resvg: Any = import_module("resvg_py")
    except ImportError:
        return None
    return lambda svg: bytes(resvg.svg_to_bytes(svg_string=svg, zoom=ZOOM, sans_serif_family="DejaVu Sans"))


def _named(drawn: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """File names that hold nothing but letters, digits, dots and dashes, each once."""
    seen: set[str] = set()
    for name, svg in drawn:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80]
        number = 2
        unique = plain
        while unique in seen:
            unique, number = f"{plain}-{number}", number + 1
        seen.add(unique)
        yield unique, svg


def plates(
    result: Result, marks: Sequence[figures.Mark], measured: benches.Bench | None = None
) -> Iterator[tuple[str, str]]:
    """(name, SVG) of every figure: DET, ROC, scores, forest, size, time and CMC of each protocol, training curves."""
    for protocol in result.protocols:
        for plot in curves.figures_of(protocol, result, marks)["plots"]:
            yield f"{plot.kind}_{protocol.name}", curve(plot, protocol, result)
        for number, entry in enumerate(drift.figures_of(protocol, result, marks, None), start=1):
            if entry["plot"] is not None and protocol.is_of_pairs:
                yield f"scores_{protocol.name}_{number}", scores(entry["plot"], protocol, result)
        yield from _forest(protocol, result, marks)
    section = cost.section(measured, result, marks)
    for plot in [*size.plots(result, marks), *(section.plots if section else ())]:
        yield f"{plot.quantity.kind}_{plot.protocol.name}", traded(plot)
    for table in slices.tables(result, marks):
        yield f"slices_{table.protocol.name}_{table.column}", sliced(table, result)
    for block in ranks.blocks(result, marks):
        if block.cmc is not None:
            yield f"cmc_{block.protocol.name}", cmc(block.cmc, block.protocol, result)
    yield from _trained(result, marks)


def _page(title: str, body: Sequence[str], entries: Sequence[tuple[str, figures.Mark]], box: Box = _AREA) -> str:
    """The figure with its title above and the models below."""
    top = box.top + box.height + 56
    parts = [drawing.text(box.left, 20, title, bold=True), *body, *drawing.legend(box.left, top, entries)]
    return drawing.document(_WIDTH, top + _ROW * len(entries), title, parts)


def curve(plot: curves.CurvePlot, protocol: Protocol, result: Result) -> str:
    """A DET or ROC plot; where the impostor pairs are too few, no curve is drawn."""
    box, bottom = _AREA, _AREA.top + _AREA.height
    edge = box.x(max(0.0, plot.supported))
    unsupported = [
        drawing.area(f"M{box.left:g} {box.top:g}H{edge:g}V{bottom:g}H{box.left:g}Z", RULE, 0.35),
        drawing.text(
            (box.left + edge) / 2 + 4,
            box.top + box.height / 2,
            "insufficient data",
            anchor="middle",
            colour=MUTED,
            turn=True,
        ),
    ]
    known = Box(edge, box.top, box.left + box.width - edge, box.height)
    inside = [drawing.area(box.path(line.band), COLOURS[line.mark.css], 0.15) for line in plot.lines if line.band]
    inside += [part for line in plot.lines for part in _line(line, box)]
    y_name = "FNMR %" if plot.kind == "det" else "TAR %"
    axes = drawing.axes(box, plot.x_ticks, plot.y_ticks, "FMR %", y_name)
    body = [*(unsupported if edge > box.left else []), *axes, *drawing.clipped(known, inside)]
    entries = [(result.models[line.model].id, line.mark) for line in plot.lines]
    return _page(f"{plot.kind.upper()}, {protocol.title}", body, entries)


def _line(line: curves.Line, box: Box) -> Iterator[str]:
    colour = COLOURS[line.mark.css]
    yield drawing.stroke(box.path(line.path), colour, width=1.8, dash=line.mark.dash)
    for dot in line.dots:
        if dot.low is not None and dot.high is not None:
            yield drawing.stroke(f"M{box.x(dot.x):g} {box.y(dot.low):g}V{box.y(dot.high):g}", colour)
        yield drawing.glyph(box.x(dot.x), box.y(dot.y), line.mark)


def scores(plot: figures.ScorePlot, protocol: Protocol, result: Result) -> str:
    """Score histograms, the twin above, thresholds as lines."""
    legend = "grey: impostor, coloured: genuine; solid line: own threshold"
    body = [
        drawing.text(_AREA.left, 38, legend + (", dashed: the twin's" if plot.shared is not None else ""), colour=MUTED)
    ]
    height = (_AREA.height - 14) / len(plot.panels) - 10
    for place, panel in enumerate(plot.panels):
        box = Box(_AREA.left, _AREA.top + 14 + place * (height + 20), _AREA.width, height)
        last = place == len(plot.panels) - 1
        body += drawing.axes(box, plot.ticks if last else (), (), "score" if last else "", "share")
        body += drawing.clipped(box, _panel(panel, box, plot.shared if place else None))
    entries = [(result.models[panel.model].id, panel.mark) for panel in plot.panels]
    return _page(f"Scores, {protocol.title}", body, entries)


def _panel(panel: figures.Panel, box: Box, shared: float | None) -> Iterator[str]:
    colour, bottom = COLOURS[panel.mark.css], box.top + box.height
    yield drawing.area(box.path(panel.impostor), RULE, 0.6)
    yield drawing.stroke(box.path(panel.impostor), MUTED, dash="2 2")
    yield drawing.area(box.path(panel.genuine), colour, 0.5)
    yield drawing.stroke(box.path(panel.genuine), colour)
    if panel.threshold is not None:
        yield drawing.stroke(f"M{box.x(panel.threshold):g} {box.top:g}V{bottom:g}", INK, width=1.6)
    if shared is not None:
        yield drawing.stroke(f"M{box.x(shared):g} {box.top:g}V{bottom:g}", INK, width=1.4, dash="5 3")


def _forest(protocol: Protocol, result: Result, marks: Sequence[figures.Mark]) -> Iterator[tuple[str, str]]:
    of = {model.id: mark for model, mark in zip(result.models, marks, strict=True)}
    plot = figures.forest([gap for gap in result.comparisons if gap.protocol == protocol.name], of)
    if plot is not None:
        yield f"forest_{protocol.name}", forest(plot, protocol)


def forest(plot: figures.Forest, protocol: Protocol) -> str:
    """Gaps to the full-precision twins with their intervals."""
    box = Box(200, 44, 230, 34.0 * len(plot.rows))
    bottom = box.top + box.height
    body = drawing.axes(box, plot.ticks, (), "gap to the full-precision twin, points", "")
    body.append(drawing.stroke(f"M{box.x(plot.zero):g} {box.top:g}V{bottom:g}", INK))
    for place, row in enumerate(plot.rows):
        y = box.top + 34 * place + 17
        gap = row.comparison.difference
        if row.low is not None and row.high is not None:
            ends = f"M{box.x(row.low):g} {y:g}H{box.x(row.high):g}"
            body.append(drawing.stroke(ends, COLOURS[row.mark.css], width=2))
        body.append(drawing.glyph(box.x(row.at), y, row.mark))
        body.append(drawing.text(12, y + 4, f"{row.comparison.model} ({row.mark.bits})"))
        shown = f"{numbers.points(gap.value, protocol.n)} ({numbers.points_span(gap.low, gap.high, protocol.n)})"
        body.append(drawing.text(box.left + box.width + 8, y + 4, shown))
    title = f"Gaps, {protocol.title}"
    parts = [drawing.text(12, 20, title, bold=True), *body]
    return drawing.document(_WIDTH + 40, bottom + 46, title, parts)


def traded(plot: tradeoff.Plot) -> str:
    """Accuracy against bytes or milliseconds with the Pareto front."""
    box, inside = _AREA, []
    for front, dash in ((plot.computed_front, "5 4"), (plot.front, "")):
        if front:
            inside.append(drawing.stroke(box.path(front), MUTED, width=1.5, dash=dash))
    for point in plot.points:
        if point.low is not None and point.high is not None:
            whisker = f"M{box.x(point.x):g} {box.y(point.low):g}V{box.y(point.high):g}"
            inside.append(drawing.stroke(whisker, COLOURS[point.mark.css], width=1.4))
        inside.append(drawing.glyph(box.x(point.x), box.y(point.y), point.mark, hollow=point.is_computed))
    names = [_point_name(box, point, place) for point, place in zip(plot.points, plot.labels, strict=True) if place]
    axes = drawing.axes(box, plot.x_ticks, plot.y_ticks, plot.quantity.axis, plot.caption)
    body = [*axes, *drawing.clipped(box, inside), *names]
    return _page(f"Accuracy against {plot.quantity.title}, {plot.protocol.title}", body, [])


def _point_name(box: Box, point: tradeoff.Point, place: str) -> str:
    right, above = "right" in place, "above" in place
    x, y = box.x(point.x) + (8 if right else -8), box.y(point.y) + (-5 if above else 13)
    return drawing.text(x, y, point.name, anchor="start" if right else "end", colour=MUTED)


def cmc(plot: ranks.Cmc, protocol: Protocol, result: Result) -> str:
    """CMC curves."""
    box = _AREA
    inside = [
        drawing.stroke(box.path(line.path), COLOURS[line.mark.css], width=1.8, dash=line.mark.dash)
        for line in plot.lines
    ]
    axes = drawing.axes(box, plot.x_ticks, plot.y_ticks, "rank", "identification rate %")
    entries = [(result.models[line.model].id, line.mark) for line in plot.lines]
    return _page(f"CMC, {protocol.title}", [*axes, *drawing.clipped(box, inside)], entries)


def _trained(result: Result, marks: Sequence[figures.Mark]) -> Iterator[tuple[str, str]]:
    for number, family in enumerate(network.families(result, marks), start=1):
        for chart in family.charts:
            yield f"{chart.kind}_{number}", training(chart, result)


def training(chart: network.Chart, result: Result) -> str:
    """Loss or development accuracy over epochs."""
    box, inside = Box(_AREA.left, _AREA.top, _AREA.width, 240), []
    for line in chart.lines:
        inside.append(drawing.stroke(box.path(line.path), COLOURS[line.mark.css], width=1.8, dash=line.mark.dash))
        inside.append(drawing.glyph(box.x(line.x), box.y(line.y), line.mark))
    axes = drawing.axes(box, chart.x_ticks, chart.y_ticks, "epoch", "loss" if chart.kind == "loss" else "accuracy %")
    entries = [(result.models[line.model].id, line.mark) for line in chart.lines]
    return _page(chart.title, [*axes, *drawing.clipped(box, inside)], entries, box)


def sliced(table: slices.Table, result: Result) -> str:
    """FMR and FNMR of every group of a metadata column, models one below the other; small groups in grey."""
    rows = [(part, line) for part in table.parts for line in part.lines]
    top, height = 60.0, _ROW * (len(rows) + len(table.parts))
    boxes = {
        "FMR": (Box(235, top, 130, height), table.fmr_ceiling),
        "FNMR": (Box(400, top, 130, height), table.fnmr_ceiling),
    }
    title = f"{table.column}, {table.protocol.title}"
    body = [drawing.text(12, 20, title, bold=True)]
    for name, (box, ceiling) in boxes.items():
        ticks = (figures.Tick(0, "0"), figures.Tick(50, ""), figures.Tick(100, f"{ceiling} %"))
        body += [drawing.text(box.left, top - 8, f"{name} %"), *drawing.axes(box, ticks, (), "", "")]
    y = top
    for part in table.parts:
        y += _ROW
        words = f"{part.label} ({part.n_genuine:,} genuine, {part.n_impostor:,} impostor pairs)"
        body.append(drawing.text(12, y - 5, words + (f": {part.small}" if part.small else ""), colour=MUTED, halo=True))
        for line in part.lines:
            y += _ROW
            body.append(drawing.text(24, y - 5, result.models[line.model].id, halo=True))
            for strip, (box, _) in zip((line.fmr, line.fnmr), boxes.values(), strict=True):
                body += _strip(strip, line.mark, box, y - 9, grey=part.small is not None)
    return drawing.document(_WIDTH, top + height + 24, title, body)


def _strip(strip: slices.Strip, mark: figures.Mark, box: Box, y: float, *, grey: bool) -> Iterator[str]:
    if strip.low is not None and strip.high is not None:
        colour = RULE if grey else COLOURS[mark.css]
        yield drawing.stroke(f"M{box.x(strip.low):g} {y:g}H{box.x(strip.high):g}", colour, width=1.6)
    if strip.at is not None:
        yield drawing.glyph(box.x(strip.at), y, mark, hollow=grey)
