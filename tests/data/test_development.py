"""Held-out identities and the accuracy on their pairs."""

from __future__ import annotations

import numpy as np
import pytest

from bnas_face.data import development
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError


def _images(n_identities=20, each=5):
    labels = np.repeat(np.arange(n_identities), each)
    return FaceImages(
        name="few",
        image_ids=tuple(map(str, range(len(labels)))),
        labels=labels,
        identity_names=tuple(f"p{i}" for i in range(n_identities)),
        content_hash="h",
        size_px=4,
        read=lambda indices: np.zeros((len(indices), 4, 4, 3), np.uint8),
    )


def test_held_out_identities_are_disjoint_and_nobody_is_lost():
    training, held = development.split(_images(), 0.25, seed=0)
    assert held.n_identities == 5 and training.n_identities == 15
    assert set(training.identity_names) | set(held.identity_names) == {f"p{i}" for i in range(20)}
    assert set(training.image_ids).isdisjoint(held.image_ids)


def test_the_seed_chooses_who_is_held_out():
    chosen = [development.split(_images(), 0.25, seed=seed)[1].identity_names for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_set_too_small_to_hold_out_identities_says_what_to_do():
    with pytest.raises(DatasetError, match=r"has 7 identities .* --development-share 0"):
        development.split(_images(7), 0.05, seed=0)


def test_pairs_are_different_true_and_half_genuine():
    labels = _images().labels
    pairs = development.draw_pairs(labels, 100, seed=0)
    assert len(pairs) == 100 and pairs.is_genuine.sum() == 50
    assert np.array_equal(labels[pairs.reference] == labels[pairs.probe], pairs.is_genuine)
    unordered = {frozenset(p) for p in zip(pairs.reference.tolist(), pairs.probe.tolist(), strict=True)}
    assert len(unordered) == 100 and min(map(len, unordered)) == 2


def test_one_person_with_many_images_does_not_dominate_genuine_pairs():
    labels = np.concatenate([np.zeros(200, np.int64), np.repeat(np.arange(1, 31), 3)])
    pairs = development.draw_pairs(labels, 120, seed=0)
    of_first = (labels[pairs.reference[pairs.is_genuine]] == 0).mean()
    assert of_first < 0.1


def test_too_few_genuine_pairs_are_refused():
    with pytest.raises(DatasetError, match="give 4 genuine pairs"):
        development.draw_pairs(np.repeat(np.arange(4), 2), 100, seed=0)


def test_accuracy_is_one_for_separated_and_about_half_for_random_embeddings():
    labels = _images().labels
    pairs = development.draw_pairs(labels, 160, seed=0)
    assert development.accuracy(np.eye(20, dtype=np.float32)[labels], pairs) == 1.0
    noise = np.random.default_rng(0).normal(size=(len(labels), 16)).astype(np.float32)
    assert 0.35 < development.accuracy(noise, pairs) < 0.65


def test_accuracy_ignores_length_and_survives_a_zero_embedding():
    labels = _images().labels
    pairs = development.draw_pairs(labels, 160, seed=0)
    embeddings = np.random.default_rng(0).normal(size=(len(labels), 16)).astype(np.float32)
    longer = embeddings * np.linspace(0.1, 9, len(labels), dtype=np.float32)[:, None]
    assert development.accuracy(longer, pairs) == development.accuracy(embeddings, pairs)
    embeddings[0] = 0
    assert 0 <= development.accuracy(embeddings, pairs) <= 1


def test_best_threshold_counts_ties_as_one_and_is_best_among_all_scores():
    generator = np.random.default_rng(2)
    for _ in range(20):
        scores = generator.integers(0, 6, 30).astype(np.float64)
        genuine = generator.random(30) < 0.5
        best = max(((scores >= t) == genuine).sum() for t in scores)
        threshold = development.best_threshold(scores, genuine)
        assert ((scores >= threshold) == genuine).sum() == best
