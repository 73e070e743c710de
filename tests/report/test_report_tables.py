"""Markdown and LaTeX tables: their golden text, and names that cannot break out of a cell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import extended

from bnas_face.report import figures, results, tables

GOLDEN = Path(__file__).parent / "golden"


def _tables(folder: Path) -> tuple[str, str]:
    result = results.load(folder)
    marks = figures.marks(result.models)
    return tables.markdown(result, marks), tables.latex(result, marks)


def test_markdown_equals_its_golden_text(report_folder: Path) -> None:
    assert _tables(report_folder)[0] == (GOLDEN / "tables.md").read_text()


def test_latex_equals_its_golden_text(report_folder: Path) -> None:
    assert _tables(report_folder)[1] == (GOLDEN / "tables.tex").read_text()


def test_a_twin_is_followed_by_its_binarized_models(report_folder: Path) -> None:
    result = results.load(report_folder)
    found = [row.model.id for row in tables.rows(result, figures.marks(result.models))]
    assert found[:4] == ["lfw-float", "lfw-xnor", "lfw-xnor-w1a1", "onnx:vface_mobilefacenet.onnx"]


def test_a_hostile_name_stays_in_its_cell(content: dict[str, Any], save_report: Callable[..., Path]) -> None:
    content["protocols"][0]["title"] = "a|b\nc<i>&$x_{1}%\\end{tabular}"
    markdown, latex = _tables(save_report(content))
    assert "a\\|b c&lt;i&gt;&amp;$x\\_{1}%\\\\end{tabular}" in markdown
    assert len({line.replace("\\|", "").count("|") for line in markdown.split("\n\n")[0].splitlines()}) == 1
    assert "a|b c$<$i$>$\\&\\$x\\_\\{1\\}\\%\\textbackslash{}end\\{tabular\\}" in latex
    assert latex.count("\\end{tabular}") == 2


def test_a_result_without_results_gives_no_empty_tables(
    content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    content["results"], content["comparisons"] = [], []
    markdown, latex = _tables(save_report(content))
    assert "|" not in markdown
    assert "tabular" not in latex


def test_slices_and_galleries_have_tables_of_their_own(
    content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    markdown, latex = _tables(save_report(extended.extend(content)))
    assert "| CFP Frontal-Frontal | yaw: 30 to 60 | lfw-float | 180 | 250 | 1.2 | 0.0–2.5 | 6.1 | 2.7–9.5 |" in markdown
    assert "yaw: 60 to 90 (fewer than 30 impostor pairs) | lfw-float" in markdown
    assert "| TinyFace, identification | lfw-float | rank 1 | 56.00 | 54.00–58.00 | – | – | – |" in markdown
    assert "| lfw-float | TPIR at FPIR 1 % | 41.00 | 38.00–44.00 | 0.9 | 8 of 900 | 0.520 |" in markdown
    assert "TPIR at FPIR 0.1 % | insufficient data | – | – | – | – |" in markdown
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 5
