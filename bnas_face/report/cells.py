"""The cells of a genotype as a picture.

A staircase from left to right: every operation has a row of its own, the two rows of a node stand left of it, and a
node's output runs down a trunk of its own. So lines cross at right angles only, and no line touches a box it does not
belong to, whatever the genotype.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnas_face.genotype import CELLS, N_INPUTS, N_NODES, Cell, Genotype, as_text
from bnas_face.report import picture

INPUT_NAMES = ("k−2", "k−1")
_LEFT, _TOP, _INPUT_STEP = 34.0, 86.0, 46.0
_ROW, _NODE_GAP, _BOX_HEIGHT, _RADIUS, _BEND = 32.0, 12.0, 24.0, 13.0, 8.0
_TEXT_WIDTH, _HALVED_WIDTH, _ARROW, _MERGE = 110.0, 22.0, 24.0, 24.0
_CELL_HEIGHT = _TOP + N_NODES * (2 * _ROW + _NODE_GAP) + 22.0
_LEGEND_HEIGHT = 34.0


def kind(operation: str) -> str:
    """What sort of operation it is: ``none``, ``skip``, ``pool`` or ``conv``."""
    return next((word for word in ("none", "skip", "pool") if word in operation), "conv")


def svg(genotype: Genotype, *, standalone: bool = True) -> str:
    """Both cells as one picture, the normal above the reduction cell.

    Parameters
    ----------
    genotype : Genotype
    standalone : bool
        A whole SVG document, readable in light and dark; False for a page that holds `picture.style`.

    Returns
    -------
    str
        SVG; its description is `genotype.as_text`.
    """
    width = _width(halves=True)
    body = [
        element
        for place, name in enumerate(CELLS)
        for element in _placed(_drawn(name, genotype.cell(name)), place * _CELL_HEIGHT)
    ]
    return picture.draw(
        kind="cells",
        width=width,
        height=len(CELLS) * _CELL_HEIGHT + _LEGEND_HEIGHT,
        title=f"Normal and reduction cell, search space {genotype.space}",
        description=as_text(genotype),
        body=[*body, *_placed(_legend(), len(CELLS) * _CELL_HEIGHT)],
        standalone=standalone,
    )


def _placed(elements: Iterator[str], top: float) -> list[str]:
    return [f'<g transform="translate(0 {top:g})">', *elements, "</g>"]


def _step(halves: bool) -> float:
    return _ARROW + _TEXT_WIDTH + halves * _HALVED_WIDTH + _MERGE + _RADIUS


def _width(halves: bool) -> float:
    return _node_x(N_INPUTS + N_NODES - 1, halves) + 90.0


def _node_x(node: int, halves: bool) -> float:
    """Centre of a node, and of the trunk below it."""
    return _LEFT + min(node, 1) * _INPUT_STEP + max(0, node - 1) * _step(halves)


def _row_y(node: int, place: int) -> float:
    """Middle of the row of the first or the second operation of a node."""
    return _TOP + (node - N_INPUTS) * (2 * _ROW + _NODE_GAP) + (place + 0.5) * _ROW


def _node_y(node: int) -> float:
    return _TOP - 22.0 if node < N_INPUTS else (_row_y(node, 0) + _row_y(node, 1)) / 2


def _drawn(name: str, cell: Cell) -> Iterator[str]:
    """The elements of one cell, from those that lie below to those that lie above."""
    halves = name == "reduction"
    note = "halves height and width, doubles the channels" if halves else "keeps height and width"
    yield f'<text class="heading" x="{_LEFT - 20:g}" y="20">{name.capitalize()} cell'
    yield f'<tspan class="aside" dx="8" font-weight="400">{note}</tspan></text>'
    edges = [
        (edge.source, node, place, edge.operation)
        for node, pair in enumerate(cell, N_INPUTS)
        for place, edge in enumerate(pair)
    ]
    used = {source for source, *_ in edges}
    for source in used:
        lowest = max(_row_y(node, place) for start, node, place, _ in edges if start == source)
        yield picture.line(f"M{_node_x(source, halves):g} {_node_y(source):g}V{lowest - _BEND:g}", "wire")
    for source, node, place, operation in edges:
        yield from _branch(source, node, place, halves)
        yield from _operation(node, place, operation, halves and source < N_INPUTS, halves)
    for node in range(N_INPUTS + N_NODES):
        yield from _node(node, node in used or node >= N_INPUTS, halves)
    yield from _output(halves)


def _branch(source: int, node: int, place: int, halves: bool) -> Iterator[str]:
    """The line from the trunk of a node to an operation that reads it; it passes over the trunks it crosses."""
    x, y, end = _node_x(source, halves), _row_y(node, place), _node_x(node, halves) - _step(halves) + _ARROW
    yield picture.line(f"M{x + _BEND + 2:g} {y:g}H{end - 8:g}", "halo")
    yield picture.line(f"M{x:g} {y - _BEND:g}Q{x:g} {y:g} {x + _BEND:g} {y:g}H{end - 6:g}", "wire")
    yield picture.line(f"M{end:g} {y:g}l-8 -4v8Z", "arrow")


def _operation(node: int, place: int, operation: str, stride: bool, halves: bool) -> Iterator[str]:
    """A named box in the row of its edge, and the line from it to its node."""
    y, end = _row_y(node, place), _node_x(node, halves)
    width = _TEXT_WIDTH + halves * _HALVED_WIDTH
    left = end - _RADIUS - _MERGE - width
    sort = kind(operation)
    corner = {"conv": 4, "pool": 12}.get(sort, 12)
    down = 1 if place == 0 else -1
    target = _node_y(node)
    yield picture.line(
        f"M{left + width:g} {y:g}C{left + width + 14:g} {y:g} {end - _RADIUS - 10:g} {target - 5 * down:g} "
        f"{end:g} {target:g}",
        "wire",
    )
    yield (
        f'<rect class="box op-{sort}" x="{left:g}" y="{y - _BOX_HEIGHT / 2:g}" width="{width:g}" '
        f'height="{_BOX_HEIGHT:g}" rx="{corner}"/>'
    )
    yield picture.text(left + 10, y, operation, f"code middle op-{sort}")
    if stride:
        yield picture.text(left + width - 9, y, "÷2", f"middle op-{sort}", anchor="end")


def _node(node: int, used: bool, halves: bool) -> Iterator[str]:
    x, y = _node_x(node, halves), _node_y(node)
    yield f'<circle class="node{"" if used else " idle"}" cx="{x:g}" cy="{y:g}" r="{_RADIUS:g}"/>'
    yield picture.text(x, y, str(node), "middle", anchor="middle")
    if node < N_INPUTS:
        yield _cell_name(x, y - 21, INPUT_NAMES[node])


def _cell_name(x: float, y: float, index: str) -> str:
    """The letter c with an index below the line."""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle"><tspan font-style="italic">c</tspan>'
        f'<tspan class="aside" dy="3">{index}</tspan></text>'
    )


def _output(halves: bool) -> Iterator[str]:
    """The bar that concatenates the four nodes."""
    first, last = N_INPUTS, N_INPUTS + N_NODES - 1
    bar = _node_x(last, halves) + 44
    for node in range(first, last + 1):
        y = _node_y(node)
        yield picture.line(f"M{_node_x(node, halves) + _RADIUS:g} {y:g}H{bar:g}", "wire out")
    top, bottom = _node_y(first) - 16, _node_y(last) + 16
    yield f'<rect class="output" x="{bar:g}" y="{top:g}" width="7" height="{bottom - top:g}" rx="2"/>'
    yield _cell_name(bar + 3.5, top - 10, "k")
    yield picture.text(bar + 3.5, bottom + 17, "concatenate", "aside", anchor="middle")


def _legend() -> Iterator[str]:
    """What the outlines of the boxes mean."""
    x = _LEFT - 20
    for sort, words in (("conv", "convolution"), ("pool", "pooling"), ("skip", "skip connection")):
        corner = 4 if sort == "conv" else 9
        yield f'<rect class="box op-{sort}" x="{x:g}" y="1" width="34" height="18" rx="{corner}"/>'
        yield picture.text(x + 42, 10, words, "aside middle")
        x += 72 + 6.2 * len(words)
    yield picture.text(x, 10, "÷2 stride 2", "aside middle")
