"""The formulas of the searchers as functions of one edge or one cell; bnas.md's section 4 word by word, no state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bnas_face.genotype import EDGES, EDGES_KEPT, N_INPUTS, N_NODES, Cell, Edge
from bnas_face.search.searchers._base import incoming

Scores = dict[str, float]


def smallest(alpha: Mapping[str, float], n: int) -> list[str]:
    """O_small: the `n` operations of an edge with the smallest α, ties in the order of the space."""
    return sorted(alpha, key=lambda operation: alpha[operation])[:n]


def mean_accuracies(credits: Mapping[str, Sequence[float]]) -> Scores:
    """ȳ_k of every operation that was drawn, in [0, 1]."""
    return {operation: sum(found) / len(found) for operation, found in credits.items() if found}


def updated(likelihood: Mapping[str, float], mean: Mapping[str, float], temperature: float) -> Scores:
    """The likelihood of an edge's operations after a round.

    ``s_small(k) = exp(ȳ_k / τ) / Σ_m exp(ȳ_m / τ)`` over the operations that were drawn,
    ``s_large = (max s_small + Σ s_small / n) / 2`` for the others, and ``s(k) ← s(k) / 2 + (s_small(k) or s_large)``.

    Parameters
    ----------
    likelihood : mapping
        s of every remaining operation, 0 at the beginning.
    mean : mapping
        ȳ_k of the n operations that were drawn, a fraction; at least one.
    temperature : float
        τ > 0; 1 is the paper's. (The temperature is ours.)

    References
    ----------
    Chen et al., Binarized Neural Architecture Search, AAAI 2020: performance-based strategy, update of the likelihood.
    """
    top = max(mean.values())
    weight = {operation: math.exp((y - top) / temperature) for operation, y in mean.items()}
    total = sum(weight.values())
    small = {operation: value / total for operation, value in weight.items()}
    large = (max(small.values()) + sum(small.values()) / len(small)) / 2
    return {operation: s / 2 + small.get(operation, large) for operation, s in likelihood.items()}


def upper_bounds(credits: Mapping[str, Sequence[float]], weight: float) -> Scores:
    """``ucb(k) = ȳ_k + λ·sqrt(2 ln N / n_k)`` of an edge's operations; infinite for one that was never drawn.

    Parameters
    ----------
    credits : mapping
        The accuracies of the n_k samples each operation was in; N is their number on this edge.
    weight : float
        λ >= 0.

    References
    ----------
    Zhang et al., Binary Neural Networks: the term δ_k of the anti-bandit search.
    """
    n_all = sum(len(found) for found in credits.values())
    mean = mean_accuracies(credits)
    return {name: _bound(mean.get(name, 0.0), len(found), n_all, weight) for name, found in credits.items()}


def without_replacement(pool: Sequence[str], generator: np.random.Generator) -> list[str]:
    """Every operation of the pool once, in random order."""
    return [pool[index] for index in generator.permutation(len(pool))]


def by_upper_bound(
    credits: Mapping[str, Sequence[float]], weight: float, n_draws: int, generator: np.random.Generator
) -> list[str]:
    """`n_draws` draws, each of the largest upper bound (one that was never drawn first), then shuffled.

    The accuracies arrive after the draws, which all edges share: so n_k and N grow from draw to draw and ȳ_k does not.
    Ties are broken at random. Shuffled (ours), because the operations that were together in the best path of one round
    would else be drawn together again in the next, and could never be told apart.

    Parameters
    ----------
    credits : mapping
        As in `upper_bounds`; its keys are the operations to draw from.
    weight : float
        λ >= 0.
    n_draws : int
    generator : numpy Generator
    """
    mean, count = mean_accuracies(credits), {operation: len(found) for operation, found in credits.items()}
    drawn: list[str] = []
    for _ in range(n_draws):
        bound = {name: _bound(mean.get(name, 0.0), n, sum(count.values()), weight) for name, n in count.items()}
        best = [name for name, value in bound.items() if value == max(bound.values())]
        drawn.append(best[int(generator.integers(len(best)))])
        count[drawn[-1]] += 1
    return without_replacement(drawn, generator)


def _bound(mean: float, n: float, n_all: int, weight: float) -> float:
    return mean + weight * math.sqrt(2 * math.log(n_all) / n) if n else math.inf


def fair_upper_bounds(credits: Mapping[str, Sequence[float]], weight: float) -> Scores:
    """The upper bounds that the operations would have if each had been drawn equally often, ``n_k = N / K`` (ours).

    By which operation to abandon: drawing the largest bound pushes this very bound down, so that the smallest one
    tends to be that of the best operation, drawn most. (Operations with planted amounts and λ = 1: abandoned by
    `upper_bounds`, an edge keeps its best operation in 1 to 12 % of the searches, less than by chance; by these bounds
    in 46 to 53 %.)

    Parameters
    ----------
    credits : mapping
        As in `upper_bounds`; every operation was drawn.
    weight : float
        λ >= 0.
    """
    n_all = sum(len(found) for found in credits.values())
    return {name: _bound(mean, n_all / len(credits), n_all, weight) for name, mean in mean_accuracies(credits).items()}


def softmax(values: Sequence[float]) -> list[float]:
    """Positive weights that sum to 1."""
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


def two_best_edges(
    operation: Sequence[str], strength: Sequence[float], substitute: Sequence[tuple[str, float]]
) -> Cell:
    """The cell of a decision about every edge: each node keeps its two strongest edges.

    An edge whose operation is ``none`` is kept only where a node has fewer than two others (ours: a derived cell has no
    ``none``), and then with its substitute.

    Parameters
    ----------
    operation, strength : sequence of 14
        The operation of every edge and how strong the edge is, higher is better; ties go to the earlier source node.
    substitute : sequence of 14 (operation, strength)
        What an edge with ``none`` takes; never ``none`` itself.
    """
    nodes: list[tuple[Edge, Edge]] = []
    for target in range(N_INPUTS, N_INPUTS + N_NODES):
        ranked = sorted(
            incoming(target),
            key=lambda n: (operation[n] == "none", -(substitute[n][1] if operation[n] == "none" else strength[n])),
        )
        first, second = (
            Edge(substitute[n][0] if operation[n] == "none" else operation[n], EDGES[n][0])
            for n in sorted(ranked[:EDGES_KEPT])
        )
        nodes.append((first, second))
    return tuple(nodes)
