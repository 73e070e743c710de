"""Rates against their definitions by counting, hand tables, and invariance over all metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.errors import MetricError, TooFewImpostorsError
from bnas_face.metrics import distributions, folds, rates, thresholds

# few distinct values: ties within and between the classes are the rule
SCORES = st.lists(st.tuples(st.integers(-3, 3).map(lambda i: i / 3), st.booleans()), min_size=2, max_size=24).filter(
    lambda pairs: len({genuine for _, genuine in pairs}) == 2
)


def split(pairs: list[tuple[float, bool]]) -> tuple[list[float], list[bool]]:
    return [score for score, _ in pairs], [genuine for _, genuine in pairs]


@settings(deadline=None)
@given(SCORES)
def test_error_curve_equals_counting_at_every_threshold(pairs: list[tuple[float, bool]]) -> None:
    scores, genuine = split(pairs)
    curve = rates.error_curve(scores, genuine)
    at = oracle.thresholds(scores)
    assert curve.threshold[:-1].tolist() == at[:-1]
    assert curve.fmr.tolist() == [float(oracle.fmr(scores, genuine, t)) for t in at]
    assert curve.fnmr.tolist() == [float(oracle.fnmr(scores, genuine, t)) for t in at]


@settings(deadline=None)
@given(SCORES)
def test_auc_equals_comparing_every_genuine_with_every_impostor(pairs: list[tuple[float, bool]]) -> None:
    scores, genuine = split(pairs)
    assert rates.auc(scores, genuine) == pytest.approx(float(oracle.auc(scores, genuine)), abs=1e-15)


@settings(deadline=None)
@given(SCORES)
def test_eer_bounds_equal_the_definition(pairs: list[tuple[float, bool]]) -> None:
    scores, genuine = split(pairs)
    found = rates.eer(scores, genuine)
    low, high = oracle.eer(scores, genuine)
    assert (found.low, found.high) == (float(low), float(high))
    assert found.low <= found.value <= found.high


@settings(deadline=None)
@given(SCORES, st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 0.9]))
def test_tar_at_fmr_equals_the_definition_and_never_overshoots(pairs: list[tuple[float, bool]], target: float) -> None:
    scores, genuine = split(pairs)
    if target < 1 / genuine.count(False):
        with pytest.raises(TooFewImpostorsError, match="Insufficient data"):
            rates.tar_at_fmr(scores, genuine, target)
        return
    found = rates.tar_at_fmr(scores, genuine, target)
    tar, achieved = oracle.tar_at_fmr(scores, genuine, target)
    assert found.tar == pytest.approx(float(tar), abs=1e-15)
    assert found.fmr_achieved == float(achieved) <= target
    assert found.n_false_matches == achieved * genuine.count(False)


@pytest.mark.parametrize(
    ("scores", "genuine", "auc", "low", "high"),
    [
        ([3, 2, 1, 0], [1, 1, 0, 0], 1.0, 0.0, 0.0),  # perfect separation
        ([0, 1, 2, 3], [1, 1, 0, 0], 0.0, 1.0, 1.0),  # perfectly wrong
        ([5, 5, 5, 5], [1, 1, 0, 0], 0.5, 0.0, 1.0),  # constant
        ([1, 1, 0, 0], [1, 0, 1, 0], 0.5, 0.5, 0.5),  # ties across the classes
        ([2, 1, 0], [1, 0, 0], 1.0, 0.0, 0.0),  # one genuine only
        ([1, 2, 0, 0.5], [1, 0, 0, 0], 2 / 3, 0.0, 1 / 3),  # one genuine below one impostor: the curve jumps
    ],
)
def test_hand_table(scores: list[float], genuine: list[int], auc: float, low: float, high: float) -> None:
    assert rates.auc(scores, genuine) == pytest.approx(auc)
    found = rates.eer(scores, genuine)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_target_between_two_steps_takes_the_lower_one_not_the_nearest() -> None:
    """Nearest-FPR selection would pick 2 of 10 false matches for the target 0.18 and report a higher TAR."""
    impostors = np.arange(10.0)
    genuine = np.array([8.5, 7.5, 9.5])
    scores = np.concatenate((impostors, genuine))
    found = rates.tar_at_fmr(scores, np.arange(13) >= 10, 0.18)
    assert (found.n_false_matches, found.fmr_achieved) == (1, 0.1)
    assert found.tar == pytest.approx(2 / 3)
    assert found.threshold == 8.5


def test_no_false_match_gives_the_rule_of_three() -> None:
    found = rates.tar_at_fmr([0.1] * 30 + [0.9], [0] * 30 + [1], 0.04)
    assert (found.n_false_matches, found.fmr_achieved, found.fmr_upper) == (0, 0.0, 0.1)
    assert found.tar == 1.0


def test_a_target_that_ties_cannot_reach_accepts_nobody() -> None:
    found = rates.tar_at_fmr([0.5] * 20, [1] * 10 + [0] * 10, 0.1)
    assert (found.tar, found.fmr_achieved) == (0.0, 0.0)
    assert found.threshold > 0.5


def test_a_target_below_one_impostor_is_refused_with_what_to_do() -> None:
    with pytest.raises(TooFewImpostorsError) as caught:
        rates.tar_at_fmr(np.arange(600.0), np.arange(600) >= 300, 0.001)
    assert str(caught.value) == (
        "Insufficient data: FMR target 0.001 needs at least 1000 impostor pairs, there are 300. "
        "Drop the target or pool the folds."
    )


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_target_outside_zero_to_one_is_refused(target: float) -> None:
    with pytest.raises(MetricError, match="between 0 and 1"):
        rates.tar_at_fmr([0, 1], [0, 1], target)


def test_reduced_curve_keeps_its_ends_and_only_points_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    genuine = np.arange(4000) < 2000
    curve = rates.error_curve(rng.normal(genuine * 2.0), genuine)
    keep = rates.reduce_curve(curve, 400)
    assert 300 < keep.sum() <= 400
    assert keep[0] and keep[-1]
    for rate in (curve.fmr, curve.fnmr):
        drawn = np.interp(curve.threshold, curve.threshold[keep], rate[keep])
        assert np.abs(rate - drawn).max() < 0.01
    assert rates.reduce_curve(rates.error_curve([0, 1], [0, 1])).all()


def test_d_prime_of_two_unit_normals_is_their_distance() -> None:
    assert distributions.d_prime([-1, 1, 2, 4], [0, 0, 1, 1]) == 3.0
    with pytest.raises(MetricError, match="constant"):
        distributions.d_prime([1, 1, 0, 0], [1, 1, 0, 0])


def test_histogram_loses_no_pair() -> None:
    edges, genuine, impostor = distributions.histogram([0, 0.5, 1, 1], [0, 1, 1, 0], 4)
    assert edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (genuine.tolist(), impostor.tolist()) == ([0, 0, 1, 1], [1, 0, 0, 1])


def _observed(scores: Any, genuine: Any) -> Any:
    return rates.error_curve(scores, genuine)


METRICS: dict[str, Callable[[Any, Any], Any]] = {
    "auc": rates.auc,
    "eer": lambda s, g: (rates.eer(s, g).low, rates.eer(s, g).high),
    "tar": lambda s, g: rates.tar_at_fmr(s, g, 0.1).tar,
    "fmr achieved": lambda s, g: rates.tar_at_fmr(s, g, 0.1).fmr_achieved,
    "error curve": lambda s, g: (*rates.error_curve(s, g).fmr, *rates.error_curve(s, g).fnmr),
    "best accuracy": lambda s, g: (s >= thresholds.fit_observed(s, g)).__eq__(g).mean(),
    "d prime": distributions.d_prime,
    "errors at the InsightFace threshold": lambda s, g: ((s > thresholds.fit_insightface(s, g)) == g).mean(),
}
OF_ORDER_ALONE = sorted(set(METRICS) - {"d prime", "errors at the InsightFace threshold"})


@pytest.fixture
def pairs() -> tuple[Any, Any]:
    rng = np.random.default_rng(7)
    genuine = rng.permutation(np.arange(120) < 50)
    return np.round(rng.normal(genuine * 0.3, 0.2), 2).clip(-1, 1), genuine


@pytest.mark.parametrize("name", METRICS)
def test_order_of_the_pairs_does_not_matter(name: str, pairs: tuple[Any, Any]) -> None:
    scores, genuine = pairs
    order = np.random.default_rng(3).permutation(len(scores))
    assert METRICS[name](scores[order], genuine[order]) == pytest.approx(METRICS[name](scores, genuine))


@pytest.mark.parametrize("name", METRICS)
def test_duplicated_data_do_not_matter(name: str, pairs: tuple[Any, Any]) -> None:
    scores, genuine = pairs
    doubled = METRICS[name](np.tile(scores, 2), np.tile(genuine, 2))
    assert doubled == pytest.approx(METRICS[name](scores, genuine))


@pytest.mark.parametrize("name", OF_ORDER_ALONE)
@pytest.mark.parametrize("transform", [np.exp, np.arctan, lambda x: x**3 + 5, lambda x: 1e-3 * x])
def test_an_increasing_transform_of_the_scores_does_not_matter(
    name: str, transform: Callable[[Any], Any], pairs: tuple[Any, Any]
) -> None:
    scores, genuine = pairs
    assert METRICS[name](transform(scores), genuine) == pytest.approx(METRICS[name](scores, genuine), abs=0)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("scores", "genuine", "message"),
    [
        ([0.1, 0.2], [1, 1], "2 genuine and 0 impostor"),
        ([0.1, 0.2], [0, 0], "0 genuine and 2 impostor"),
        ([0.1, float("nan")], [1, 0], "1 of 2 scores are not finite"),
        ([float("-inf"), float("inf")], [1, 0], "2 of 2 scores are not finite"),
        ([0.1, 0.2, 0.3], [1, 0], r"scores has shape \(3,\) and is_genuine has shape \(2,\)"),
        ([[0.1], [0.2]], [[1], [0]], r"must be \(n_pairs,\)"),
        ([], [], "empty"),
        ([0.1, 0.2], [1, 2], "other than 0 and 1"),
    ],
)
def test_undefined_is_an_error_in_every_metric(name: str, scores: Any, genuine: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        METRICS[name](np.array(scores), np.array(genuine))


def test_accuracy_of_fold_decisions_is_the_same_for_any_increasing_transform(pairs: tuple[Any, Any]) -> None:
    scores, genuine = pairs
    fold = np.arange(len(scores)) % 4
    first = folds.cross_validated(scores, genuine, fold, thresholds.STRICT)
    second = folds.cross_validated(np.exp(scores), genuine, fold, thresholds.STRICT)
    assert first.is_match.tolist() == second.is_match.tolist()
