"""1:N against slow twins that count by definition: ties, missing mates, constant scores, chunks."""

from __future__ import annotations

import importlib.util
import sys
import types
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnas_face.errors import MetricError, TooFewImpostorsError
from bnas_face.metrics import identification, nearest
from bnas_face.metrics.recognition import ranks


def slow_search(
    probe: Any, gallery: Any, probe_subject: Any, gallery_subject: Any
) -> list[tuple[int, float | None, float]]:
    """(rank, own score, best other score) of each probe; an unknown gallery template is a person of its own."""
    found = []
    for vector, person in zip(probe, probe_subject, strict=True):
        best: dict[Any, float] = {}
        for at, (template, subject) in enumerate(zip(gallery, gallery_subject, strict=True)):
            key = ("unknown", at) if subject == -1 else subject
            score = float(sum(float(a) * float(b) for a, b in zip(vector, template, strict=True)))
            best[key] = max(score, best.get(key, score))
        own = None if person == -1 else best.pop(person, None)
        others = max(best.values(), default=float("-inf"))
        found.append((0 if own is None else 1 + sum(s >= own for s in best.values()), own, others))
    return found


def slow_tpir(rank: Any, own: Any, nonmated: Any, target: float) -> tuple[Fraction, Fraction]:
    """(tpir, achieved fpir) at the lowest observed threshold whose FPIR does not exceed the target."""
    seen = [*(s for r, s in zip(rank, own, strict=True) if r), *nonmated, float("inf")]
    for threshold in sorted(set(seen)):
        fpir = Fraction(sum(s >= threshold for s in nonmated), len(nonmated))
        if float(fpir) <= target:
            hits = sum(r == 1 and s >= threshold for r, s in zip(rank, own, strict=True))
            return Fraction(hits, len(rank)), fpir
    raise AssertionError


small = st.integers(-2, 2)


@st.composite
def worlds(draw: Any) -> tuple[Any, Any, Any, Any]:
    """Whole-numbered embeddings (products are exact), few people, so ties, missing mates and distractors abound."""
    dim, n_probes, n_templates = draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 8))
    vectors = st.lists(small, min_size=dim, max_size=dim)
    person = st.integers(-1, 3)
    probe = draw(st.lists(vectors, min_size=n_probes, max_size=n_probes))
    gallery = draw(st.lists(vectors, min_size=n_templates, max_size=n_templates))
    people = draw(st.lists(person, min_size=n_probes, max_size=n_probes))
    return probe, gallery, people, draw(st.lists(person, min_size=n_templates, max_size=n_templates))


@given(worlds(), st.sampled_from([1, 40, 1 << 20]))
def test_a_search_counts_as_its_definition_whatever_the_chunks(world: Any, chunk_bytes: int) -> None:
    probe, gallery, people, subjects = world
    found = identification.search(
        np.array(probe, np.float32), np.array(gallery, np.float32), people, subjects, chunk_bytes=chunk_bytes
    )
    for at, (rank, own, best_other) in enumerate(slow_search(*world)):
        assert found.rank[at] == rank
        assert found.is_mated[at] == (own is not None)
        assert np.isnan(found.own[at]) if own is None else found.own[at] == own
        assert found.best_other[at] == best_other


class FlatIndex:
    """What is used of ``faiss.IndexFlatIP``."""

    def __init__(self, dim: int) -> None:
        self.vectors = np.zeros((0, dim), np.float32)

    def add(self, vectors: Any) -> None:
        self.vectors = vectors

    def search(self, probe: Any, k: int) -> tuple[Any, Any]:
        scores = probe @ self.vectors.T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, axis=1), order


