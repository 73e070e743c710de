"""Groups of a metadata column, and error rates of groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnas_face.errors import MetricError
from bnas_face.metrics import slices


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60))
def test_rates_of_groups_equal_counting(pairs: list[tuple[bool, bool, int]]) -> None:
    match, genuine, group = (np.array(column) for column in zip(*pairs, strict=True))
    groups = slices.groups_of(group.astype(str))
    for label, found in zip(groups.labels, slices.by_group(match, genuine, groups), strict=True):
        own = [(m, g) for m, g, k in pairs if str(k) == label]
        assert found.n_genuine == sum(g for _, g in own)
        assert found.n_impostor == sum(not g for _, g in own)
        assert found.n_false_matches == sum(m and not g for m, g in own)
        assert found.n_false_non_matches == sum(g and not m for m, g in own)
        assert (found.fmr is None) == (found.n_impostor == 0) == (found.fmr_interval is None)
        if found.fnmr is not None and found.fnmr_interval is not None:
            assert found.fnmr_interval[0] <= found.fnmr <= found.fnmr_interval[1]


@given(st.lists(st.one_of(st.floats(-90, 90), st.just(float("nan"))), min_size=1, max_size=200))
def test_every_pair_is_in_one_group_and_equal_numbers_stay_together(values: list[float]) -> None:
    found = slices.groups_of(values)
    assert found.index.shape == (len(values),)
    assert set(found.index) == set(range(len(found.labels)))  # no group is empty, none is missing
    by_value: dict[float, set[int]] = {}
    for value, k in zip(values, found.index, strict=True):
        by_value.setdefault("nan" if np.isnan(value) else value, set()).add(int(k))
    assert all(len(groups) == 1 for groups in by_value.values())


def test_numbers_are_cut_at_quantiles_into_about_equal_parts_in_rising_order() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    found = slices.groups_of(values)
    assert len(found.labels) == slices.N_BINS
    assert np.bincount(found.index).min() >= 190
    assert [values[found.index == k].max() for k in range(4)] < [values[found.index == k].min() for k in range(1, 5)]


def test_few_numbers_are_groups_of_their_own_by_value_not_by_alphabet() -> None:
    assert slices.groups_of([10, 9, 9, 100]).labels == ("9", "10", "100")


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_numbers_that_differ_late_are_told_apart(dtype: type) -> None:
    """Six significant digits would make one group of two days, and of two years of numbered cameras."""
    days = np.array([20200102, 20200101, 20200102, 20200103], dtype)
    found = slices.groups_of(days)
    assert found.labels == ("20200101", "20200102", "20200103")
    assert found.index.tolist() == [1, 0, 1, 2]
    labels = slices.groups_of(np.arange(20200000, 20200100).astype(dtype)).labels
    assert labels[0] == "20200000 to under 20200019"
    assert slices.groups_of([1.00000001, 1.00000002]).labels == ("1.00000001", "1.00000002")


def test_whole_numbers_beyond_float64_are_told_apart() -> None:
    assert slices.groups_of([2**53, 2**53 + 1, 2**53]).index.tolist() == [0, 1, 0]


def test_no_two_groups_have_one_label() -> None:
    words = ["other", "not given", ""] * 3 + [f"w{k}" for k in range(30)]
    found = slices.groups_of(words)
    assert len(set(found.labels)) == len(found.labels)
    assert {"'other'", "'not given'", "other", "not given"} <= set(found.labels)


def test_rare_words_go_together_and_absent_ones_are_named() -> None:
    words = [f"w{k:02d}" for k in range(25) for _ in range(25 - k)] + [None, ""]
    found = slices.groups_of(words)
    assert found.labels[-2:] == ("other", "not given")
    assert len(found.labels) == slices.MOST_GROUPS + 2
    assert np.count_nonzero(found.index == slices.MOST_GROUPS) == 5 + 4 + 3 + 2 + 1
    assert found.note == "the 5 rarest values together as 'other'"


def test_decisions_and_groups_of_other_lengths_are_an_error() -> None:
    with pytest.raises(MetricError, match="must be"):
        slices.by_group([True], [True], slices.groups_of(["a", "b"]))
    with pytest.raises(MetricError, match="must be"):
        slices.rates_of([True, False], [True])
