"""Made-up histories of searches, of the shape a search writes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnas_face.genotype import CELLS, EDGES, EDGES_KEPT, N_INPUTS, N_NODES, OPERATIONS, Edge, Genotype

NOISE = 0.002


def bnas_history(space: str = "paper", *, reduction: bool = True, seed: int = 0) -> list[dict[str, Any]]:
    """Eight entries from eight operations an edge to one (or, without reduction, eight of eight)."""
    rng = np.random.default_rng(seed)
    remaining = {cell: [list(OPERATIONS[space]) for _ in EDGES] for cell in CELLS}
    history = []
    for number, k in enumerate(range(8, 0, -1), start=1):
        likelihood = {
            cell: [{name: round(2 / k + rng.normal(0, 0.02), 6) for name in left} for left in remaining[cell]]
            for cell in CELLS
        }
        entry = {
            "round": number, "k": k, "noise": NOISE, "likelihood": likelihood, "mean_accuracy": 0.3 + 0.04 * number,
            "remaining": {cell: [list(left) for left in remaining[cell]] for cell in CELLS}, "abandoned": [],
        }  # fmt: skip
        if reduction and k > 1:
            entry["abandoned"] = [
                _abandon(cell, edge, remaining[cell][edge], likelihood[cell][edge])
                for cell in CELLS
                for edge in range(len(EDGES))
            ]
        history.append(entry)
    return history


def _abandon(cell: str, edge: int, left: list[str], likelihood: dict[str, float]) -> dict[str, Any]:
    worst, second = sorted(left, key=likelihood.__getitem__)[:2]
    left.remove(worst)
    source, target = EDGES[edge]
    margin = round(likelihood[second] - likelihood[worst], 6)
    return {"cell": cell, "source": source, "target": target, "operation": worst, "margin": margin}


def alpha_history(space: str = "paper", epochs: tuple[int, ...] = (15, 20, 30, 40, 50)) -> list[dict[str, Any]]:
    """pc_darts: nothing is abandoned, softmax(α) sharpens."""
    scores = np.random.default_rng(1).normal(size=(2, len(EDGES), 8))
    found = []
    for epoch in epochs:
        sharp = np.exp(scores * epoch / 25)
        share = sharp / sharp.sum(-1, keepdims=True)
        found.append({
            "epoch": epoch,
            "remaining": {cell: [list(OPERATIONS[space])] * len(EDGES) for cell in CELLS},
            "alpha": {
                cell: [dict(zip(OPERATIONS[space], map(float, edge), strict=True)) for edge in share[c]]
                for c, cell in enumerate(CELLS)
            },
            "mean_accuracy": 0.2 + 0.01 * epoch,
        })  # fmt: skip
    return found


def genotype(space: str = "paper", *, draw: int = 0, **origin: Any) -> Genotype:
    """A random genotype (number `draw`) with two different sources for every node."""
    rng = np.random.default_rng(draw)
    names = OPERATIONS[space][1:]

    def cell() -> tuple[tuple[Edge, Edge], ...]:
        return tuple(
            tuple(Edge(str(rng.choice(names)), int(s)) for s in rng.choice(node, EDGES_KEPT, replace=False))  # type: ignore[misc]
            for node in range(N_INPUTS, N_INPUTS + N_NODES)
        )

    return Genotype(space=space, normal=cell(), reduction=cell(), origin=origin)


def origin(**changes: Any) -> dict[str, Any]:
    """The origin of a genotype as a search writes it."""
    return {
        "searcher": "bnas", "space": "paper", "binarizer": "xnor", "fitness": "classification", "seed": 3,
        "dataset": "demo", "dataset_hash": "ab" * 32, "n_images": 7323, "seconds": 723.4,
        "config": {"repeats": 3, "temperature": 1.0, "ucb": 0.0, "validation_share": 0.5, "channel_sampling": 2},
        "summary": {"single_path_epochs": 57, "mixed_epochs": 12}, "history": [],
    } | changes  # fmt: skip