@given(worlds(), st.sampled_from([1, 2, 3, 128]), st.booleans())
def test_faiss_gives_the_same_numbers_however_short_its_lists(world: Any, n_nearest: int, own_faiss: bool) -> None:
    probe, gallery, people, subjects = world
    vectors = np.array(probe, np.float32), np.array(gallery, np.float32)
    expected = identification.search(*vectors, people, subjects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "FAISS_FROM", 1)
        patch.setattr(nearest, "N_NEAREST", n_nearest)
        if own_faiss or importlib.util.find_spec("faiss") is None:
            patch.setitem(sys.modules, "faiss", types.SimpleNamespace(IndexFlatIP=FlatIndex))
        found = identification.search(*vectors, people, subjects)
    for name in ("is_mated", "rank", "own", "best_other"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_faiss_is_asked_only_for_large_galleries(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(nearest, "top_of", lambda gallery, probe: asked.append(len(gallery)))
    one = np.ones((3, 2), np.float32)
    identification.search(one, one, [0, 1, 2], [0, 1, 2])
    assert asked == []
    monkeypatch.setattr(identification, "FAISS_FROM", 3)
    assert identification.search(one, one, [0, 1, 2], [0, 1, 2]).rank.tolist() == [3, 3, 3]
    assert asked == [3]


@given(worlds())
def test_one_template_a_subject_ranks_as_recognition_does(world: Any) -> None:
    probe, gallery, _, _ = world
    subjects = np.arange(len(gallery))
    people = np.arange(len(probe)) % len(gallery)
    vectors = np.array(probe, np.float32), np.array(gallery, np.float32)
    found = identification.search(*vectors, people, subjects)
    assert found.rank.tolist() == ranks(vectors[0] @ vectors[1].T, people).tolist()


scores = st.integers(-3, 3).map(float)


@given(
    st.lists(st.tuples(st.integers(0, 3), scores), min_size=1, max_size=12),
    st.lists(scores, min_size=1, max_size=12),
    st.floats(0.01, 0.99),
)
def test_tpir_at_fpir_counts_as_its_definition(mated: Any, nonmated: Any, target: float) -> None:
    rank, own = zip(*mated, strict=True)
    arguments = (rank, [s if r else np.nan for r, s in mated], nonmated, target)
    if target < 1 / len(nonmated):
        with pytest.raises(TooFewImpostorsError, match=r"Insufficient data: FPIR target .* there are "):
            identification.tpir_at_fpir(*arguments)
        return
    found = identification.tpir_at_fpir(*arguments)
    tpir, fpir = slow_tpir(rank, own, nonmated, target)
    assert (found.tpir, found.fpir_achieved) == (float(tpir), float(fpir))
    assert found.fpir_achieved <= target
    assert found.fnir == pytest.approx(1 - found.tpir)
    assert found.n_false_positives == sum(s >= found.threshold for s in nonmated)


def test_equal_scores_of_non_mated_probes_are_let_in_together_or_not_at_all() -> None:
    found = identification.tpir_at_fpir([1, 1, 1], [0.9, 0.5, 0.4], [0.5, 0.5, 0.1, 0.1], 0.25)
    assert (found.fpir_achieved, found.n_false_positives, found.threshold) == (0.0, 0, 0.9)
    assert found.tpir == pytest.approx(1 / 3)


def test_a_mate_that_is_not_first_is_no_true_positive_however_high_it_scores() -> None:
    found = identification.tpir_at_fpir([2, 1], [0.9, 0.8], [0.1, 0.2], 0.5)
    assert (found.tpir, found.n_true_positives) == (0.5, 1)


def test_equal_scores_count_against_the_probe_without_any_tolerance_too() -> None:
    both = np.array([[1, 0], [1, 0]], np.float32)
    assert identification.search(both[:1], both, [0], [0, 1], tolerance=0.0).rank.tolist() == [2]
    assert identification.search(both[:1], both * [[1], [0.5]], [0], [0, 1], tolerance=0.0).rank.tolist() == [1]


def test_where_every_mated_probe_failed_nobody_is_found_and_fpir_still_holds() -> None:
    found = identification.tpir_at_fpir([0, 0], [np.nan, np.nan], [0.5, 0.3], 0.5)
    assert (found.tpir, found.fnir, found.fpir_achieved, found.threshold) == (0.0, 1.0, 0.5, 0.5)


def test_a_network_that_gives_everybody_the_same_embedding_finds_nobody() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=512)
    same = np.repeat((one / np.linalg.norm(one))[None].astype(np.float32), 1031, axis=0)
    people = np.arange(1031)
    found = identification.search(same, same, people, people)
    assert (found.rank == 1031).all(), "a product in float32 rounds equal rows differently; that is no recognition"
    assert identification.n_found(found.rank, 1) == 0


def test_the_best_template_speaks_for_its_subject() -> None:
    gallery = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = identification.search(np.array([[0, 1]], np.float32), gallery, [7], [7, 7, 3])
    assert (found.rank[0], found.own[0], found.best_other[0]) == (1, 1.0, pytest.approx(0.8))


def test_cmc_counts_missed_probes_as_never_found() -> None:
    assert identification.cmc([1, 2, 0, 5], 4).tolist() == [0.25, 0.5, 0.5, 0.5]
    assert identification.n_found([1, 2, 0, 5], 2) == 2


def test_a_gallery_of_one_subject_has_no_other() -> None:
    found = identification.search(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), [4], [4, 4])
    assert (found.rank[0], found.best_other[0]) == (1, -np.inf)


