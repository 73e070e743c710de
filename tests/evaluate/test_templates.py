"""Pooling of templates and scores of their pairs against slow twins; TAR's intervals from the tail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats.template_files import TemplateRows
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, MetricError, ProtocolError
from bnas_face.evaluate import templates
from bnas_face.evaluate.embed import Embeddings
from bnas_face.evaluate.templates import Pooling
from bnas_face.metrics import rates, tail, uncertainty

N0D1, N0D0 = Pooling.of("N0D1", flip=True), Pooling.of("N0D0", flip=True)


def images(n: int) -> FaceImages:
    return FaceImages(
        name="x",
        image_ids=tuple(f"{i}.jpg" for i in range(n)),
        labels=np.full(n, -1),
        identity_names=(),
        content_hash="x",
        size_px=1,
        read=lambda indices: np.zeros((len(indices), 1, 1, 3), np.uint8),
    )


def rows(members: list[tuple[int, int, int, float]]) -> TemplateRows:
    """Rows of (image, template, medium, detector score)."""
    image, template, medium, score = zip(*members, strict=True)
    return TemplateRows(
        image_id=np.array([f"{i}.jpg" for i in image]),
        template=np.array(template, np.int32),
        medium=np.array(medium, np.int32),
        detector_score=np.array(score, np.float32),
    )


def embeddings(values: Any, failed: Any) -> Embeddings:
    vectors = np.asarray(values, np.float32)
    vectors = np.where(np.asarray(failed)[:, None], 0, vectors)
    return Embeddings(values=vectors, failed=np.asarray(failed, bool), image_ids=tuple(map(str, range(len(failed)))))


def slow_pool(members: Any, vectors: Any, failed: Any, template: int, weighted: bool) -> Any:
    """A template by definition: mean over the images of a medium, sum over media, unit length; None where it fails."""
    media: dict[int, list[Any]] = {}
    for image, of, medium, score in members:
        if of == template and not failed[image]:
            media.setdefault(medium, []).append(np.asarray(vectors[image]) * (score if weighted else 1.0))
    total = sum((sum(found) / len(found) for found in media.values()), np.zeros(len(vectors[0])))
    length = float(np.sqrt((total**2).sum()))
    return total / length if length else None


@st.composite
def worlds(draw: Any) -> Any:
    n_images, dim = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    numbers = st.floats(-1, 1, width=16)
    vectors = draw(st.lists(st.lists(numbers, min_size=dim, max_size=dim), min_size=n_images, max_size=n_images))
    failed = draw(st.lists(st.booleans(), min_size=n_images, max_size=n_images))
    member = st.tuples(
        st.integers(0, n_images - 1), st.integers(1, 4), st.integers(7, 9), st.sampled_from([0.0, 0.25, 0.5, 1.0])
    )
    return draw(st.lists(member, min_size=1, max_size=12)), vectors, failed


@given(worlds(), st.booleans(), st.sampled_from([1, 3, 4096]))
@settings(deadline=None)
def test_a_template_is_the_sum_of_its_media_at_unit_length(world: Any, weighted: bool, at_once: int) -> None:
    members, vectors, failed = world
    found = templates.template_set(rows(members), images(8), np.unique([m[1] for m in members]).astype(np.int32))
    used = found.used.tolist()
    given_ = embeddings([vectors[i] for i in used], [failed[i] for i in used])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "ROWS_AT_ONCE", at_once)
        values, is_failed = templates.pool(found, given_, N0D1 if weighted else N0D0)
    for at, number in enumerate(found.number):
        expected = slow_pool(members, vectors, failed, number, weighted)
        if expected is None:
            assert is_failed[at] and not values[at].any()
        elif np.abs(expected).max() > 1e-3:
            assert not is_failed[at] and values[at] == pytest.approx(expected, abs=1e-5)


def test_images_of_one_medium_count_together_as_one() -> None:
    """Three frames of a video do not outweigh a photograph."""
    members = [(0, 5, 1, 1.0), (1, 5, 1, 1.0), (2, 5, 1, 1.0), (3, 5, 2, 1.0)]
    found = templates.template_set(rows(members), images(4), np.array([5], np.int32))
    values, _ = templates.pool(found, embeddings([[1, 0]] * 3 + [[0, 1]], [False] * 4), N0D0)
    assert values[0] == pytest.approx([np.sqrt(0.5), np.sqrt(0.5)])
    assert (found.n_images.tolist(), found.n_media.tolist()) == ([4], [2])


def test_the_same_medium_number_in_two_templates_is_two_media() -> None:
    members = [(0, 1, 9, 1.0), (1, 2, 9, 1.0)]
    found = templates.template_set(rows(members), images(2), np.array([1, 2], np.int32))
    values, _ = templates.pool(found, embeddings([[1, 0], [0, 1]], [False] * 2), N0D0)
    assert values.tolist() == [[1, 0], [0, 1]]


def test_only_images_of_needed_templates_are_embedded() -> None:
    found = templates.template_set(rows([(0, 1, 1, 1.0), (1, 2, 1, 1.0)]), images(2), np.array([2], np.int32))
    assert found.used.tolist() == [1]


def test_templates_without_images_and_absent_images_are_refused() -> None:
    with pytest.raises(ProtocolError, match="Template 3 is compared, but has no images"):
        templates.template_set(rows([(0, 1, 1, 1.0)]), images(1), np.array([1, 3], np.int32))
    with pytest.raises(
        ProtocolError, match=r"1 images of templates are not in dataset 'x' \(1 images\), first '4.jpg'"
    ):
        templates.template_set(rows([(4, 1, 1, 1.0)]), images(1), np.array([1], np.int32))


def test_with_n1_an_image_counts_by_the_length_of_its_embedding() -> None:
    """Two images of two media in one template, one three times as long."""
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    lengths = np.array([3, 1], np.float32)
    found = replace(embeddings(vectors, [False, False]), lengths=lengths)
    of = templates.template_set(rows([(0, 1, 1, 1.0), (1, 1, 2, 1.0)]), images(2), np.array([1], np.int32))
    values, failed = templates.pool(of, found, Pooling.of("N1D0", flip=True))
    assert values[0] == pytest.approx(np.array([3, 1]) / np.sqrt(10), abs=1e-6)
    assert not failed.any()
    with pytest.raises(MetricError, match="some of the cached embeddings were kept without"):
        templates.pool(of, replace(found, lengths=None), Pooling.of("N1D0", flip=True))


def test_a_pooling_is_named_and_stamped_as_insightface_names_it() -> None:
    assert (N0D1.name, Pooling.of("N0D0", flip=False).name) == ("N0D1F1", "N0D0F0")
    assert N0D1.stamp.startswith("N0D1F1: the embedding of an image is f(x) + f(flip x) at unit length, weighted with")
    with pytest.raises(ConfigError, match="Pooling 'D1N0' is not known"):
        Pooling.of("D1N0", flip=True)


@pytest.mark.parametrize("n_pairs", [1, 40, 3000])
def test_scores_are_cosines_whichever_way_they_are_computed(n_pairs: int) -> None:
    rng = np.random.default_rng(n_pairs)
    values = rng.normal(size=(700, 16)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    failed = rng.random(700) < 0.1
    reference, probe = rng.integers(0, 600, n_pairs).astype(np.int32), rng.integers(100, 700, n_pairs).astype(np.int32)
    expected = np.sum(values[reference].astype(np.float64) * values[probe], axis=1)
    for way in (templates._by_blocks, templates._one_by_one):
        assert way(values, reference, probe) == pytest.approx(expected, abs=1e-6)
    scores = templates.pair_scores(values, failed, reference, probe)
    is_failed = failed[reference] | failed[probe]
    assert (np.isnan(scores) == is_failed).all()
    assert scores[~is_failed] == pytest.approx(expected[~is_failed], abs=2e-6)


def test_equal_templates_have_equal_scores_whatever_the_product_rounds() -> None:
    one = np.random.default_rng(0).normal(size=512)
    values = np.repeat((one / np.linalg.norm(one))[None].astype(np.float32), 1031, axis=0)
    reference, probe = (side.astype(np.int32).ravel() for side in np.meshgrid(np.arange(517), np.arange(517, 1031)))
    assert set(templates.pair_scores(values, np.zeros(1031, bool), reference, probe).tolist()) == {1.0}


def drawn_pairs(seed: int, n_subjects: int = 12) -> tuple[Any, Any, Any, Any]:
    """Scores (with ties), classes and subjects of all pairs of three images a subject."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), 3)
    first, second = np.triu_indices(len(subject), 1)
    genuine = subject[first] == subject[second]
    scores = np.round(rng.normal(0, 1, len(first)) + 2 * genuine + rng.normal(0, 0.5, n_subjects)[subject[first]], 1)
    return scores, genuine, subject[first], subject[second]


