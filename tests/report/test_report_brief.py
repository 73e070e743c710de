"""The comparison in a terminal: at most ten lines a protocol, the verdict last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import extended

from bnas_face.report import brief, results


def _blocks(content: dict[str, Any], save_report: Callable[..., Path]) -> list[list[str]]:
    lines = brief.lines(results.load(save_report(content)))
    return [block.split("\n") for block in "\n".join(lines).strip().split("\n\n")]


def test_a_comparison_has_at_most_ten_lines_and_ends_with_the_verdict(
    content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    blocks = _blocks(extended.extend(content), save_report)
    assert len(blocks) == 4
    for block in blocks:
        assert len(block) <= 10
        assert block[-1].startswith("Verdict: lfw-xnor")
    assert "cfp_ff, 1,000 pairs, strict" in blocks[0][0]
    assert any("at its own threshold: FMR 5.2 %, FNMR 12.2 %; at that of lfw-float" in line for line in blocks[0])


def test_identification_shows_ranks_and_the_open_set(content: dict[str, Any], save_report: Callable[..., Path]) -> None:
    full = extended.extend(content)
    full["comparisons"] = [extended.gallery_gap("lfw-xnor", "lfw-float", 0.07)]
    [block] = _blocks(full, save_report)
    text = [" ".join(line.split()) for line in block]
    assert text[0] == "tinyface, 1,200 mated probes, strict lfw-xnor lfw-float"
    assert "rank-1 % (95 %) 63.00 (61.00–65.00) 56.00 (54.00–58.00)" in text
    assert "TPIR % at FPIR 1 % 46.00 (43.00–49.00) 41.00 (38.00–44.00)" in text
    assert text[-1].startswith("Verdict: lfw-xnor is 7.00 points above lfw-float: 63.00")
    assert len(text) <= 10


def test_pairs_of_templates_show_a_dash_for_the_accuracy(
    content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    block = _blocks(extended.templates(content), save_report)[0]
    assert any(line.startswith("accuracy % (95 %)") and "– (–)" in line for line in block)
