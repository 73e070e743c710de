"""The shrinking of the search space as a picture: one row an edge, one column an operation, time inside the columns.

The bar of an operation grows by one step for every round it survives, and is shaded by its likelihood in that round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from bnas_face.genotype import CELLS, EDGES, N_INPUTS, OPERATIONS, Genotype
from bnas_face.report import picture
from bnas_face.report.history import Moment, Place, read, shrinkage

MOST_STEPS = 12
_LEFT, _EDGE_WIDTH, _COLUMN, _GUTTER, _FOUND_WIDTH = 14.0, 50.0, 72.0, 10.0, 132.0
_ROW, _BAR, _NODE_GAP = 14.0, 9.0, 6.0
_HEAD, _CHART, _TABLE_ROW = 52.0, 64.0, 17.0
_CELL_HEIGHT = 44.0 + len(EDGES) * _ROW + 3 * _NODE_GAP + 14.0
_SHADES = 5
_LABELS = 150.0
NOTHING = "The searcher kept no history: it draws whole genotypes and abandons nothing step by step."


def shrinking(history: Any, *, genotype: Genotype | None = None, standalone: bool = True) -> str:
    """What was left, likely and abandoned over time, and the accuracy.

    Parameters
    ----------
    history : list
        ``origin.history`` of a genotype.
    genotype : Genotype, optional
        What was found: the edges it kept are set in bold, and its origin tells the noise of counting.
    standalone : bool
        A whole SVG document; False for a page that holds `picture.style`.

    Returns
    -------
    str
        SVG; for an empty history (random search) a line of text: `NOTHING`.

    Raises
    ------
    FormatError
        If the history is damaged.
    """
    every = read(history, genotype.origin if genotype else None)
    moments = _thinned(every)
    if not moments:
        return NOTHING
    names = _columns(moments)
    cells_top = _HEAD + _table_height(moments)
    width = _LEFT + _EDGE_WIDTH + len(names) * (_COLUMN + _GUTTER) + _FOUND_WIDTH
    return picture.draw(
        kind="shrinking",
        width=width,
        height=cells_top + len(CELLS) * _CELL_HEIGHT + 34,
        title="The search space over time",
        description=describe(every),
        body=[
            *_head(moments),
            *_table(moments, width),
            *(part for place, cell in enumerate(CELLS) for part in _cell(cell, place, moments, names, genotype)),
            *_legend(moments, cells_top + len(CELLS) * _CELL_HEIGHT),
        ],
        standalone=standalone,
    )


def describe(moments: Sequence[Moment]) -> str:
    """The picture in words, for those who do not see it."""
    total = shrinkage(moments)
    word = _word(moments).capitalize()
    lines = [
        f"{word} {m.number}: {m.most_operations} operations an edge"
        + ("" if m.accuracy is None else f", accuracy {100 * m.accuracy:.1f} %")
        + (f", {len(m.abandoned)} abandoned" if m.abandoned else "")
        for m in moments
    ]
    if total.n_coin_tosses is not None:
        lines.append(f"{total.n_coin_tosses} of {total.n_abandoned} abandonments had a margin within the noise")
    return ". ".join(lines) + "."


def _thinned(moments: tuple[Moment, ...]) -> tuple[Moment, ...]:
    """At most `MOST_STEPS` moments, the first and the last among them (the reduction has no more than eight)."""
    if len(moments) <= MOST_STEPS:
        return moments
    last = len(moments) - 1
    return tuple(moments[round(k * last / (MOST_STEPS - 1))] for k in range(MOST_STEPS))


def _word(moments: Sequence[Moment]) -> str:
    return "epoch" if any(moment.is_share for moment in moments) else "round"


def _columns(moments: Sequence[Moment]) -> tuple[str, ...]:
    """The operations in the order of their space."""
    seen = {name for m in moments for cell in CELLS for left in m.remaining[cell] for name in left}
    space = max(OPERATIONS.values(), key=lambda names: len(seen & set(names)))
    return tuple(name for name in space if name in seen)


def _head(moments: Sequence[Moment]) -> Iterator[str]:
    yield picture.text(_LEFT, 20, "The search space over time", "heading")
    scale = "its weight softmax(α)" if any(m.is_share for m in moments) else "its likelihood among all of that round"
    words = (
        f"A bar grows by one step for every {_word(moments)} its operation was left. The stronger the colour, the "
        f"higher {scale}."
    )
    yield picture.text(_LEFT, 37, words, "aside")


def _table_rows(moments: Sequence[Moment]) -> list[tuple[str, list[str]]]:
    """Numbers under the curve: label, one text a moment. Rows that hold nothing are left out."""
    rows = [
        (_word(moments), [str(m.number) for m in moments]),
        ("operations an edge", [str(m.most_operations) for m in moments]),
        ("abandoned after it", [str(len(m.abandoned) or "") for m in moments]),
        ("of these within the noise", [_tosses(m) for m in moments]),
    ]
    if len({m.most_operations for m in moments}) == 1:
        rows.pop(1)
    return [(label, texts) for label, texts in rows if any(texts)]


def _tosses(moment: Moment) -> str:
    if not moment.abandoned or moment.noise is None:
        return ""
    return str(sum(moment.is_coin_toss(margin) for margin in moment.margins))


def _table_height(moments: Sequence[Moment]) -> float:
    return _CHART * _has_accuracy(moments) + len(_table_rows(moments)) * _TABLE_ROW + 14


def _has_accuracy(moments: Sequence[Moment]) -> bool:
    return any(moment.accuracy is not None for moment in moments)


def _table(moments: Sequence[Moment], width: float) -> Iterator[str]:
    """The accuracy as a curve, and below it what happened, aligned."""
    step = (width - _LABELS - 40) / max(1, len(moments))
    xs = [_LABELS + _LEFT + (place + 0.5) * step for place in range(len(moments))]
    if _has_accuracy(moments):
        yield from _curve(moments, xs)
    top = _HEAD + _CHART * _has_accuracy(moments)
    for row, (label, texts) in enumerate(_table_rows(moments)):
        y = top + (row + 0.8) * _TABLE_ROW
        yield picture.text(_LEFT, y, label, "aside")
        for x, content in zip(xs, texts, strict=True):
            yield picture.text(x, y, content, "small", anchor="middle")


def _curve(moments: Sequence[Moment], xs: Sequence[float]) -> Iterator[str]:
    points = [(x, m.accuracy) for x, m in zip(xs, moments, strict=True) if m.accuracy is not None]
    low, high = min(v for _, v in points), max(v for _, v in points)
    bottom, height = _HEAD + _CHART - 14, _CHART - 36
    at = [(x, bottom - height * ((v - low) / (high - low) if high > low else 0.5), v) for x, v in points]
    yield picture.text(_LEFT, bottom - height / 2 + 4, "mean accuracy, %", "aside")
    if len(at) > 1:
        yield picture.line("M" + "L".join(f"{x:g} {y:.1f}" for x, y, _ in at), "curve")
    labelled = {0, len(at) - 1, max(range(len(at)), key=lambda i: at[i][2])} if len(at) > 12 else set(range(len(at)))
    for place, (x, y, value) in enumerate(at):
        yield f'<circle class="point" cx="{x:g}" cy="{y:.1f}" r="2.5"/>'
        if place in labelled:
            yield picture.text(x, y - 8, f"{100 * value:.1f}", "small", anchor="middle")


def _cell(
    cell: str, place: int, moments: Sequence[Moment], names: Sequence[str], genotype: Genotype | None
) -> Iterator[str]:
    """The bars of one cell."""
    scales = _scales(moments)
    top = _HEAD + _table_height(moments) + place * _CELL_HEIGHT
    yield picture.text(_LEFT, top + 18, f"{cell.capitalize()} cell", "heading")
    yield picture.text(_LEFT, top + 38, "edge", "aside")
    for column, name in enumerate(names):
        yield picture.text(_column_x(column), top + 38, name, "code")
    yield picture.text(_column_x(len(names)) + 8, top + 38, "found", "aside")
    for edge, (source, target) in enumerate(EDGES):
        y = top + 44 + edge * _ROW + (target - N_INPUTS) * _NODE_GAP
        found = _found(cell, edge, moments)
        kept = _kept(genotype, cell, source, target)
        weight = "kept" if kept else "aside"
        yield picture.text(_LEFT, y + 9, f"{source} → {target}", weight)
        for column, name in enumerate(names):
            yield from _bar((cell, edge, name), _column_x(column), y, moments, scales, name == found)
        yield picture.text(
            _column_x(len(names)) + 8,
            y + 9,
            f"none → {kept}" if kept and found == "none" else kept or found,
            f"code {weight}",
        )


def _kept(genotype: Genotype | None, cell: str, source: int, target: int) -> str:
    """The operation the genotype has on an edge (for one that ended with "none" its substitute); empty without one."""
    edges = genotype.cell(cell)[target - N_INPUTS] if genotype else ()
    return next((edge.operation for edge in edges if edge.source == source), "")


def _column_x(column: int) -> float:
    return _LEFT + _EDGE_WIDTH + column * (_COLUMN + _GUTTER)


def _found(cell: str, edge: int, moments: Sequence[Moment]) -> str:
    """The operation an edge ends with: the only one left, else that with the largest weight but "none"."""
    last = moments[-1]
    left = last.remaining[cell][edge]
    real = [name for name in left if name != "none"] or list(left)
    return max(real, key=lambda name: last.weight.get((cell, edge, name), 0.0))


def _bar(
    place: Place, x: float, y: float, moments: Sequence[Moment], scales: Sequence[tuple[float, float]], found: bool
) -> Iterator[str]:
    """One step for every moment at which the operation is left, and a mark where it was abandoned."""
    cell, edge, name = place
    step, middle = _COLUMN / len(moments), y + _BAR / 2
    survived = [moment for moment in moments if name in moment.remaining[cell][edge]]
    yield f"<g><title>{escape(_hint(place, moments))}</title>"
    end = len(survived) * step
    if end < _COLUMN:
        yield picture.line(f"M{x + end:g} {middle:g}h{_COLUMN - end:g}", "track")
    shades = [_shade(moment.weight.get(place), scales[at]) for at, moment in enumerate(survived)]
    for shade in sorted(set(shades)):
        steps = (f"M{x + at * step:.4g} {middle:g}h{step - 1:.3g}" for at, own in enumerate(shades) if own == shade)
        yield picture.line("".join(steps), f"step s{shade}")
    if found:
        yield f'<rect class="found" x="{x - 1.5:g}" y="{y - 1.5:g}" width="{_COLUMN + 2:g}" height="{_BAR + 3:g}"/>'
    elif (moment := _abandoned_at(place, moments)) and moment.is_coin_toss(moment.abandoned[place]):
        yield f'<circle class="toss" cx="{x + end + step / 2:.4g}" cy="{middle:g}" r="3"/>'
    yield "</g>"


def _scales(moments: Sequence[Moment]) -> tuple[tuple[float, float], ...]:
    """Least and most weight of every moment's shades.

    A likelihood is shaded among those of its round. A share is shaded from 0 to the largest of all epochs, or to twice
    an equal share where none is larger: undecided weights are all of a middle shade.
    """
    equal = 1 / max(moment.most_operations for moment in moments)
    largest = max(2 * equal, *(value for moment in moments for value in moment.weight.values()), 0.0)
    return tuple(
        (0.0, largest)
        if moment.is_share
        else (min(moment.weight.values(), default=0.0), max(moment.weight.values(), default=0.0))
        for moment in moments
    )


def _shade(weight: float | None, scale: tuple[float, float]) -> int:
    """0 (least) to `_SHADES` − 1 (most); the middle where nothing is known."""
    low, high = scale
    if weight is None or high <= low:
        return _SHADES // 2
    return min(_SHADES - 1, int(_SHADES * (weight - low) / (high - low)))


def _abandoned_at(place: Place, moments: Sequence[Moment]) -> Moment | None:
    return next((moment for moment in moments if place in moment.abandoned), None)


def _hint(place: Place, moments: Sequence[Moment]) -> str:
    """What a pointer over a bar reads: edge, operation, end and margin."""
    cell, edge, name = place
    source, target = EDGES[edge]
    words = f"{cell} cell, {source} → {target}, {name}"
    moment = _abandoned_at(place, moments)
    if moment is None:
        return words
    margin = moment.abandoned[place]
    words += f": abandoned in {_word(moments)} {moment.number}"
    return (
        words
        if margin is None
        else f"{words}, margin {margin:.3g}" + (" (within the noise)" if moment.is_coin_toss(margin) else "")
    )


def _legend(moments: Sequence[Moment], top: float) -> Iterator[str]:
    y = top + 10
    for shade in range(_SHADES):
        yield picture.line(f"M{_LEFT + shade * 14:g} {y + _BAR / 2:g}h13", f"step s{shade}")
    yield picture.text(_LEFT + 78, y + 9, "less to more likely", "aside")
    yield f'<rect class="found" x="{_LEFT + 206:g}" y="{y - 1:g}" width="26" height="{_BAR + 2:g}"/>'
    yield picture.text(_LEFT + 240, y + 9, "found; bold: kept in the cell (two for each node)", "aside")
    if any(moment.is_coin_toss(margin) for moment in moments for margin in moment.margins):
        yield f'<circle class="toss" cx="{_LEFT + 540:g}" cy="{y + _BAR / 2:g}" r="3"/>'
        yield picture.text(_LEFT + 552, y + 9, "abandoned by a margin within the noise", "aside")