@pytest.mark.parametrize("target", [0.02, 0.1])
def test_tar_of_the_tail_is_tar_of_all_pairs_in_every_replicate(target: float) -> None:
    """With the same multiplicities, the tail alone gives what weighting every pair gives."""
    scores, genuine, first, second = drawn_pairs(3)
    genuine[np.flatnonzero(genuine)[:5]] = False  # people may be marked as different by mistake
    kept = tail.tail_of(scores, genuine, first, second, target, least=1)
    assert len(kept.impostor) < 0.5 * np.count_nonzero(~genuine)
    found = tail.tar_replicates(kept, (target,), 60, seed=5)[:, 0]
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    weights = []
    for m in np.concatenate(list(tail._draws(12, 60, 5))):
        weights.append(np.where(first == second, m[first], m[first] * m[second])[order])
    expected = uncertainty.weighted_statistics(np.array(weights, np.int32), genuine[order], last, (target,))[2][:, 0]
    told = ~np.isnan(found)
    assert told.mean() > 0.9
    assert found[told] == pytest.approx(expected[told], abs=1e-12)


def test_the_tails_interval_covers_tar() -> None:
    scores, genuine, first, second = drawn_pairs(4, n_subjects=60)
    found = tail.tar_replicates(tail.tail_of(scores, genuine, first, second, 0.01), (0.01,), 400, seed=0)
    interval = uncertainty.percentile_interval(found[:, 0])
    value = rates.tar_at_fmr(scores, genuine, 0.01).tar
    assert interval.low is not None and interval.high is not None
    assert interval.low < value < interval.high


def test_a_tail_needs_both_classes_and_finite_scores() -> None:
    one = np.zeros(3, np.int64)
    for scores, genuine in ((np.ones(3), np.ones(3, bool)), (np.array([1, np.nan, 2]), np.array([True, False, False]))):
        with pytest.raises(MetricError, match="finite scores of both classes"):
            tail.tail_of(scores, genuine, one, one, 0.1)
