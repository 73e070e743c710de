"""The verdict says below, above or indistinguishable only where interval and test agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnas_face.report import results, verdict
from bnas_face.report.estimate import Estimate
from bnas_face.report.records import Comparison


def _comparison(
    value: float | None, low: float | None, high: float | None, p: float | None, holm: float | None
) -> Comparison:
    gap = Estimate(value=value, low=low, high=high, method="bootstrap", reason="")
    return Comparison(protocol="p", model="m", twin="t", difference=gap, p_value=p, p_holm=holm, p_method="McNemar")


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (_comparison(-0.1, -0.2, -0.05, 0.001, 0.002), "below"),
        (_comparison(0.1, 0.05, 0.2, 0.001, 0.002), "above"),
        (_comparison(-0.1, -0.2, 0.1, 0.3, 0.6), "indistinguishable"),
        (_comparison(-0.1, -0.2, -0.05, 0.04, 0.08), "undecided"),
        (_comparison(-0.1, -0.2, 0.01, 0.01, 0.02), "undecided"),
        (_comparison(-0.1, -0.2, -0.05, 0.04, None), "below"),
        (_comparison(-0.1, -0.2, -0.05, None, None), "below"),
        (_comparison(-0.1, None, None, 0.001, None), "below"),
        (_comparison(-0.1, None, None, None, None), "unknown"),
        (_comparison(None, None, None, None, None), "unknown"),
        (_comparison(0.0, 0.0, 0.0, 1.0, 1.0), "indistinguishable"),
    ],
)
def test_interval_and_corrected_test_must_agree(comparison: Comparison, expected: str) -> None:
    assert verdict.finding(comparison) == expected


def test_sentences_name_gap_interval_test_and_correction(report_folder: Path) -> None:
    found = {(v.comparison.protocol, v.comparison.model): v for v in verdict.verdicts(results.load(report_folder))}
    first = found["cfp_ff", "lfw-xnor-w1a1"]
    assert first.claim == "is 15.8 points below"
    assert first.evidence == (
        "73.3\u00a0% against 89.1\u00a0% of 1,000 pairs decided rightly; "
        "95 % interval of the gap −16.9 to −14.6 points; McNemar exact p < 0.001."
    )
    second = found["cfp_ff", "lfw-xnor"]
    assert second.claim == "is indistinguishable from"
    assert second.evidence.endswith("McNemar exact p = 0.210, Holm 0.420.")
    assert first.evidence.count("would have been seen") == 0
    assert "Interval and test disagree" in found["cfp_fp", "lfw-xnor"].evidence


def test_indistinguishable_says_how_small_a_gap_would_have_been_seen(
    content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    content["comparisons"][0]["smallest_gap"] = 0.0125
    [found, *_] = verdict.verdicts(results.load(save_report(content)))
    assert found.finding == "indistinguishable"
    assert found.evidence.endswith(
        "Holm 0.420; with as many pairs decided differently, gaps from 1.25 points on would have been seen "
        "(before correction)."
    )


@pytest.mark.parametrize(
    ("file_bytes", "packed", "expected"),
    [
        (8_421_376, None, ""),
        (690_000, None, "Its file is 12× smaller (690 kB against 8.42 MB)."),
        (
            8_421_376,
            1_250_000,
            "Packed it would be 6.7× smaller (1.25 MB against 8.42 MB; computed, its file still holds floats).",
        ),
        (None, None, ""),
    ],
)
def test_bytes_are_said_to_be_saved_only_with_how_that_is_known(
    file_bytes: int | None, packed: int | None, expected: str, content: dict[str, Any], save_report: Callable[..., Path]
) -> None:
    simulated = {"packed_bytes": packed, "file_format": "float32 safetensors (simulated)"} if packed else {}
    content["models"][1] |= {"file_bytes": file_bytes, **simulated}
    assert verdict.verdicts(results.load(save_report(content)))[0].bytes_saved == expected
