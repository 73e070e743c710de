"""SVG pictures, alone or in a page: one style sheet, light and dark, escaped text, words for screen readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from importlib import resources
from string import Template

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff", "ink": "#1d1c1a", "muted": "#5e5a53", "rule": "#c9c4b8", "faint": "#ece9e2",
    "conv": "#1f5a82", "tint": "#e4eef5", "pool": "#8a4b00", "shade": "#1f5a82", "alert": "#a02c2c",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "paper": "#1d1f23", "ink": "#ebe8e2", "muted": "#aba79e", "rule": "#4a4d54", "faint": "#26282d",
    "conv": "#8cc6ec", "tint": "#203443", "pool": "#eab26b", "shade": "#6fb2de", "alert": "#f29a92",
}  # fmt: skip
"""Colours by their role, for readers of light and of dark pages; ``report.css`` names the same roles."""


def style(colours: Mapping[str, str] | None = None) -> str:
    """The style sheet of all pictures; without colours it refers to the variables of the page (``var(--ink)``)."""
    named = {name: f"var(--{name})" for name in LIGHT} if colours is None else colours
    sheet = (resources.files("bnas_face.report") / "templates" / "picture.css").read_text(encoding="utf-8")
    return Template(sheet).substitute(named)


def variables(colours: Mapping[str, str]) -> str:
    """Colours as CSS declarations (``--ink: #1d1c1a;``) for the page a picture stands in."""
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


def draw(
    *, kind: str, width: float, height: float, title: str, description: str, body: Iterable[str], standalone: bool
) -> str:
    """An SVG element of `width` × `height` px; standalone it is a whole document with its own style and ground.

    Parameters
    ----------
    kind : str
        Its CSS class.
    title, description : str
        Read out in place of the picture; escaped here.
    body : iterable of str
        SVG elements, with text already escaped (`text`).
    standalone : bool
        With XML namespace, literal colours (light, and dark where the reader asks for it) and a ground.

    Returns
    -------
    str
    """
    parts = [f"<title>{escape(title)}</title>", f"<desc>{escape(description)}</desc>"]
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    namespace = 'xmlns="http://www.w3.org/2000/svg" ' if standalone else ""
    if standalone:
        dark = f"@media (prefers-color-scheme: dark) {{\n{style(DARK)}}}"
        parts.append(f"<style>\n{style(LIGHT)}{dark}\n</style>")
        parts.append(f'<rect class="ground" width="{width:g}" height="{height:g}"/>')
    opening = f'<svg {namespace}class="picture {kind}" role="img" {size}>'
    return "\n".join([opening, *parts, *body, "</svg>"]) + "\n"


def text(x: float, y: float, content: str, css: str = "", *, anchor: str = "start") -> str:
    """A line of text with its baseline at `y`, escaped; `anchor` is ``start``, ``middle`` or ``end``."""
    return f'<text class="{css}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(content)}</text>'


def line(path: str, css: str) -> str:
    """A stroked path."""
    return f'<path class="{css}" d="{path}"/>'
