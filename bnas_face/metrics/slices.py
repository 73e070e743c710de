"""Error rates of parts of the data at one global threshold: which groups pay for the average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnas_face.errors import MetricError
from bnas_face.metrics.checks import BoolArray, IntArray, same_length
from bnas_face.metrics.uncertainty import wilson

N_BINS = 5
MOST_GROUPS = 20
OTHER, NOT_GIVEN = "other", "not given"
LEAST_PAIRS = 30
"""A rate over fewer pairs of its class is marked as small: its Wilson interval is wider than 0.1 even at 0."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """FMR and FNMR at a given threshold, with their counts and Wilson 95 % intervals.

    Attributes
    ----------
    n_genuine, n_impostor, n_false_matches, n_false_non_matches : int
    fmr, fnmr : float or None
        In [0, 1], lower is better; None where there is no pair of the class.
    fmr_interval, fnmr_interval : (float, float) or None
    """

    n_genuine: int
    n_impostor: int
    n_false_matches: int
    n_false_non_matches: int
    fmr: float | None
    fnmr: float | None
    fmr_interval: tuple[float, float] | None
    fnmr_interval: tuple[float, float] | None


def rates_of(is_match: ArrayLike, is_genuine: ArrayLike) -> Rates:
    """Both error rates of decisions.

    Parameters
    ----------
    is_match, is_genuine : array-like of bool, shape (n_pairs,)
        One class, or no pair at all, is allowed.

    Raises
    ------
    MetricError
        If the lengths differ.
    """
    match, genuine = np.asarray(is_match, np.bool_), np.asarray(is_genuine, np.bool_)
    if match.shape != genuine.shape or match.ndim != 1:
        raise MetricError(f"is_match has shape {match.shape} and is_genuine {genuine.shape}; both must be (n_pairs,).")
    n_genuine = int(np.count_nonzero(genuine))
    n_impostor = len(genuine) - n_genuine
    n_false_matches = int(np.count_nonzero(match & ~genuine))
    n_false_non_matches = int(np.count_nonzero(~match & genuine))
    return Rates(
        n_genuine=n_genuine,
        n_impostor=n_impostor,
        n_false_matches=n_false_matches,
        n_false_non_matches=n_false_non_matches,
        fmr=n_false_matches / n_impostor if n_impostor else None,
        fnmr=n_false_non_matches / n_genuine if n_genuine else None,
        fmr_interval=wilson(n_false_matches, n_impostor) if n_impostor else None,
        fnmr_interval=wilson(n_false_non_matches, n_genuine) if n_genuine else None,
    )


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Which group each pair belongs to.

    Attributes
    ----------
    labels : tuple of str
    index : ndarray of int64, shape (n_pairs,)
        Position in `labels`.
    note : str
        What was put together, or empty.
    """

    labels: tuple[str, ...]
    index: IntArray
    note: str


def groups_of(values: ArrayLike) -> Groups:
    """Cut a metadata column into groups.

    Numbers with more than `N_BINS` different values are cut at their quantiles into `N_BINS` parts of about as many
    pairs each; anything else is a group per value, the `MOST_GROUPS` most frequent ones, the others together. Pairs
    without a value are a group of their own.

    Parameters
    ----------
    values : array-like of numbers or str, shape (n_pairs,)
        NaN, infinity, None and "" mean: not given.

    Returns
    -------
    Groups
        In rising order of numbers, alphabetic order of words; "other" and "not given" last. No two labels are equal: a
        word that reads like one of these two stands in quotes.
    """
    column = np.asarray(values)
    if column.dtype.kind in "iuf":
        return _numbers(column)
    return _words(np.array(["" if _absent(value) else str(value) for value in column.tolist()], dtype=object))


def _absent(value: object) -> bool:
    return value is None or value == "" or value != value


def _numbers(values: NDArray[Any]) -> Groups:
    given = np.isfinite(values)
    distinct = np.unique(values[given])
    if len(distinct) <= N_BINS:
        words = np.full(len(values), "", dtype=object)
        words[given] = np.array(_texts(distinct), dtype=object)[np.searchsorted(distinct, values[given])]
        return _words(words)
    # edges are observed values: nobody falls between two groups, and equal values stay together
    inner = np.unique(np.quantile(values[given], np.arange(1, N_BINS) / N_BINS, method="lower"))
    index = np.searchsorted(inner, values, side="right")
    bounds = _texts(np.concatenate((distinct[:1], inner, distinct[-1:])))
    n_groups = len(bounds) - 1
    kept = [k for k in range(n_groups) if (given & (index == k)).any()]
    labels = [f"{bounds[k]} to {'' if k == n_groups - 1 else 'under '}{bounds[k + 1]}" for k in kept]
    index = np.where(given, np.searchsorted(kept, index), len(kept))
    names = [*labels, *([] if given.all() else [NOT_GIVEN])]
    return Groups(labels=tuple(names), index=index.astype(np.int64), note="cut at quantiles of the pairs")


def _texts(numbers: NDArray[Any]) -> list[str]:
    """Numbers as text: whole ones in full, others in as few digits, from six on, as tell them apart."""
    if numbers.dtype.kind in "iu":
        return [str(value) for value in numbers.tolist()]
    values, texts = (numbers + 0.0).tolist(), []  # minus zero is zero
    for digits in range(6, 18):
        texts = [f"{v:.0f}" if v.is_integer() and abs(v) < 2.0**53 else f"{v:.{digits}g}" for v in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _words(values: NDArray[np.object_]) -> Groups:
    names, index, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    common = sorted((k for k in order[:MOST_GROUPS] if names[k]), key=lambda k: _natural(str(names[k])))
    rest = [k for k in range(len(names)) if names[k] and k not in set(common)]
    labels = [f"'{names[k]}'" if names[k] in (OTHER, NOT_GIVEN) else str(names[k]) for k in common]
    labels += [OTHER] if rest else []
    position = np.full(len(names), len(common), np.int64)  # of "other"
    position[common] = np.arange(len(common))
    if "" in names:
        position[int(np.flatnonzero(names == "")[0])] = len(labels)
        labels.append(NOT_GIVEN)
    note = f"the {len(rest)} rarest values together as 'other'" if rest else ""
    return Groups(labels=tuple(labels), index=position[index], note=note)


def _natural(text: str) -> tuple[float, str]:
    """Numbers by value, before words."""
    try:
        value = float(text)
    except ValueError:
        return np.inf, text
    return (np.inf if np.isnan(value) else value), text


def by_group(is_match: ArrayLike, is_genuine: ArrayLike, groups: Groups) -> list[Rates]:
    """`rates_of` each group, in the order of its labels.

    Parameters
    ----------
    is_match, is_genuine : array-like of bool, shape (n_pairs,)
        Decisions at one threshold for all groups.
    groups : Groups
        Of the same pairs.
    """
    match: BoolArray = np.asarray(is_match, np.bool_)
    genuine: BoolArray = np.asarray(is_genuine, np.bool_)
    same_length("is_match", match, "groups", groups.index)
    return [rates_of(match[groups.index == k], genuine[groups.index == k]) for k in range(len(groups.labels))]
