"""Numbers as text carry the digits their sample supports, and no more."""

from __future__ import annotations

import pytest

from bnas_face.report import numbers


@pytest.mark.parametrize(
    ("n", "expected"), [(0, 0), (20, 0), (100, 0), (101, 1), (600, 1), (1000, 1), (1001, 2), (6000, 2)]
)
def test_the_last_digit_is_never_finer_than_one_comparison(n: int, expected: int) -> None:
    assert numbers.decimals(n) == expected


def test_a_percentage_of_many_pairs_has_two_decimals_at_most() -> None:
    assert numbers.percent(0.990333, 15_000_000) == "99.03"


@pytest.mark.parametrize(
    ("value", "expected"), [(-0.166, "−16.60"), (0.0031, "+0.31"), (-0.00001, "0.00"), (0.0, "0.00"), (None, "–")]
)
def test_points_are_signed_with_a_true_minus(value: float | None, expected: str) -> None:
    assert numbers.points(value, 6000) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0209, "p = 0.021"), (0.0009, "p < 0.001"), (1.0, "p = 1.000")])
def test_p_values_below_a_thousandth_are_not_spelled_out(value: float, expected: str) -> None:
    assert numbers.p_equation(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (8_421_376, "8.42 MB"), (99_960_000, "100 MB"), (None, "–")],
)
def test_file_sizes_have_three_digits(value: int | None, expected: str) -> None:
    assert numbers.file_size(value) == expected


def test_counts_and_small_rates() -> None:
    assert numbers.short_count(2_101_440) == "2.10 M"
    assert numbers.short_count(12) == "12"
    assert numbers.rate(0.000333, 3000) == "0.03"
    assert numbers.fmr_target(0.001) == "0.1 %"
    assert numbers.span(None, 0.1, 100) == "–"
    assert numbers.area(0.98765, 6000) == "0.9877"
