"""Numbers as text, with the digits their sample size supports. Rates come in as fractions and go out as percent."""

from __future__ import annotations

import math

MISSING = "–"
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def decimals(n: int, at_most: int = 2) -> int:
    """Decimals of a percentage counted over `n` comparisons: the last digit is never finer than one comparison.

    One of 6,000 is 0.017 %, so two decimals; one of 600 is 0.17 %, so one; below 101 none.
    """
    if n <= 0:
        return 0
    return max(0, min(at_most, math.ceil(math.log10(n) - 2 - 1e-9)))


def percent(value: float | None, n: int, at_most: int = 2) -> str:
    """A fraction as percent without its sign (``"99.02"``), or a dash where the number is undefined."""
    return MISSING if value is None else f"{100 * value:.{decimals(n, at_most)}f}".replace("-", "−")


def rate(value: float | None, n: int) -> str:
    """A small error rate as percent: as `percent`, with up to four decimals where `n` supports them."""
    return percent(value, n, at_most=4)


def rate_span(low: float | None, high: float | None, n: int) -> str:
    """An interval of a small error rate in percent, digits as `rate`."""
    return MISSING if low is None or high is None else f"{rate(low, n)}–{rate(high, n)}"


def points(value: float | None, n: int) -> str:
    """A difference of two fractions in percentage points, signed with a true minus (``"−16.60"``)."""
    if value is None:
        return MISSING
    text = f"{100 * abs(value):.{decimals(n)}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def span(low: float | None, high: float | None, n: int) -> str:
    """An interval of a rate in percent (``"98.71–99.22"``), or a dash where it is undefined."""
    return MISSING if low is None or high is None else f"{percent(low, n)}–{percent(high, n)}"


def points_span(low: float | None, high: float | None, n: int) -> str:
    """An interval of a difference in signed percentage points (``"−0.58 to −0.05"``)."""
    return MISSING if low is None or high is None else f"{points(low, n)} to {points(high, n)}"


def area(value: float | None, n: int) -> str:
    """An area under a curve as a fraction, with two digits more than a percentage has."""
    return MISSING if value is None else f"{value:.{decimals(n) + 2}f}"


def p_value(value: float | None) -> str:
    """A p-value: three decimals, or ``"< 0.001"``."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_equation(value: float | None) -> str:
    """As `p_value`, with its relation sign (``"p = 0.021"``, ``"p < 0.001"``)."""
    text = p_value(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def score(value: float | None) -> str:
    """A similarity score or threshold, three decimals with a true minus."""
    return MISSING if value is None else f"{value:.3f}".replace("-", "−")


def count(value: int | None) -> str:
    """A whole number with thousands separated by commas."""
    return MISSING if value is None else f"{value:,}"


def short_count(value: int | None) -> str:
    """A whole number to three digits (``"2.10 M"``)."""
    if value is None:
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{_three_digits(value / size)} {unit}"
    return str(value)


def file_size(value: int | None) -> str:
    """Bytes in decimal units, three digits (``"4.21 MB"``)."""
    if value is None:
        return MISSING
    power = min(len(_BYTE_UNITS) - 1, (len(str(value)) - 1) // 3)
    return f"{value} B" if power == 0 else f"{_three_digits(value / 1000**power)} {_BYTE_UNITS[power]}"


def fmr_target(value: float) -> str:
    """An FMR target as percent, in the digits it was asked in (``"0.1 %"``)."""
    return f"{100 * value:.6g} %"


def three_digits(value: float | None) -> str:
    """A number of at least 0 with three significant digits (``"0.0452"``, ``"12.3"``, ``"1,610"``)."""
    if value is None:
        return MISSING
    if value >= 999.5:
        return f"{float(f'{value:.3g}'):,.0f}"
    digits = 2 - math.floor(math.log10(value)) if 0 < value < 0.9995 else None
    return f"{value:.{digits}f}" if digits is not None else _three_digits(value)


def _three_digits(value: float) -> str:
    """`value` in [1, 1000) with three significant digits."""
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
