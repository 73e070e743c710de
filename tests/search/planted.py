"""An engine whose best genotype is known: every operation adds its own amount to the accuracy, and nothing is learned.

Its "weights" are a number that every epoch changes and every accuracy depends on, so that an inexact resume is seen.
"""

from __future__ import annotations

import numpy as np
import torch

from bnas_face.genotype import CELLS, EDGES, OPERATIONS
from bnas_face.search.searchers._base import EpochLog

N_EDGES = len(EDGES)


class PlantedEngine:
    """See `bnas_face.search.searchers._base.Engine`.

    Parameters
    ----------
    best : str or None
        The operation that every edge should have; None draws one for each edge.
    effect : float
        What the best operation of an edge adds to the accuracy of a path.
    noise : float
        Standard deviation of every measured accuracy.
    informed : float
        How much α knows of the planted amounts: 0 is noise alone.
    """

    def __init__(self, space="paper", best=None, effect=0.02, noise=0.0, informed=0.0, seed=0):
        self.space, self.noise, self.seed = OPERATIONS[space], noise, seed
        generator = np.random.default_rng((seed, 1))
        self.best, self.amount, self._alphas = {}, {}, {}
        for cell in CELLS:
            self.best[cell] = [best or self.space[generator.integers(1, 8)] for _ in EDGES]
            self.amount[cell] = [
                {name: (effect if name == right else effect * 0.5 * generator.random()) for name in self.space}
                for right in self.best[cell]
            ]
            known = np.array([[edge[name] for name in self.space] for edge in self.amount[cell]])
            self._alphas[cell] = generator.normal(0, 1e-3, (N_EDGES, 8)) + informed * known
        self.remaining = {cell: [list(self.space) for _ in EDGES] for cell in CELLS}
        self.weights = 0.5
        self.calls = []

    def _learn(self, unit):
        self.weights = (self.weights * 1.7 + 0.3 + unit / 97) % 1.0

    def mixed_epoch(self, unit, train_alphas):
        """Changes α a little, if it may."""
        self.calls.append(("mixed", unit, train_alphas))
        self._learn(unit)
        if train_alphas:
            for cell in CELLS:
                self._alphas[cell] = self._alphas[cell] + 1e-6 * self.weights
        return EpochLog(2.0 - self.weights, 100.0)

    def path_epoch(self, path, unit):
        """Checks that the path is one of the remaining space."""
        for cell in CELLS:
            assert len(path[cell]) == N_EDGES
            assert all(name in left for name, left in zip(path[cell], self.remaining[cell], strict=True))
        self.calls.append(("path", unit, {cell: list(path[cell]) for cell in CELLS}))
        self._learn(unit)
        return EpochLog(2.0 - self.weights, 100.0)

    def fitness(self, path):
        """The planted amounts, a little of the weights, and noise that follows from the weights."""
        noise = np.random.default_rng((self.seed, int(self.weights * 2**40))).normal(0, 1)
        total = 0.1 + 1e-4 * self.weights + self.noise * noise
        if path is not None:
            total += sum(edge[name] for cell in CELLS for edge, name in zip(self.amount[cell], path[cell], strict=True))
        return float(np.clip(total, 0, 1))

    def abandon(self, cell, edge, operation):
        """Takes it out of the space."""
        self.calls.append(("abandon", cell, edge, operation))
        self.remaining[cell][edge].remove(operation)

    def alphas(self):
        """NaN where abandoned."""
        found = {cell: values.copy() for cell, values in self._alphas.items()}
        for cell in CELLS:
            for n, left in enumerate(self.remaining[cell]):
                found[cell][n, [name not in left for name in self.space]] = np.nan
        return found

    def betas(self):
        """Later edges are stronger, a little."""
        return {cell: np.arange(N_EDGES) * 0.01 for cell in CELLS}

    def reset(self, unit):
        """Fresh weights."""
        self.calls.append(("reset", unit))
        self.weights = (0.5 + unit / 1009) % 1.0

    def tensors(self):
        """All that changes."""
        left = {
            f"left.{cell}": torch.tensor([[name in edge for name in self.space] for edge in self.remaining[cell]])
            for cell in CELLS
        }
        alphas = {f"alphas.{cell}": torch.from_numpy(self._alphas[cell].copy()) for cell in CELLS}
        return {"weights": torch.tensor(self.weights, dtype=torch.float64), **left, **alphas}

    def load_tensors(self, tensors):
        """Back to what `tensors` gave."""
        self.weights = float(tensors["weights"])
        for cell in CELLS:
            masks = tensors[f"left.{cell}"].tolist()
            self.remaining[cell] = [[n for n, keep in zip(self.space, mask, strict=True) if keep] for mask in masks]
            self._alphas[cell] = tensors[f"alphas.{cell}"].numpy().copy()


def run(searcher, engine):
    """All units of a searcher; returns every row of the log."""
    rows = []
    while searcher.n_done < len(searcher.plan):
        rows += searcher.step(engine)
    return rows
