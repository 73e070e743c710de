"""Random: genotypes drawn uniformly, each trained briefly with fresh weights, the best one kept.

Every node reads two different earlier nodes, every kept edge has one operation but ``none``, all choices equally
likely. With one sample nothing is trained: this is the floor that every searcher must beat.

References
----------
Li and Talwalkar, Random Search and Reproducibility for Neural Architecture Search, UAI 2019, arXiv 1902.07638. (Fresh
weights for every genotype and a cosine of its own are ours: no genotype lives on what another one learned.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnas_face import genotype as genotypes
from bnas_face.config import SearchConfig
from bnas_face.genotype import CELLS, EDGES, EDGES_KEPT, N_INPUTS, N_NODES, OPERATIONS, Cell, Edge, Genotype
from bnas_face.search.log import Row
from bnas_face.search.searchers._base import Engine, path_text


def build(config: SearchConfig) -> Random:
    """The searcher of a resolved config (`presets.resolve`)."""
    return Random(config)


class Random:
    """State machine of random search; see the module and `_base.Searcher`.

    Parameters
    ----------
    config : SearchConfig
        Resolved.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.schedule_units = config.epochs or 1
        self.plan = ["sample"] * (self.schedule_units * config.samples if config.samples > 1 else 0)
        self.n_done = 0
        self._accuracies: list[float] = []

    def step(self, engine: Engine) -> list[Row]:
        """One epoch of one genotype; its accuracy after its last epoch."""
        number, epoch = divmod(self.n_done, self.schedule_units)
        path = as_path(self._drawn(number))
        if epoch == 0:
            engine.reset(self.n_done)
        trained = engine.path_epoch(path, self.n_done)
        accuracy = engine.fitness(path) if epoch + 1 == self.schedule_units else None
        if accuracy is not None:
            self._accuracies.append(accuracy)
        row = Row(
            unit=self.n_done,
            phase="sample",
            repeat=epoch + 1,
            draw=number + 1,
            accuracy=accuracy,
            loss=trained.loss,
            images_per_s=trained.images_per_s,
            path=path_text(path),
        )
        self.n_done += 1
        return [row]

    def _drawn(self, number: int) -> Genotype:
        return draw(self.config.space, np.random.default_rng((self.config.seed, 203, number)))

    def genotype(self) -> Genotype:
        """The most accurate one, of equal ones the first."""
        return self._drawn(int(np.argmax(self._accuracies)) if self._accuracies else 0)

    def history(self) -> list[dict[str, Any]]:
        """Empty: the space does not shrink."""
        return []

    def summary(self) -> dict[str, Any]:
        """Every genotype drawn, with its accuracy (null where nothing was trained)."""
        n_drawn = max(1, len(self._accuracies))
        accuracies: list[float | None] = [*self._accuracies] or [None]
        drawn = [self._drawn(number).to_json() for number in range(n_drawn)]
        samples = [
            {"accuracy": accuracy, **{cell: content[cell] for cell in CELLS}}
            for accuracy, content in zip(accuracies, drawn, strict=True)
        ]
        return {"single_path_epochs": len(self.plan), "samples": samples}

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {"n_done": self.n_done, "accuracies": self._accuracies}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; raises KeyError if a value is missing."""
        self.n_done, self._accuracies = state["n_done"], state["accuracies"]


def draw(space: str, generator: np.random.Generator) -> Genotype:
    """A genotype of `space`, all of them equally likely."""
    operations = [name for name in OPERATIONS[space] if name != "none"]

    def node(target: int) -> tuple[Edge, Edge]:
        sources = sorted(int(source) for source in generator.choice(target, EDGES_KEPT, replace=False))
        first, second = (Edge(operations[int(generator.integers(len(operations)))], source) for source in sources)
        return first, second

    cells: dict[str, Cell] = {
        cell: tuple(node(target) for target in range(N_INPUTS, N_INPUTS + N_NODES)) for cell in genotypes.CELLS
    }
    return Genotype(space=space, normal=cells["normal"], reduction=cells["reduction"])


def as_path(genotype: Genotype) -> dict[str, list[str]]:
    """The genotype as a path of the search network: ``none`` on every edge it does not keep."""
    path = {}
    for cell in CELLS:
        kept = {
            (edge.source, target): edge.operation
            for target, edges in enumerate(genotype.cell(cell), N_INPUTS)
            for edge in edges
        }
        path[cell] = [kept.get(edge, "none") for edge in EDGES]
    return path
