"""What a searcher is, and what it needs from the engine that trains for it.

A searcher is a state machine without torch: each `Searcher.step` does one unit, which is one epoch (and, for a sample,
its fitness). It draws at random from (seed, unit) only and its state is JSON, so that a search goes on from any unit to
the same genotype. `bnas_face.search.engine.Engine` is the engine; a test may plant one whose best genotype is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnas_face.genotype import CELLS, EDGES, Genotype
from bnas_face.search.log import Row

Path = Mapping[str, Sequence[str]]
"""Cell name → one operation for each of the 14 edges, in the order of `genotype.EDGES`."""


@dataclass(frozen=True)
class EpochLog:
    """What an epoch reports.

    Attributes
    ----------
    loss : float
        Mean over the epoch.
    images_per_s : float
        Training only.
    """

    loss: float
    images_per_s: float


class Engine(Protocol):
    """Trains and measures the network that all genotypes of a search share.

    Everything random follows from (seed, unit, step). The learning rate of unit u is a cosine to zero over `n_units`
    units: that of ``u % n_units`` (random: of every sample anew).
    """

    @property
    def remaining(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Cell name → for each of its 14 edges the operations that are left, in the order of the space."""

    def mixed_epoch(self, unit: int, train_alphas: bool) -> EpochLog:
        """Train the weights of all remaining operations for one epoch, and α and β too if `train_alphas`."""

    def path_epoch(self, path: Path, unit: int) -> EpochLog:
        """Train the weights of one operation per edge for one epoch; no other operation runs or changes."""

    def fitness(self, path: Path | None) -> float:
        """Accuracy of a path (None: of the mixture of all remaining operations) on the held-out part, in [0, 1]."""

    def abandon(self, cell: str, edge: int, operation: str) -> None:
        """Delete an operation from edge number `edge` of `genotype.EDGES` for good."""

    def alphas(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Cell name → α of shape (14, 8), not normalised, in the order of the space; NaN where abandoned."""

    def betas(self) -> Mapping[str, NDArray[np.floating[Any]]]:
        """Cell name → β of shape (14,), not normalised; all equal without edge normalisation."""

    def reset(self, unit: int) -> None:
        """Begin again with fresh weights (from the seed and `unit`) and a fresh optimizer; α and β stay."""


class Searcher(Protocol):
    """Decides what an engine tries."""

    @property
    def plan(self) -> Sequence[str]:
        """The phase of every unit, in order: ``warm_up``, ``sample`` or ``mixed``."""

    @property
    def n_done(self) -> int:
        """Units done."""

    @property
    def schedule_units(self) -> int:
        """Units over which the learning rate falls to zero (see `Engine`), >= 1."""

    def step(self, engine: Engine) -> list[Row]:
        """Do the next unit; returns its rows of the log, that of the epoch first."""

    def genotype(self) -> Genotype:
        """What was found, without origin; after the last unit."""

    def history(self) -> list[dict[str, Any]]:
        """JSON for the report: what was left, likely and abandoned in every round."""

    def summary(self) -> dict[str, Any]:
        """JSON for the report: the numbers of the whole search."""

    def state(self) -> dict[str, Any]:
        """JSON from which `restore` goes on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; the engine's own state (weights, α, what is abandoned) is restored apart from it."""


def path_text(path: Path) -> str:
    """A path as the log has it: ``op,op,…|op,…``."""
    return "|".join(",".join(path[cell]) for cell in CELLS)


def by_edge(values: Mapping[str, Sequence[Mapping[str, float]]], digits: int = 6) -> dict[str, list[dict[str, float]]]:
    """Cell → 14 × {operation: number}, rounded, as a history has it."""
    return {cell: [{name: round(v, digits) for name, v in edge.items()} for edge in values[cell]] for cell in CELLS}


def incoming(target: int) -> list[int]:
    """Numbers of the edges that lead into node `target`, in the order of their source nodes."""
    return [number for number, edge in enumerate(EDGES) if edge[1] == target]