def test_a_gallery_of_distractors_alone_has_no_mates() -> None:
    found = identification.search(np.ones((2, 2), np.float32), np.ones((3, 2), np.float32), [0, -1], [-1, -1, -1])
    assert not found.is_mated.any()
    assert found.best_other.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_embeddings_and_scores_that_are_not_finite_are_refused(bad: float) -> None:
    good, broken = np.ones((2, 2), np.float32), np.array([[1, bad], [0, 1]], np.float32)
    with pytest.raises(MetricError, match=r"embeddings of the probe are not finite"):
        identification.search(broken, good, [0, 1], [0, 1])
    with pytest.raises(MetricError, match=r"embeddings of the gallery are not finite"):
        identification.search(good, broken, [0, 1], [0, 1])
    with pytest.raises(MetricError, match="not finite"):
        identification.tpir_at_fpir([1], [0.5], [bad, 0.1, 0.2], 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: identification.search(e[:0], e, [], [0, 1]), "The probe is empty"),
        (lambda e: identification.search(e, e[:0], [0, 1], []), "The gallery is empty"),
        (
            lambda e: identification.search(e, e, [0], [0, 1]),
            r"The probe has embeddings of shape \(2, 2\) and subjects",
        ),
        (lambda e: identification.search(e, e, [0, -2], [0, 1]), "A subject of the probe is -2"),
        (lambda e: identification.search(e, e[:, :1], [0, 1], [0, 1]), "Probes have 2 dimensions and gallery"),
        (lambda e: identification.cmc([], 3), "CMC of 0 mated probes"),
        (lambda e: identification.cmc([1, -1], 3), "A rank is -1"),
        (lambda e: identification.tpir_at_fpir([1], [0.5], [], 0.5), r"Every probe's subject is in the gallery"),
        (
            lambda e: identification.tpir_at_fpir([1], [0.5], [0.1], 0.5),
            r"needs at least 2 non-mated probes, there are 1",
        ),
        (lambda e: identification.tpir_at_fpir([1], [0.5], [0.1], 0.0), r"FPIR target 0 was given"),
        (lambda e: identification.tpir_at_fpir([], [], [0.1], 0.5), "of one probe or more"),
        (lambda e: identification.tpir_at_fpir([1, 1], [0.5], [0.1], 0.5), r"Ranks of shape \(2,\)"),
    ],
)
def test_what_cannot_be_counted_is_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(MetricError, match=message) as caught:
        call(np.eye(2, dtype=np.float32))
    assert "\n" not in str(caught.value)


def test_scores_held_at_once_stay_below_the_chunk() -> None:
    seen: list[int] = []

    class Watched(np.ndarray):
        def __matmul__(self, other: Any) -> Any:
            product = np.asarray(self) @ other
            seen.append(product.nbytes)
            return product

    probe = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32).view(Watched)
    gallery = np.random.default_rng(2).normal(size=(100, 4)).astype(np.float32)
    identification.search(probe, gallery, np.arange(50), np.arange(100), chunk_bytes=4000)
    assert max(seen) <= 4000 and len(seen) == 5
