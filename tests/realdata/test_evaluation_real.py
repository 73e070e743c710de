"""The evaluator on real faces: what the reference prints, we print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnas_face.evaluate import conventions
from bnas_face.evaluate.score import pair_scores
from bnas_face.metrics import folds, thresholds

pytestmark = pytest.mark.realdata

Results = Callable[[str], dict[str, Any]]


def oracle(
    shared_data: Path, name: str, convention: conventions.Convention = conventions.INSIGHTFACE
) -> tuple[Any, Any, dict[str, Any]]:
    """Scores and classes of the stored pair embeddings, and what the reference code computed from them."""
    expected = json.loads((shared_data / "oracle" / "expected.json").read_text())[name]
    with np.load(shared_data / "oracle" / f"{name}_pair_emb.npz", allow_pickle=False) as content:
        embeddings, genuine = content["embeddings"], content["issame"]
    rows = np.arange(len(embeddings))
    scores = pair_scores(
        embeddings,
        np.zeros(len(rows), np.bool_),
        rows[0::2],
        rows[1::2],
        arithmetic=convention.arithmetic,
    )
    return scores, genuine, expected


@pytest.mark.parametrize("name", ["lfw", "cfp_fp"])
def test_insightface_convention_equals_the_reference_fold_by_fold(shared_data: Path, name: str) -> None:
    scores, genuine, expected = oracle(shared_data, name)
    fold = folds.consecutive_folds(len(scores), 10)
    found = conventions.decide(conventions.INSIGHTFACE, "k_fold", scores, genuine, fold).accuracy
    assert found.n_pairs == expected["n_pairs"]
    assert found.per_fold.tolist() == pytest.approx(expected["accuracy_per_fold"], abs=1e-12, rel=0)
    assert found.value == pytest.approx(expected["accuracy_mean"], abs=1e-12, rel=0)
    assert found.std == pytest.approx(expected["accuracy_std_ddof0"], abs=1e-12, rel=0)


def test_facex_convention_equals_what_facex_zoo_prints(shared_data: Path) -> None:
    """Its lfw_evaluator.py was given the stored embeddings under NumPy 2.4."""
    scores, genuine, _ = oracle(shared_data, "lfw", conventions.FACEX)
    found = conventions.decide(conventions.FACEX, "k_fold", scores, genuine, np.zeros(len(scores), np.int64)).accuracy
    assert (found.per_fold * 600).round(9).tolist() == [594, 598, 593, 589, 592, 596, 590, 590, 598, 595]
    assert found.sem == pytest.approx(0.0017258027296676792, abs=1e-12, rel=0)


@pytest.mark.parametrize("name", ["lfw", "cfp_fp"])
def test_rates_at_the_reference_distances_equal_its_roc(shared_data: Path, name: str) -> None:
    """All 400 distances, to the eighth digit: the file holds no more."""
    scores, genuine, expected = oracle(shared_data, name)
    fold = folds.consecutive_folds(len(scores), 10)
    grid = thresholds.insightface_distances()
    matches = thresholds.INSIGHTFACE.matches(scores[None, :], (1 - grid / 2)[:, None])
    for of, key in (
        (genuine, "tpr_mean_over_folds_at_distance_thresholds_0_to_4_step_0.01"),
        (~genuine, "fpr_mean_over_folds_same_thresholds"),
    ):
        rate = np.mean([matches[:, of & (fold == k)].mean(axis=1) for k in range(10)], axis=0)
        assert rate.tolist() == pytest.approx(expected[key], abs=0.51e-8, rel=0)


@pytest.mark.parametrize(
    ("name", "issue", "measured", "n_pairs"),
    [("lfw", 0.990, 0.98983, 6000), ("cfp_ff", 0.994, 0.99343, 7000), ("cfp_fp", 0.865, 0.86486, 7000)],
)
def test_outside_model_reaches_its_known_accuracy_on_all_pairs(
    real_results: Results, name: str, issue: float, measured: float, n_pairs: int
) -> None:
    entry = real_results("strict")[name]
    assert (entry["n_pairs"], entry["n_failed"]) == (n_pairs, 0)
    assert entry["accuracy"]["value"] == pytest.approx(issue, abs=0.002)
    assert entry["accuracy"]["value"] == pytest.approx(measured, abs=0.0006)  # other processors round otherwise


@pytest.mark.parametrize(("name", "measured"), [("lfw", 0.98867), ("cfp_ff", 0.99371), ("cfp_fp", 0.86543)])
def test_outside_model_under_the_reference_convention(real_results: Results, name: str, measured: float) -> None:
    entry = real_results("insightface")[name]
    assert entry["accuracy"]["value"] == pytest.approx(measured, abs=0.001)
    assert entry["convention"] == "insightface"


def test_lfw_supports_fmr_one_in_a_thousand_without_overshoot(real_results: Results) -> None:
    [tar] = [tar for tar in real_results("strict")["lfw"]["tar_at_fmr"] if tar["fmr_target"] == 0.001]
    assert tar["refused"] is None
    assert tar["n_false_matches"] <= 3
    assert tar["tar"] == pytest.approx(0.9767, abs=0.003)
    assert tar["ci_low"] < tar["tar"] < tar["ci_high"]


def test_a_second_evaluation_embeds_nothing(real_results: Results) -> None:
    for entry in real_results("insightface").values():
        assert entry["n_images_from_cache"] == entry["n_images"]
