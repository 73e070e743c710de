"""Rank of the right class against a count by definition, and the bootstrap of independent cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.errors import MetricError
from bnas_face.metrics import paired, recognition


@given(st.integers(1, 12), st.integers(2, 7), st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_rank_is_one_plus_the_classes_that_score_at_least_as_high(n: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores, labels = generator.integers(0, 4, (n, k)), generator.integers(0, k, n)
    expected = [
        1 + sum(row[j] >= row[label] for j in range(k) if j != label)
        for row, label in zip(scores.tolist(), labels.tolist(), strict=True)
    ]
    assert recognition.ranks(scores, labels).tolist() == expected


def test_equal_scores_are_right_nowhere_and_a_clear_winner_is_first() -> None:
    assert recognition.ranks(np.zeros((2, 10)), [0, 9]).tolist() == [10, 10]
    assert recognition.ranks(np.eye(3), [0, 1, 2]).tolist() == [1, 1, 1]
    assert recognition.ranks([[3.0, 2.0, 1.0]], [2]).tolist() == [3]


def test_ranks_do_not_change_with_the_length_of_the_scores_or_an_increasing_map() -> None:
    generator = np.random.default_rng(0)
    scores, labels = generator.normal(size=(50, 10)), generator.integers(0, 10, 50)
    before = recognition.ranks(scores, labels)
    assert np.array_equal(recognition.ranks(scores / np.linalg.norm(scores, axis=1, keepdims=True), labels), before)
    assert np.array_equal(recognition.ranks(np.exp(scores), labels), before)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[1.0, np.nan]], [0], "not finite"),
        ([[1.0, 2.0]], [2], r"Labels from 2 to 2 do not fit scores of 2 classes"),
        ([[1.0, 2.0]], [-1], "Labels from -1"),
        ([1.0, 2.0], [0], "expected"),
        ([[1.0, 2.0]], [0, 1], "expected"),
    ],
)
def test_what_has_no_rank_is_an_error(scores: object, labels: object, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        recognition.ranks(scores, labels)  # type: ignore[arg-type]


def test_replicates_of_independent_cases_have_the_mean_and_spread_of_resampled_cases() -> None:
    generator = np.random.default_rng(0)
    first, other = generator.random(400) < 0.8, generator.random(400) < 0.7
    fast = paired.independent_difference_replicates(first, other, 4000, seed=1)
    drawn = generator.integers(0, 400, (4000, 400))
    slow = (first[drawn].astype(float) - other[drawn]).mean(axis=1)
    assert fast.mean() == pytest.approx(first.mean() - other.mean(), abs=0.002)
    assert fast.std() == pytest.approx(slow.std(), rel=0.06)


def test_replicates_of_equal_models_are_zero() -> None:
    same = np.array([True, False, True])
    assert (paired.independent_difference_replicates(same, same, 10) == 0).all()
    with pytest.raises(MetricError, match="is empty"):
        paired.independent_difference_replicates([], [], 10)
