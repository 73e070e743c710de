"""Thresholds never see the pairs they decide, and both conventions equal their slow definitions."""

from __future__ import annotations

from typing import Any

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.errors import MetricError
from bnas_face.metrics import folds, thresholds

INSIGHTFACE_FOLDS = [0.72, 0.6, 0.68, 0.6, 0.56, 0.68, 0.8, 0.625, 2 / 3, 13 / 24]
INSIGHTFACE_DISTANCES = [1.71, 1.89, 1.89, 1.71, 1.71, 1.71, 1.71, 1.89, 1.69, 1.62]
"""By the loops of the reference under NumPy 1.26.4, on float32 distances."""


def synthetic() -> tuple[Any, Any]:
    """247 scores on a grid of 0.005 (so that distances lie exactly on and beside thresholds), 10 uneven folds."""
    state, scores, genuine = 12345, [], []
    for _ in range(247):
        draws = []
        for _ in range(4):
            state = (1103515245 * state + 12345) % 2**31
            draws.append(state / 2**31)
        own = draws[3] < 0.5
        genuine.append(own)
        scores.append(round((draws[0] + draws[1] + draws[2] - 1.5 + 0.5 * own) * 100) / 200)
    return np.array(scores), np.array(genuine)


def test_insightface_equals_its_slow_definition_and_the_frozen_values() -> None:
    scores, genuine = synthetic()
    fold = folds.consecutive_folds(len(scores), 10)
    decisions = folds.cross_validated(scores, genuine, fold, thresholds.INSIGHTFACE)
    found = folds.accuracy(decisions.is_match == genuine, fold)
    slow, distances = oracle.insightface_accuracies(scores.tolist(), genuine.tolist())
    assert found.per_fold.tolist() == slow
    assert (2 - 2 * decisions.fold_threshold).tolist() == pytest.approx(distances, abs=1e-12)
    assert slow == pytest.approx(INSIGHTFACE_FOLDS, abs=1e-12)
    assert distances == pytest.approx(INSIGHTFACE_DISTANCES, abs=1e-12)


def test_facex_equals_its_slow_definition() -> None:
    scores, genuine = synthetic()
    scores = scores.astype(np.float32).astype(np.float64)
    fold = folds.consecutive_folds(len(scores), 10)
    decisions = folds.cross_validated(scores, genuine, fold, thresholds.FACEX)
    undecided = scores == decisions.threshold
    found = folds.accuracy((decisions.is_match == genuine) & ~undecided, fold)
    assert found.per_fold.tolist() == oracle.facex_accuracies(scores.tolist(), genuine.tolist())


def test_facex_weighs_the_classes_alike_and_takes_the_first_best_step() -> None:
    """Two genuine pairs and many impostors: TAR − FMR is best at once above the last impostor below both."""
    scores = np.concatenate((np.linspace(0, 0.4, 50), [0.5, 1.0]))
    threshold = thresholds.fit_facex(scores, np.arange(52) >= 50)
    assert 0.4 <= threshold < 0.402
    assert threshold == pytest.approx(round(threshold * 1000) / 1000, abs=1e-6)


def test_insightface_takes_the_first_of_equally_good_thresholds_and_a_distance_below_it() -> None:
    """Genuine at distance 0.25, impostor at 0.5: 0.26 … 0.50 are equally good; the reference takes the first."""
    scores, genuine = np.array([0.875, 0.75]), np.array([True, False])
    assert thresholds.fit_insightface(scores, genuine) == pytest.approx(1 - 0.26 / 2, abs=1e-12)
    same = np.array([1.0])  # distance 0 is not below t = 0
    assert not thresholds.INSIGHTFACE.matches(same, np.array([1.0]))[0]
    assert thresholds.INSIGHTFACE.matches(same, np.array([1 - 0.01 / 2]))[0]


def test_every_insightface_threshold_survives_the_way_through_a_cosine() -> None:
    """The float32 next below each distance matches, that distance itself does not."""
    grid = thresholds.insightface_distances()
    exact = grid.astype(np.float32)
    below = np.nextafter(exact, np.float32(-1))
    as_cosine = 1 - grid / 2
    assert thresholds.INSIGHTFACE.matches(1 - below[1:].astype(np.float64) / 2, as_cosine[1:]).all()
    assert not thresholds.INSIGHTFACE.matches(1 - exact.astype(np.float64) / 2, as_cosine).any()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=24).filter(
        lambda pairs: len({genuine for _, genuine in pairs}) == 2
    )
)
def test_the_strict_threshold_is_observed_and_none_is_better(pairs: list[tuple[int, bool]]) -> None:
    scores, genuine = [float(score) for score, _ in pairs], [own for _, own in pairs]
    found = thresholds.fit_observed(scores, genuine)
    errors = {t: oracle.n_errors(scores, genuine, t) for t in oracle.thresholds(scores)}
    assert oracle.n_errors(scores, genuine, found) == min(errors.values())
    assert found in scores or found == np.nextafter(max(scores), np.inf)
    best = [t for t in oracle.thresholds(scores) if errors[t] == min(errors.values())]
    n_lower = sum(t < found for t in best)
    assert n_lower == (len(best) - 1) // 2


