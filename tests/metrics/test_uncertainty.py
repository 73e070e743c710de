"""Intervals: against other implementations, against brute force, and against what they must cover."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from bnas_face.errors import MetricError
from bnas_face.metrics import paired, rates, uncertainty


@pytest.mark.parametrize(("n_correct", "n_pairs"), [(0, 10), (10, 10), (1, 3), (5940, 6000), (3000, 6000)])
def test_wilson_equals_statsmodels(n_correct: int, n_pairs: int) -> None:
    expected = proportion_confint(n_correct, n_pairs, method="wilson")
    assert uncertainty.wilson(n_correct, n_pairs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("n_correct", "n_pairs"), [(1, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_proportion(n_correct: int, n_pairs: int) -> None:
    with pytest.raises(MetricError, match="no proportion"):
        uncertainty.wilson(n_correct, n_pairs)


def test_weights_of_one_mean_the_point_estimate() -> None:
    rng = np.random.default_rng(0)
    genuine = rng.random(200) < 0.4
    scores = np.round(rng.normal(genuine * 1.0), 1)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ones = np.ones((1, 200), np.int32)
    auc, eer, tar = uncertainty.weighted_statistics(ones, genuine[order], last, (0.1, 0.5))
    assert auc[0] == pytest.approx(rates.auc(scores, genuine), abs=1e-12)
    assert eer[0] == pytest.approx(rates.eer(scores, genuine).value, abs=1e-12)
    assert tar[0].tolist() == pytest.approx([rates.tar_at_fmr(scores, genuine, t).tar for t in (0.1, 0.5)], abs=1e-12)


def test_weighted_statistics_equal_repeating_each_pair() -> None:
    rng = np.random.default_rng(1)
    genuine = np.arange(60) < 25
    scores = np.round(rng.normal(genuine * 1.0), 1)
    reference, probe = rng.integers(0, 12, 60), rng.integers(0, 12, 60)
    probe = np.where(genuine, reference, np.where(probe == reference, (probe + 1) % 12, probe))
    found = uncertainty.bootstrap(scores, genuine, reference, probe, (0.2,), n_replicates=70, seed=9)
    every = np.concatenate(list(uncertainty.pair_weights(reference, probe, 70, 9)))
    for k in range(70):
        # the order of pairs differs inside bootstrap, the draws of subjects do not
        again = np.repeat(scores, every[k]), np.repeat(genuine, every[k])
        assert found.auc[k] == pytest.approx(rates.auc(*again), abs=1e-12)
        assert found.eer[k] == pytest.approx(rates.eer(*again).value, abs=1e-12)
        assert found.tar[k, 0] == pytest.approx(rates.tar_at_fmr(*again, 0.2).tar, abs=1e-12)


def test_a_pair_weighs_the_product_of_its_distinct_subjects() -> None:
    """All pairs of 4 subjects: the genuine weights are the multiplicities, so every product can be checked."""
    pairs = np.array(list(itertools.combinations_with_replacement(range(4), 2)))
    weights = np.concatenate(list(uncertainty.pair_weights(pairs[:, 0], pairs[:, 1], 120, 3)))
    own = weights[:, pairs[:, 0] == pairs[:, 1]]
    assert (own.sum(axis=1) == 4).all()
    assert own.max() > 1
    for k, (i, j) in enumerate(pairs):
        assert (weights[:, k] == (own[:, i] if i == j else own[:, i] * own[:, j])).all()


def test_many_pairs_are_weighed_fewer_replicates_at_a_time_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    people = rng.integers(0, 15, (2, 100))
    genuine = people[0] == people[1]
    arguments = (rng.normal(genuine * 1.0), genuine, *people, (0.1,), 120)
    expected = uncertainty.bootstrap(*arguments)
    monkeypatch.setattr(uncertainty, "CHUNK_BYTES", 4 * 100 * 7)
    chunks = list(uncertainty.pair_weights(*people, 16, 0))
    assert [len(chunk) for chunk in chunks] == [7, 7, 2]
    found = uncertainty.bootstrap(*arguments)
    np.testing.assert_array_equal(found.auc, expected.auc)
    np.testing.assert_array_equal(found.tar, expected.tar)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    rng = np.random.default_rng(4)
    genuine = np.arange(300) < 150
    scores, subject = rng.normal(genuine * 1.0), rng.integers(0, 40, 300)
    other = np.where(genuine, subject, (subject + 1) % 40)
    first, again, third = (
        uncertainty.bootstrap(scores, genuine, subject, other, seed=s, n_replicates=80) for s in (1, 1, 2)
    )
    assert (first.auc == again.auc).all()
    assert (first.auc != third.auc).any()


def test_clusters_widen_the_interval_when_pairs_share_people() -> None:
    """Each subject has its own genuine level: resampling pairs as if independent would be too narrow."""
    rng = np.random.default_rng(6)
    subject = np.repeat(np.arange(30), 20)
    genuine = np.tile(np.arange(20) < 10, 30)
    scores = rng.normal(genuine * 1.5 + genuine * rng.normal(0, 1, 30)[subject], 0.5)
    other = np.where(genuine, subject, 1000 + np.arange(600))
    clustered = uncertainty.bootstrap(scores, genuine, subject, other, n_replicates=400)
    alone = np.arange(600)
    independent = uncertainty.bootstrap(scores, genuine, alone, alone, n_replicates=400)
    assert clustered.auc.std() > 1.5 * independent.auc.std()


def test_a_statistic_that_is_often_undefined_gets_a_reason_instead_of_an_interval() -> None:
    found = uncertainty.bootstrap([0.0, 1.0], [0, 1], [0, 1], [0, 1], n_replicates=100)
    interval = uncertainty.percentile_interval(found.auc)
    assert (interval.low, interval.high) == (None, None)
    assert "too few subjects" in interval.method


def test_percentile_interval_holds_95_percent_of_the_replicates() -> None:
    interval = uncertainty.percentile_interval(np.arange(1001.0))
    assert (interval.low, interval.high) == pytest.approx((25.0, 975.0))
    assert interval.method == "subject-cluster bootstrap, 1001 replicates, 95% percentile"


@pytest.mark.parametrize("n_discordant", [0, 5, 6, 7, 36, 101])
def test_the_smallest_gap_is_significant_and_the_next_smaller_is_not(n_discordant: int) -> None:
    def p_value(gap: int) -> float:
        b = (n_discordant - gap) // 2
        first = np.repeat([1, 0, 1], [b, n_discordant - b, 500 - n_discordant])
        other = np.repeat([0, 1, 1], [b, n_discordant - b, 500 - n_discordant])
        return paired.mcnemar(first, other)

    gaps = [gap for gap in range(n_discordant % 2, n_discordant + 1, 2) if p_value(gap) < paired.ALPHA]
    found = paired.smallest_gap(n_discordant, 500)
    assert found == (min(gaps) / 500 if gaps else None)
    assert (found is None) == (n_discordant < 6)


def test_the_smallest_gap_of_counts_that_do_not_fit_is_an_error() -> None:
    with pytest.raises(MetricError, match="7 discordant of 6 pairs"):
        paired.smallest_gap(7, 6)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 15), (24, 12)])
def test_mcnemar_equals_statsmodels(b: int, c: int) -> None:
    first = np.array([True] * b + [False] * c + [True] * 10)
    other = np.array([False] * b + [True] * c + [True] * 10)
    assert paired.discordant(first, other) == (b, c)
    expected = 1.0 if b + c == 0 else statsmodels_mcnemar([[10, b], [c, 0]], exact=True).pvalue
    assert paired.mcnemar(first, other) == pytest.approx(expected, abs=1e-12)


def test_a_difference_of_equal_models_is_exactly_zero_in_every_replicate() -> None:
    correct, subject = np.arange(50) % 3 == 0, np.arange(50) // 5
    assert (paired.difference_replicates(correct, correct, subject, subject, 60) == 0).all()


def test_difference_replicates_centre_on_the_difference_and_swap_sign_with_the_models() -> None:
    rng = np.random.default_rng(8)
    subject = rng.integers(0, 200, 2000)
    first, other = rng.random(2000) < 0.9, rng.random(2000) < 0.8
    there = paired.difference_replicates(first, other, subject, subject, 300, seed=1)
    back = paired.difference_replicates(other, first, subject, subject, 300, seed=1)
    assert there.mean() == pytest.approx(first.mean() - other.mean(), abs=0.003)
    assert there.tolist() == pytest.approx((-back).tolist(), abs=1e-12)


@pytest.mark.parametrize("p_values", [[0.01], [0.03, 0.01, 0.04], [0.5, 0.5, 0.5], [0.01, 0.02, 0.001, 0.9]])
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert paired.holm(p_values).tolist() == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_of_nothing_is_nothing() -> None:
    assert paired.holm([]).tolist() == []


@pytest.mark.parametrize("wrong", [[1.1], [-0.1], [float("nan")]])
def test_holm_refuses_what_is_no_probability(wrong: list[float]) -> None:
    with pytest.raises(MetricError):
        paired.holm(wrong)


def test_shapes_that_disagree_are_errors() -> None:
    bad: Any = np.zeros(3)
    with pytest.raises(MetricError, match="shape"):
        paired.mcnemar([True, False], bad)
    with pytest.raises(MetricError, match="shape"):
        uncertainty.bootstrap([0.0, 1.0], [0, 1], bad, bad)


def test_the_gain_is_the_difference_of_the_shares_of_right_decisions() -> None:
    right, other = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 0, 1, 0], bool)
    assert paired.gain(right, other) == pytest.approx(right.mean() - other.mean())
    assert paired.gain(other, right) == -paired.gain(right, other)
