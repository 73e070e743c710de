"""Figures for print: SVG with literal colours and positions in px, from the geometry the page uses (percent)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bnas_face.report.figures import Mark, Tick

COLOURS = {"fp": "#55575c", "w1a32": "#0a6a9e", "w1a1": "#b84a06", "other": "#460c7f"}
INK, MUTED, RULE, FAINT = "#111111", "#444444", "#bbbbbb", "#e4e4e4"
FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_SHAPES = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "square": "M-3.7-3.7h7.4v7.4h-7.4Z",
    "diamond": "M0-5.4 5.4 0 0 5.4-5.4 0Z",
    "triangle": "M0-5 5 4-5 4Z",
}


@dataclass(frozen=True)
class Box:
    """A plot area in px; positions inside it are percentages, x from the left, y from the top."""

    left: float
    top: float
    width: float
    height: float

    def x(self, percent: float) -> float:
        """Px of a position from the left."""
        return round(self.left + self.width * percent / 100, 2)

    def y(self, percent: float) -> float:
        """Px of a position from the top."""
        return round(self.top + self.height * percent / 100, 2)

    def path(self, data: str) -> str:
        """SVG path data in percent (absolute M, L, H, V and Z) as px."""
        return "".join(self._command(name, numbers) for name, numbers in re.findall(r"([MLHVZ])([^MLHVZ]*)", data))

    def _command(self, name: str, numbers: str) -> str:
        values = [float(value) for value in numbers.split()]
        if name == "H":
            return f"H{self.x(values[0]):g}"
        if name == "V":
            return f"V{self.y(values[0]):g}"
        return name + (f"{self.x(values[0]):g} {self.y(values[1]):g}" if values else "")


def document(width: float, height: float, title: str, body: Iterable[str]) -> str:
    """A whole SVG file on white; `title` is read out in place of the picture."""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" font-family="{FONTS}" font-size="12" fill="none">'
    )
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    return "\n".join([opening, f"<title>{escape(title)}</title>", ground, *body, "</svg>"]) + "\n"


def text(
    x: float,
    y: float,
    content: str,
    *,
    anchor: str = "start",
    colour: str = INK,
    bold: bool = False,
    turn: bool = False,
    halo: bool = False,
) -> str:
    """A line of text with its baseline at `y`, escaped; `turn` writes it upwards, `halo` clears what lies below it."""
    more = ' font-weight="600"' if bold else ""
    more += f' transform="rotate(-90 {x:g} {y:g})"' if turn else ""
    more += ' stroke="#ffffff" stroke-width="5" paint-order="stroke"' if halo else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(content)}</text>'


def stroke(data: str, colour: str, *, width: float = 1.0, dash: str = "") -> str:
    """A stroked path in px."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{data}" stroke="{colour}" stroke-width="{width:g}"{dashed} stroke-linejoin="round"/>'


def area(data: str, colour: str, opacity: float) -> str:
    """A filled path in px."""
    return f'<path d="{data}" fill="{colour}" fill-opacity="{opacity:g}"/>'


def glyph(x: float, y: float, mark: Mark, *, hollow: bool = False) -> str:
    """The mark of a model."""
    colour = COLOURS[mark.css]
    fill, line = ("#ffffff", colour) if hollow else (colour, "#ffffff")
    return f'<path transform="translate({x:g} {y:g})" d="{_SHAPES[mark.shape]}" fill="{fill}" stroke="{line}"/>'


def clipped(box: Box, body: Iterable[str]) -> list[str]:
    """Elements that do not leave the plot area."""
    name = f"c{box.left:g}-{box.top:g}".replace(".", "_")
    rect = f'<rect x="{box.left:g}" y="{box.top:g}" width="{box.width:g}" height="{box.height:g}"/>'
    return [f'<clipPath id="{name}">{rect}</clipPath>', f'<g clip-path="url(#{name})">', *body, "</g>"]


def axes(box: Box, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], x_name: str, y_name: str) -> list[str]:
    """Grid, frame, labels of ticks and names of both axes."""
    bottom, right = box.top + box.height, box.left + box.width
    found = [stroke(f"M{box.x(tick.at):g} {box.top:g}V{bottom:g}", FAINT) for tick in x_ticks]
    found += [stroke(f"M{box.left:g} {box.y(100 - tick.at):g}H{right:g}", FAINT) for tick in y_ticks]
    found.append(stroke(f"M{box.left:g} {box.top:g}V{bottom:g}H{right:g}", MUTED))
    found += [text(box.x(t.at), bottom + 16, t.label, anchor="middle", colour=MUTED) for t in x_ticks if t.label]
    found += [
        text(box.left - 6, box.y(100 - t.at) + 4, t.label, anchor="end", colour=MUTED) for t in y_ticks if t.label
    ]
    if x_name:
        found.append(text(box.left + box.width / 2, bottom + 34, x_name, anchor="middle"))
    if y_name:
        found.append(text(box.left - 40, box.top + box.height / 2, y_name, anchor="middle", turn=True))
    return found


def legend(left: float, top: float, entries: Sequence[tuple[str, Mark]]) -> list[str]:
    """A line, mark and name for every model, one below the other."""
    found = []
    for place, (name, mark) in enumerate(entries):
        y = top + 18 * place
        found.append(stroke(f"M{left:g} {y:g}h34", COLOURS[mark.css], width=2, dash=mark.dash))
        found += [glyph(left + 17, y, mark), text(left + 42, y + 4, f"{name} ({mark.bits})")]
    return found
