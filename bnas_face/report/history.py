"""The history of a search as a genotype file carries it, checked field by field before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bnas_face.errors import FormatError
from bnas_face.genotype import CELLS, EDGES, OPERATIONS

Place = tuple[str, int, str]
"""Cell, number of the edge in `EDGES`, operation."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The search space at one moment: a round of the reduction, or an epoch.

    Attributes
    ----------
    number : int
        Of the round or the epoch.
    remaining : mapping
        Cell → for each of the 14 edges the operations that are left.
    weight : mapping
        (cell, edge, operation) → likelihood or softmax(α); higher is better; empty where not recorded.
    is_share : bool
        The weights are shares of one (softmax(α)) and not likelihoods.
    abandoned : mapping
        (cell, edge, operation) → margin to the next operation, None where not recorded.
    noise : float or None
        A margin below it is within the noise of the measured accuracies; None where not recorded.
    accuracy : float or None
        Mean of the samples, or the accuracy of the mixed network; a fraction.
    """

    number: int
    remaining: Mapping[str, tuple[tuple[str, ...], ...]]
    weight: Mapping[Place, float] = field(default_factory=dict)
    is_share: bool = False
    abandoned: Mapping[Place, float | None] = field(default_factory=dict)
    noise: float | None = None
    accuracy: float | None = None

    @property
    def most_operations(self) -> int:
        """The largest number of operations that any edge has left."""
        return max(len(left) for cell in CELLS for left in self.remaining[cell])

    @property
    def margins(self) -> tuple[float, ...]:
        """The margins that were recorded."""
        return tuple(margin for margin in self.abandoned.values() if margin is not None)

    def is_coin_toss(self, margin: float | None) -> bool:
        """Whether a margin lies within the noise; without a known noise only a tie does."""
        return margin is not None and margin <= (self.noise or 0.0)


@dataclass(frozen=True, kw_only=True)
class Shrinkage:
    """What the whole search abandoned: counts, and how many were decided within the noise (None: not recorded)."""

    n_abandoned: int
    n_coin_tosses: int | None
    median_margin: float | None


def read(history: Any, origin: Mapping[str, Any] | None = None) -> tuple[Moment, ...]:
    """Check the ``origin.history`` of a genotype.

    Parameters
    ----------
    history : list
    origin : mapping, optional
        The whole origin: where an entry does not tell its noise, that of counting follows from it (`counting_noise`).

    Raises
    ------
    FormatError
        If it is no history; names the entry and the field.
    """
    if not isinstance(history, list):
        raise FormatError(f"The history of the search is {type(history).__name__}, expected a list of rounds.")
    try:
        return tuple(_moment(entry, place, origin or {}) for place, entry in enumerate(history))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"lacks '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"The history of the search is damaged: {reason}. Search again to have it drawn.") from error


def shrinkage(moments: Sequence[Moment]) -> Shrinkage:
    """Counts over all rounds."""
    margins = [margin for moment in moments for margin in moment.margins]
    decided = [moment for moment in moments if moment.abandoned]
    known = bool(decided) and all(moment.noise is not None for moment in decided)
    return Shrinkage(
        n_abandoned=sum(len(moment.abandoned) for moment in moments),
        n_coin_tosses=sum(m.is_coin_toss(v) for m in decided for v in m.margins) if known else None,
        median_margin=median(margins) if margins else None,
    )


def counting_noise(origin: Mapping[str, Any], accuracy: float, k: int) -> float | None:
    """The standard error that counting alone gives a margin of a BNAS round; the true noise is at least that.

    ``e = sqrt(2·p·(1−p) / (n·T))`` is the standard error of the difference of two operations' mean accuracies (T
    samples on n held-out images or pairs each). Upper bounds differ in accuracy, so e is their noise; likelihoods are a
    softmax over ceil(K/2) operations, which makes it ``e / (ceil(K/2)·τ)`` to first order. Ours, not the papers'.

    Parameters
    ----------
    origin : mapping
        Of the genotype; its ``config`` is that of the search, its ``search_data`` counts the images.
    accuracy : float
        p, the mean of the round, a fraction.
    k : int
        Operations an edge has in the round.

    Returns
    -------
    float or None
        None where the origin does not tell enough.
    """
    config = origin.get("config")
    n = _held_out(origin, config) if isinstance(config, Mapping) else None
    if n is None or not isinstance(config, Mapping) or not 0 <= accuracy <= 1:
        return None
    repeats, temperature, ucb = (config.get(name) for name in ("repeats", "temperature", "ucb"))
    if not all(_is_positive(value) for value in (repeats, temperature)) or k < 2:
        return None
    error = math.sqrt(2 * accuracy * (1 - accuracy) / (n * repeats))  # type: ignore[operator]
    n_drawn = math.ceil(k / 2)
    return error if _is_positive(ucb) else error / (n_drawn * temperature)  # type: ignore[operator]


def _held_out(origin: Mapping[str, Any], config: Mapping[str, Any]) -> float | None:
    """How many images or pairs an accuracy was counted on."""
    data = origin.get("search_data")
    field_name = "n_pairs" if config.get("fitness") == "verification" else "n_validation_images"
    found = data.get(field_name) if isinstance(data, Mapping) else None
    return found if _is_positive(found) else None


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


@dataclass(frozen=True)
class Loss:
    """An operation that an edge lost, with its margin to the next one (None: not recorded)."""

    operation: str
    margin: float | None
    is_coin_toss: bool


def losses(moments: Sequence[Moment]) -> list[tuple[str, list[list[Loss]]]]:
    """For every edge (``"normal 0 → 2"``) what it lost after each moment that abandoned anything."""
    decided = [moment for moment in moments if moment.abandoned]
    return [
        (
            f"{cell} {source} → {target}",
            [
                [Loss(place[2], m, moment.is_coin_toss(m)) for place, m in moment.abandoned.items() if place[:2] == key]
                for moment in decided
            ],
        )
        for cell in CELLS
        for number, (source, target) in enumerate(EDGES)
        for key in [(cell, number)]
        if decided
    ]


def _moment(entry: Mapping[str, Any], place: int, origin: Mapping[str, Any]) -> Moment:
    weights = entry.get("alpha") or entry.get("likelihood") or {}
    where = f"entry {place}"
    left = entry.get("remaining") or {cell: [list(edge) for edge in weights[cell]] for cell in CELLS}
    accuracy, noise = _maybe(entry.get("mean_accuracy"), where), _maybe(entry.get("noise"), where)
    if noise is None and accuracy is not None:
        noise = counting_noise(origin, accuracy, max(len(edge) for cell in CELLS for edge in left[cell]))
    return Moment(
        number=_whole(entry.get("round", entry.get("epoch", place)), where),
        remaining={cell: _left(left[cell], where) for cell in CELLS},
        weight={
            (cell, edge, _known(name, where)): _number(value, where)
            for cell in CELLS
            for edge, values in enumerate(_fourteen(weights.get(cell) or [{}] * len(EDGES), where))
            for name, value in values.items()
        },
        is_share=bool(entry.get("alpha")),
        abandoned=dict(_abandoned(item, where) for item in entry.get("abandoned") or []),
        noise=noise,
        accuracy=accuracy,
    )


def _left(edges: Any, where: str) -> tuple[tuple[str, ...], ...]:
    found = tuple(tuple(_known(name, where) for name in names) for names in _fourteen(edges, where))
    if not all(found):
        raise ValueError(f"an edge of {where} has no operation left")
    return found


def _fourteen(edges: Any, where: str) -> list[Any]:
    if not isinstance(edges, list) or len(edges) != len(EDGES):
        raise ValueError(f"a cell of {where} is not a list of {len(EDGES)} edges")
    return edges


def _known(name: Any, where: str) -> str:
    if not any(name in names for names in OPERATIONS.values()):
        raise ValueError(f"operation {name!r:.40} of {where} is in no search space")
    return str(name)


def _abandoned(item: Mapping[str, Any], where: str) -> tuple[Place, float | None]:
    edge = (item["source"], item["target"])
    if item["cell"] not in CELLS or edge not in EDGES:
        raise ValueError(f"{where} abandons on {item['cell']!r:.40}, {edge!r:.40}, where no edge is")
    return (item["cell"], EDGES.index(edge), _known(item["operation"], where)), _maybe(item.get("margin"), where)


def _maybe(value: Any, where: str) -> float | None:
    return None if value is None else _number(value, where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where} holds {value!r:.40} where a finite number belongs")
    return float(value)


def _whole(value: Any, where: str) -> int:
    if type(value) is not int:
        raise ValueError(f"{where} has the number {value!r:.40}, expected a whole one")
    return value
