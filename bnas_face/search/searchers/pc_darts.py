"""PC-DARTS: gradient descent on α and β through sampled channels, weights alone in the first epochs.

    w for the first epochs, then in turns w on one half of the images and (α, β) on the other
    edge (i, j):  o*(i,j) = argmax over o ≠ none of softmax(α_ij)_o,  strength = softmax(α_ij)_o* · softmax(β_j)_i
    each node j keeps its two strongest edges

References
----------
Xu et al., PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search, ICLR 2020, arXiv 1907.05737,
equations 2 and 3, and section 3.3 for the derivation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnas_face.config import SearchConfig
from bnas_face.genotype import CELLS, EDGES, N_INPUTS, N_NODES, OPERATIONS, Cell, Genotype
from bnas_face.search.log import Row
from bnas_face.search.searchers import _formulas
from bnas_face.search.searchers._base import Engine, by_edge, incoming

N_RECORDS = 10
"""So many moments of the search go into the history."""


def build(config: SearchConfig) -> PcDarts:
    """The searcher of a resolved config (`presets.resolve`)."""
    return PcDarts(config)


class PcDarts:
    """State machine of PC-DARTS; see the module and `_base.Searcher`.

    Parameters
    ----------
    config : SearchConfig
        Resolved.
    """

    def __init__(self, config: SearchConfig) -> None:
        n_epochs, n_frozen = config.epochs or 50, min(config.frozen_epochs or 0, config.epochs or 50)
        self.config = config
        self.space = OPERATIONS[config.space]
        self.plan = ["warm_up"] * n_frozen + ["mixed"] * (n_epochs - n_frozen)
        self.schedule_units = len(self.plan)
        self.n_done = 0
        self._history: list[dict[str, Any]] = []
        self._weights: dict[str, list[list[float]]] = {}  # softmax of α, cell → 14 × 8
        self._edges: dict[str, list[float]] = {}  # softmax of β over a node's incoming edges, cell → 14
        self._accuracy: float | None = None

    def step(self, engine: Engine) -> list[Row]:
        """One mixed epoch; after the last one the accuracy of the whole mixture, for the record."""
        phase, last = self.plan[self.n_done], self.n_done + 1 == len(self.plan)
        if not self._history:
            self._record(engine)
        epoch = engine.mixed_epoch(self.n_done, phase == "mixed")
        if last:
            self._accuracy = engine.fitness(None)
        row = Row(
            unit=self.n_done,
            phase=phase,
            k=len(self.space),
            accuracy=self._accuracy,
            loss=epoch.loss,
            images_per_s=epoch.images_per_s,
        )
        self.n_done += 1
        if last or self.n_done % max(1, len(self.plan) // N_RECORDS) == 0:
            self._record(engine)
        return [row]

    def _record(self, engine: Engine) -> None:
        alphas, betas = engine.alphas(), engine.betas()
        self._weights = {cell: [_formulas.softmax(list(map(float, row))) for row in alphas[cell]] for cell in CELLS}
        self._edges = {cell: _edge_weights([float(value) for value in betas[cell]]) for cell in CELLS}
        named = {cell: [dict(zip(self.space, row, strict=True)) for row in self._weights[cell]] for cell in CELLS}
        self._history.append(
            {
                "epoch": self.n_done,
                "k": len(self.space),
                "alpha": by_edge(named),
                "beta": {cell: [round(value, 6) for value in self._edges[cell]] for cell in CELLS},
            }
        )

    def genotype(self) -> Genotype:
        """The strongest operation of every edge, the two strongest edges of every node."""
        return Genotype(space=self.config.space, normal=self._cell("normal"), reduction=self._cell("reduction"))

    def _cell(self, cell: str) -> Cell:
        operations, strengths = [], []
        for row, edge in zip(self._weights[cell], self._edges[cell], strict=True):
            weight = {name: value for name, value in zip(self.space, row, strict=True) if name != "none"}
            operations.append(max(weight, key=lambda name, w=weight: w[name]))  # type: ignore[misc]
            strengths.append(weight[operations[-1]] * edge)
        return _formulas.two_best_edges(operations, strengths, list(zip(operations, strengths, strict=True)))

    def history(self) -> list[dict[str, Any]]:
        """The weights of all operations and edges at the beginning, about ten times on the way, and at the end."""
        return self._history

    def summary(self) -> dict[str, Any]:
        """Numbers of epochs and the accuracy of the mixture after the last one."""
        return {"mixed_epochs": len(self.plan), "frozen_epochs": self.plan.count("warm_up"), "accuracy": self._accuracy}

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {
            "n_done": self.n_done,
            "history": self._history,
            "weights": self._weights,
            "edges": self._edges,
            "accuracy": self._accuracy,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; raises KeyError if a value is missing."""
        self.n_done, self._history = state["n_done"], state["history"]
        self._weights, self._edges, self._accuracy = state["weights"], state["edges"], state["accuracy"]


def _edge_weights(betas: list[float]) -> list[float]:
    """Softmax of β over the incoming edges of each node."""
    found = [0.0] * len(EDGES)
    for target in range(N_INPUTS, N_INPUTS + N_NODES):
        numbers = incoming(target)
        for number, weight in zip(numbers, _formulas.softmax([betas[n] for n in numbers]), strict=True):
            found[number] = weight
    return found
