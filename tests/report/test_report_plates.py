"""Figures as files: well-formed SVG, PNG where the extra is there, and names that hold nothing from a file."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import extended
import pytest
from click.testing import CliRunner

from bnas_face.cli.report import command
from bnas_face.report import drawing, figures, plates, results
from bnas_face.report.figures import Mark

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def svg_only(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Rasterising takes a third of a second a figure: only the tests of PNG files do it."""
    if "png" not in request.node.name and "extra" not in request.node.name:
        monkeypatch.setattr(plates, "_rasteriser", lambda: None)


def _texts(file: Path) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(file.read_text()).iter() if "text" in node.tag]


def test_every_protocol_has_its_figures(content: dict[str, Any], save_report: Save) -> None:
    folder = save_report(extended.extend(content))
    plates.write(folder)
    found = {file.stem for file in (folder / "figures").glob("*.svg")}
    assert found == {
        *(f"{kind}_{name}" for kind in ("det", "roc", "forest", "size") for name in ("cfp_ff", "cfp_fp")),
        *(f"scores_{name}_{number}" for name in ("cfp_ff", "cfp_fp") for number in (1, 2, 3)),
        *(f"slices_{name}_{column}" for name in ("cfp_ff", "cfp_fp") for column in ("yaw", "age_gap")),
        "cmc_tinyface",
        "loss_1",
        "development_1",
    }
    for name in found:
        texts = _texts(folder / "figures" / f"{name}.svg")
        assert any("lfw-xnor" in text or "onnx" in text for text in texts), name
    assert {"FMR %", "FNMR %", "insufficient data"} <= set(_texts(folder / "figures" / "det_cfp_ff.svg"))


def test_curves_are_not_drawn_where_the_data_are_insufficient(report_folder: Path) -> None:
    plates.write(report_folder)
    tree = ElementTree.fromstring((report_folder / "figures" / "roc_cfp_ff.svg").read_text())
    spaces = {"s": "http://www.w3.org/2000/svg"}
    [clip] = tree.findall("s:clipPath/s:rect", spaces)
    assert float(clip.get("x", "0")) > plates._AREA.left + 10
    assert float(clip.get("x", "0")) + float(clip.get("width", "0")) == plates._AREA.left + plates._AREA.width


def test_png_files_have_three_times_the_size_of_the_svg(report_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resvg_py")
    few = list(plates.plates(results.load(report_folder), figures.marks(results.load(report_folder).models)))[::6]
    monkeypatch.setattr(plates, "plates", lambda *_: iter(few))
    [line] = plates.write(report_folder)
    assert line.endswith("figures as SVG and PNG)")
    for file in (report_folder / "figures").glob("*.svg"):
        content = file.with_suffix(".png").read_bytes()
        assert content.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", content[16:24])
        root = ElementTree.fromstring(file.read_text())
        assert width == pytest.approx(plates.ZOOM * float(root.get("width", "0")), abs=1)
        assert height == pytest.approx(plates.ZOOM * float(root.get("height", "0")), abs=1)


def test_without_the_extra_the_svgs_are_written_and_one_sentence_says_why_no_png(
    report_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plates, "_rasteriser", lambda: None)
    answer = CliRunner().invoke(command, [str(report_folder), "--figures"], catch_exceptions=False)
    assert answer.exit_code == 0
    page, files, reason = answer.output.splitlines()
    assert page.endswith("opens without network)")
    assert re.fullmatch(r".*figures \(14 figures as SVG\)", files)
    assert reason == plates.NO_PNG
    assert not list((report_folder / "figures").glob("*.png"))


def test_the_extra_that_is_not_installed_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    assert plates._rasteriser() is None


def test_hostile_names_stay_text_and_leave_file_names(content: dict[str, Any], save_report: Save) -> None:
    hostile = "../</text></svg><script>alert(1)</script>"
    content["protocols"][0] |= {"name": hostile, "title": hostile}
    for entry in (*content["results"], *content["comparisons"]):
        entry["protocol"] = hostile if entry["protocol"] == "cfp_ff" else entry["protocol"]
    folder = save_report(content)
    plates.write(folder)
    files = list((folder / "figures").iterdir())
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+\.(svg|png)", file.name) for file in files)
    assert {file.parent for file in folder.rglob("*.svg")} == {folder / "figures"}
    for file in folder.rglob("*.svg"):
        assert not [node.tag for node in ElementTree.fromstring(file.read_text()).iter() if "script" in node.tag]


def test_names_that_become_equal_get_numbers() -> None:
    found = list(plates._named([("det_a/b", "1"), ("det_a:b", "2"), ("det_a_b", "3")]))
    assert found == [("det_a_b", "1"), ("det_a_b-2", "2"), ("det_a_b-3", "3")]


def test_paths_in_percent_become_px() -> None:
    box = drawing.Box(10, 20, 200, 100)
    assert box.path("M0 100L50 50H100V0Z") == "M10 120L110 70H210V20Z"


def test_a_hollow_mark_is_white_inside() -> None:
    mark = Mark(css="w1a1", shape="diamond", dash="", bits="W1A1")
    assert 'fill="#ffffff" stroke="#b84a06"' in drawing.glyph(0, 0, mark, hollow=True)
    assert 'fill="#b84a06"' in drawing.glyph(0, 0, mark)
