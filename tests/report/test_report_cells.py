"""The picture of the cells: every edge is drawn, nothing overlaps, and it reads without the page's style."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from importlib import resources
from pathlib import Path

import pytest
import searches

from bnas_face import genotype as genotypes
from bnas_face.genotype import BNAS_XNOR_1, CELLS, Genotype
from bnas_face.report import cells, picture

GOLDEN = Path(__file__).parent / "golden" / "bnas_xnor_1.svg"
SVG = "{http://www.w3.org/2000/svg}"
MONOSPACE_ADVANCE = 0.62  # of the font size; DejaVu Sans Mono has 0.602


def _drawn(genotype: Genotype) -> ET.Element:
    return ET.fromstring(cells.svg(genotype))


def _groups(root: ET.Element) -> list[ET.Element]:
    """The two cells; the third group is the legend."""
    return root.findall(f"{SVG}g")[: len(CELLS)]


def _boxes(group: ET.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of the operations."""
    found = [r for r in group.iter(f"{SVG}rect") if "box" in r.get("class", "")]
    sides = [[float(r.get(key, 0)) for key in ("x", "y", "width", "height")] for r in found]
    return [(x, y, x + w, y + h) for x, y, w, h in sides]


def _segments(group: ET.Element) -> list[tuple[float, float, float, float]]:
    """The straight parts of the lines as (left, top, right, bottom)."""
    found = []
    for path in group.iter(f"{SVG}path"):
        if path.get("class") != "wire":
            continue
        x = y = 0.0
        for letter, numbers in re.findall(r"([MHVQC])([^MHVQC]*)", path.get("d", "")):
            values = [float(n) for n in numbers.split()]
            before = (x, y)
            x = values[0] if letter == "H" else x if letter == "V" else values[-2]
            y = values[0] if letter == "V" else y if letter == "H" else values[-1]
            if letter in "HV":
                found.append((min(before[0], x), min(before[1], y), max(before[0], x), max(before[1], y)))
    return found


def _apart(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_the_released_cell_looks_as_it_did() -> None:
    assert cells.svg(BNAS_XNOR_1) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("space", ["paper", "onebit"])
@pytest.mark.parametrize("draw", range(15))
def test_nothing_overlaps_whatever_the_genotype(space: str, draw: int) -> None:
    for group in _groups(_drawn(searches.genotype(space, draw=draw))):
        boxes, segments = _boxes(group), _segments(group)
        assert len(boxes) == 8
        assert all(_apart(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
        nodes = [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in group.iter(f"{SVG}circle")]
        circles = [(x - 13, y - 13, x + 13, y + 13) for x, y in nodes]
        assert all(_apart(box, circle) for box in boxes for circle in circles)
        assert segments
        for segment in segments:
            assert all(_apart(segment, box) for box in boxes), segment
        flat = [s for s in segments if s[1] == s[3]]
        assert len({s[1] for s in flat}) == len(flat) == 8


@pytest.mark.parametrize("space", ["paper", "onebit"])
def test_the_longest_name_fits_its_box(space: str) -> None:
    for name in genotypes.OPERATIONS[space]:
        genotype = genotypes.from_pairs(space, [(name, 0), (name, 1)] * 4, [(name, 0), (name, 1)] * 4)
        for group in _groups(_drawn(genotype)):
            texts = [t for t in group.iter(f"{SVG}text") if t.text == name]
            assert len(texts) == 8
            end = {float(t.get("x", 0)) + 12 * MONOSPACE_ADVANCE * len(name) for t in texts}
            signs = {float(t.get("x", 0)) - 16 for t in group.iter(f"{SVG}text") if t.text == "÷2"}
            limits = signs or {right - 4 for _, _, right, _ in _boxes(group)}
            assert max(end) <= max(limits)
            assert all(any(e <= limit for limit in limits) for e in end)


def test_every_edge_is_named_as_in_the_text() -> None:
    genotype = searches.genotype(draw=4)
    root = _drawn(genotype)
    for name, group in zip(CELLS, _groups(root), strict=True):
        shown = [t.text for t in group.iter(f"{SVG}text") if "code" in t.get("class", "")]
        assert shown == [edge.operation for pair in genotype.cell(name) for edge in pair]
    assert root.findtext(f"{SVG}desc") == genotypes.as_text(genotype)
    assert root.findtext(f"{SVG}title") == "Normal and reduction cell, search space paper"


def test_only_operations_on_the_inputs_of_a_reduction_cell_have_stride_two() -> None:
    normal, reduction = _groups(_drawn(BNAS_XNOR_1))
    assert not [t for t in normal.iter(f"{SVG}text") if t.text == "÷2"]
    expected = sum(edge.source < 2 for pair in BNAS_XNOR_1.reduction for edge in pair)
    assert len([t for t in reduction.iter(f"{SVG}text") if t.text == "÷2"]) == expected


def test_an_input_nothing_reads_is_drawn_idle() -> None:
    genotype = genotypes.from_pairs("paper", [("skip_connect", 1)] * 8, [("skip_connect", 1)] * 8)
    circles = [[c.get("class") for c in group.iter(f"{SVG}circle")] for group in _groups(_drawn(genotype))]
    assert circles == [["node idle", "node", "node", "node", "node", "node"]] * 2


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("none", "none"), ("skip_connect", "skip"), ("max_pool_3x3", "pool"), ("conv_5x5", "conv"), ("x", "conv")],
)
def test_kinds_of_operations(operation: str, kind: str) -> None:
    assert cells.kind(operation) == kind


def test_kinds_differ_by_outline_and_not_by_colour_alone() -> None:
    style = picture.style(picture.LIGHT)
    dashes = [re.search(rf"\.box\.op-{kind} \{{[^}}]*dasharray: ([\d. ]+)", style) for kind in ("pool", "skip")]
    assert len({match.group(1) for match in dashes if match}) == 2
    assert "dasharray" not in str(re.search(r"\.box\.op-conv \{[^}]*\}", style))


def test_a_picture_of_its_own_needs_no_variables_and_one_in_a_page_no_style() -> None:
    alone, inside = cells.svg(BNAS_XNOR_1), cells.svg(BNAS_XNOR_1, standalone=False)
    assert "var(" not in alone and "prefers-color-scheme: dark" in alone and 'xmlns="http' in alone
    assert "<style" not in inside and "http" not in inside
    assert {"var(--ink)", "var(--conv)"} <= set(re.findall(r"var\(--\w+\)", picture.style()))


def test_no_class_of_a_picture_is_one_of_the_page() -> None:
    templates = resources.files("bnas_face.report") / "templates"
    page = set(re.findall(r"\.([a-z][\w-]*)", (templates / "report.css").read_text()))
    own = set(re.findall(r'class="([^"]+)"', cells.svg(BNAS_XNOR_1, standalone=False)))
    assert not {word for words in own for word in words.split()} & page


@pytest.mark.parametrize("colours", [picture.LIGHT, picture.DARK], ids=["light", "dark"])
def test_texts_of_pictures_have_readable_contrast(colours: dict[str, str]) -> None:
    for text, ground in (("ink", "paper"), ("muted", "paper"), ("pool", "paper"), ("conv", "tint"), ("alert", "paper")):
        lighter, darker = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def _luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
