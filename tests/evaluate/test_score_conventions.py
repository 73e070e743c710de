"""Scores of pairs, what becomes of failed images, and decisions under each convention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnas_face.errors import MetricError, UnknownNameError
from bnas_face.evaluate import conventions
from bnas_face.evaluate.score import pair_scores

NONE_FAILED = np.zeros(3, np.bool_)


def scores_of(embeddings: Any, failed: Any = NONE_FAILED) -> list[float]:
    rows = np.array(embeddings, np.float32)
    return pair_scores(rows, failed, np.array([0, 0, 1]), np.array([1, 2, 2])).tolist()


def test_score_is_the_cosine_whatever_the_length() -> None:
    assert scores_of([[1, 0], [0, 5], [-3, 0]]) == pytest.approx([0.0, -1.0, 0.0], abs=1e-15)


def test_equal_embeddings_score_exactly_one() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 64)).repeat(3, axis=0)
    assert scores_of(rows) == [1.0, 1.0, 1.0]


def test_single_scores_carry_the_distance_summed_in_float32_without_loss() -> None:
    rows = np.random.default_rng(4).normal(size=(200, 128))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    distance = np.sum(np.square(unit[0::2] - unit[1::2]), axis=1)
    at = np.arange(200)
    found = pair_scores(unit, np.zeros(200, np.bool_), at[0::2], at[1::2], arithmetic="float32 distance")
    assert ((2 - 2 * found).astype(np.float32) == distance).all()
    double = pair_scores(unit, np.zeros(200, np.bool_), at[0::2], at[1::2])
    assert (found != double).any()
    assert found == pytest.approx(double, abs=1e-6)


def test_single_cosines_are_the_dot_products_of_float32_unit_vectors() -> None:
    rows = np.random.default_rng(4).normal(size=(200, 128))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    at = np.arange(200)
    found = pair_scores(rows, np.zeros(200, np.bool_), at[0::2], at[1::2], arithmetic="float32 cosine")
    assert found.tolist() == [float(np.dot(unit[2 * k], unit[2 * k + 1])) for k in range(100)]


def test_an_unknown_arithmetic_is_an_error() -> None:
    with pytest.raises(MetricError, match="Arithmetic 'float16' is not known"):
        pair_scores(np.eye(2), np.zeros(2, np.bool_), np.array([0]), np.array([1]), arithmetic="float16")


def test_facex_counts_a_score_that_equals_its_threshold_as_wrong_in_either_class() -> None:
    scores, genuine, fold = pairs()
    rule = conventions.decide(conventions.FACEX, "k_fold", scores, genuine, fold)
    at = int(np.flatnonzero(~genuine & rule.is_correct)[0])
    same = scores.copy()
    same[at] = rule.threshold[at]
    found = conventions.decide(conventions.FACEX, "k_fold", same, genuine, fold)
    assert (found.threshold[at], found.is_match[at], found.is_correct[at]) == (rule.threshold[at], False, False)


def test_a_pair_with_a_failed_image_has_no_score() -> None:
    found = scores_of([[0, 0], [1, 1], [1, 1]], np.array([True, False, False]))
    assert np.isnan(found).tolist() == [True, True, False]
    assert found[2] == 1.0


@pytest.mark.parametrize("bad", [[0, 0], [np.nan, 1], [np.inf, 1]])
def test_an_embedding_without_direction_that_did_not_fail_is_an_error(bad: list[float]) -> None:
    with pytest.raises(MetricError, match="1 of 3 embeddings are zero or not finite"):
        scores_of([[1, 0], bad, [0, 1]])


def test_a_mistyped_convention_suggests_the_right_one() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown convention 'strikt'\. Did you mean 'strict'\?"):
        conventions.get("strikt")


@pytest.mark.parametrize("name", conventions.names())
def test_every_convention_carries_its_stamp(name: str) -> None:
    assert conventions.get(name).stamp.startswith(f"{name}: ")


def pairs(n: int = 400) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    genuine = np.arange(n) % 2 == 0
    return (rng.normal(genuine * 0.4, 0.25)).clip(-1, 1), genuine, np.repeat(np.arange(4), n // 4)


@pytest.mark.parametrize("convention", conventions.ALL, ids=lambda c: c.name)
def test_failed_pairs_count_as_wrong_and_cannot_raise_the_accuracy(convention: conventions.Convention) -> None:
    scores, genuine, fold = pairs()
    whole = conventions.decide(convention, "k_fold", scores, genuine, fold)
    hard = np.flatnonzero(~whole.is_correct)[:10]
    refused = scores.copy()
    refused[hard] = np.nan
    found = conventions.decide(convention, "k_fold", refused, genuine, fold)
    assert (~found.completed).sum() == 10
    assert not found.is_correct[hard].any()
    assert not found.is_match[hard].any()
    assert found.accuracy.n_pairs == 400
    assert found.accuracy.n_correct == found.is_correct.sum()
    easy = np.flatnonzero(whole.is_correct)[:40]
    refused[easy] = np.nan
    assert conventions.decide(convention, "k_fold", refused, genuine, fold).accuracy.value < whole.accuracy.value


def test_train_test_takes_the_threshold_from_fold_0_and_measures_fold_1_alone() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9, 0.3, 0.79, 0.8, 0.95])
    genuine = np.array([0, 0, 1, 1, 0, 1, 1, 0], np.bool_)
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = conventions.decide(conventions.STRICT, "train_test", scores, genuine, fold)
    assert found.tested.tolist() == [4, 5, 6, 7]
    assert found.fold_threshold.tolist() == [0.8]
    assert found.is_match.tolist() == [False, False, True, True]
    assert found.accuracy.value == 0.5
    assert found.accuracy.std is None


def test_strict_uses_the_given_folds_and_insightface_consecutive_tenths() -> None:
    scores, genuine, fold = pairs()
    assert len(conventions.decide(conventions.STRICT, "k_fold", scores, genuine, fold).fold_threshold) == 4
    assert len(conventions.decide(conventions.INSIGHTFACE, "k_fold", scores, genuine, fold).fold_threshold) == 10


def test_a_fold_without_any_compared_pair_is_all_wrong_and_has_no_threshold() -> None:
    scores, genuine, fold = pairs()
    scores[fold == 2] = np.nan
    found = conventions.decide(conventions.STRICT, "k_fold", scores, genuine, fold)
    assert np.isnan(found.threshold[fold == 2]).all()
    assert found.accuracy.per_fold[2] == 0.0
    assert np.isfinite(found.threshold[fold != 2]).all()
