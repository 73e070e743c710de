"""The geometry of the figures puts every number where it belongs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from statistics import NormalDist

import pytest

from bnas_face.report import curves, figures, results
from bnas_face.report.records import Model


def _model(weight_bits: int | None, activation_bits: int | None) -> Model:
    return Model(
        id="m",
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        n_parameters=None,
        file_bytes=None,
        twin=None,
        raw={},
    )


def test_models_of_different_bits_differ_in_colour_and_shape_and_of_equal_bits_in_dash() -> None:
    bits = [(32, 32), (1, 32), (1, 1), (8, 8), (32, 32), (None, None)]
    marks = figures.marks([_model(*pair) for pair in bits])
    assert [mark.bits for mark in marks] == ["W32A32", "W1A32", "W1A1", "W8A8", "W32A32", "bits unknown"]
    assert len({(mark.css, mark.shape) for mark in marks}) == 4
    assert marks[0].dash != marks[4].dash


def test_a_normal_deviate_axis_is_linear_in_the_deviate() -> None:
    scale = figures.Scale(0.001, 0.5, NormalDist().inv_cdf)
    middle = NormalDist().cdf(NormalDist().inv_cdf(0.001) / 2)
    assert scale.at(0.001) == 0
    assert scale.at(middle) == pytest.approx(50, abs=0.01)
    assert scale.at(0.5) == 100
    assert scale.at(0.0) == -200
    assert scale.at(1.0) == 200


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.17, 0.02), (1e-6, 3e-6), (-1, 1), (0.123, 0.124)])
def test_round_steps_lie_inside_and_are_few(low: float, high: float) -> None:
    steps = figures.round_steps(low, high, 6)
    assert 2 <= len(steps) <= 7
    assert all(low - 1e-9 <= step <= high + 1e-9 for step in steps)


def test_the_forest_holds_every_gap_between_its_ends_and_zero_inside(report_folder: Path) -> None:
    result = results.load(report_folder)
    marks = dict(zip((m.id for m in result.models), figures.marks(result.models), strict=True))
    plot = figures.forest(result.comparisons, marks)
    assert plot is not None
    assert 0 < plot.zero < 100
    for row in plot.rows:
        assert row.low is not None and row.high is not None
        assert 0 < row.low < row.at < row.high < 100
        assert (row.at < plot.zero) == ((row.comparison.difference.value or 0) < 0)


def test_no_gaps_give_no_forest(report_folder: Path) -> None:
    assert figures.forest([], {}) is None


def test_every_vertex_of_a_det_curve_is_a_measured_point(report_folder: Path) -> None:
    result = results.load(report_folder)
    outcome = result.outcomes[0]
    plot = curves.det([(0, outcome)], figures.marks(result.models))
    assert plot is not None and outcome.curve is not None
    vertices = [tuple(map(float, pair.split())) for pair in plot.lines[0].path[1:].split("L")]
    assert len(vertices) == len(outcome.curve.fmr)
    deviate = NormalDist().inv_cdf
    low, high = deviate(0.25 / outcome.n_impostor), deviate(0.5)
    for (x, _), fmr in zip(vertices, outcome.curve.fmr, strict=True):
        if 0 < x < 100:
            assert x == pytest.approx(100 * (deviate(fmr) - low) / (high - low), abs=0.01)
    expected = 100 * (deviate(1 / outcome.n_impostor) - low) / (high - low)
    assert plot.supported == pytest.approx(expected, abs=0.01)


def test_roc_marks_stand_only_at_supported_targets(report_folder: Path) -> None:
    result = results.load(report_folder)
    plot = curves.roc([(0, result.outcomes[0])], figures.marks(result.models))
    assert plot is not None
    supported = [t for t in result.outcomes[0].tar_at_fmr if t.refused is None and t.fmr_achieved]
    assert len(plot.lines[0].dots) == len(supported) < 3
    for dot, tar in zip(plot.lines[0].dots, supported, strict=True):
        low = math.log10(0.5 / 500)
        assert dot.x == pytest.approx(100 * (math.log10(tar.fmr_achieved or 1) - low) / -low, abs=0.01)


def test_histograms_of_twin_and_own_share_one_axis_and_the_twins_threshold(report_folder: Path) -> None:
    result = results.load(report_folder)
    marks = figures.marks(result.models)
    twin, own = result.outcomes[0], result.outcomes[2]
    plot = figures.scores((0, twin), (2, own), marks)
    assert plot is not None
    assert [panel.model for panel in plot.panels] == [0, 2]
    assert plot.shared == plot.panels[0].threshold
    for panel in plot.panels:
        assert panel.threshold_low is not None and panel.threshold is not None and panel.threshold_high is not None
        assert panel.threshold_low <= panel.threshold <= panel.threshold_high
        assert panel.genuine != panel.impostor
    assert figures.scores((0, twin), (2, dataclasses.replace(own, histogram=None)), marks) is None