def test_a_threshold_fitted_on_the_tested_fold_would_score_higher() -> None:
    """Leakage: on scores without information, best-on-test climbs above chance; fitted on the others it does not."""
    rng = np.random.default_rng(5)
    scores, genuine, fold = rng.normal(size=2000), np.arange(2000) % 2 == 0, np.repeat(np.arange(10), 200)
    decisions = folds.cross_validated(scores, genuine, fold, thresholds.STRICT)
    honest = folds.accuracy(decisions.is_match == genuine, fold).value
    leaked = np.mean(
        [
            np.mean(
                (scores[fold == k] >= thresholds.fit_observed(scores[fold == k], genuine[fold == k]))
                == genuine[fold == k]
            )
            for k in range(10)
        ]
    )
    assert honest < 0.52
    assert leaked > honest + 0.02


def test_changing_a_fold_leaves_its_own_threshold_alone() -> None:
    rng = np.random.default_rng(2)
    genuine = np.arange(300) % 2 == 0
    scores, fold = rng.normal(genuine * 1.0), np.repeat(np.arange(3), 100)
    changed = np.where(fold == 1, -scores, scores)
    before = folds.cross_validated(scores, genuine, fold, thresholds.STRICT).fold_threshold
    after = folds.cross_validated(changed, genuine, fold, thresholds.STRICT).fold_threshold
    assert before[1] == after[1]
    assert before[0] != after[0]


def test_transferred_uses_the_development_threshold_unchanged() -> None:
    decisions = folds.transferred([0, 1, 2, 3], [0, 0, 1, 1], [1.9, 2.0, 2.1], thresholds.STRICT)
    assert decisions.fold_threshold.tolist() == [2.0]
    assert decisions.is_match.tolist() == [False, True, True]


def test_plus_minus_is_named_std_is_ddof_0_and_sem_is_ddof_1_over_root_n() -> None:
    found = folds.accuracy([1, 1, 1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3])
    assert found.per_fold.tolist() == [1.0, 0.5, 0.0, 1.0]
    assert found.value == 0.625
    assert found.std == pytest.approx(np.sqrt(0.171875))
    assert found.sem == pytest.approx(np.sqrt(0.171875 * 4 / 3) / 2)
    assert (found.n_correct, found.n_pairs) == (5, 8)


def test_one_fold_has_no_spread() -> None:
    found = folds.accuracy([1, 0], [1, 1])
    assert (found.value, found.std, found.sem) == (0.5, None, None)


@pytest.mark.parametrize(("n_pairs", "sizes"), [(20, [2] * 10), (6995, [700] * 5 + [699] * 5)])
def test_consecutive_folds_are_those_of_kfold_without_shuffling(n_pairs: int, sizes: list[int]) -> None:
    fold = folds.consecutive_folds(n_pairs, 10)
    assert np.bincount(fold).tolist() == sizes
    assert (np.diff(fold) >= 0).all()


def test_one_fold_only_and_one_class_only_are_errors() -> None:
    with pytest.raises(MetricError, match="in fold 0"):
        folds.cross_validated([0, 1], [0, 1], [0, 0], thresholds.STRICT)
    with pytest.raises(MetricError, match="without both classes"):
        folds.cross_validated([0, 1, 2], [0, 1, 1], [0, 1, 1], thresholds.STRICT)
    with pytest.raises(MetricError, match="5 pairs cannot be cut into 10 folds"):
        folds.consecutive_folds(5, 10)


@pytest.mark.parametrize("seed", range(20))
def test_the_facex_threshold_counts_scores_above_it_and_none_at_it(seed: int) -> None:
    """Whole scores from 0 to 1,000: every one lies on a step, and float32 holds them exactly."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate(([0, 1000], rng.integers(0, 8, 30) * 100)).astype(np.float64)
    genuine = np.concatenate(([False, True], rng.random(30) < 0.5))
    gains = [(scores[genuine] > t).mean() - (scores[~genuine] > t).mean() for t in range(1, 1001)]
    assert thresholds.fit_facex(scores, genuine) == 1 + int(np.argmax(gains))


def test_weights_of_folds_make_the_pooled_share_the_mean_over_folds() -> None:
    fold = np.array([0] * 2 + [1] * 5 + [4] * 13)
    right = np.random.default_rng(0).random(20) < 0.6
    weight = folds.weights(fold)
    assert weight is not None
    assert weight.mean() == pytest.approx(1)
    assert (weight * right).mean() == pytest.approx(folds.accuracy(right, fold).value)
    assert folds.effective_size(weight) == pytest.approx(9 / (1 / 2 + 1 / 5 + 1 / 13))
    assert folds.weights([0, 0, 3, 3]) is None
