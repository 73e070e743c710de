"""A search network of three cells on 16-pixel patterns: everything as small as it goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnas_face.config import SearchConfig
from bnas_face.data import development
from bnas_face.genotype import CELLS, EDGES, OPERATIONS
from bnas_face.search.data import SearchData

SIZE_PX = 16
N_OUTPUTS = 4


def make_config(**more: Any) -> SearchConfig:
    """Resolved settings."""
    settings: dict[str, Any] = {
        "name": "small",
        "cells": 3,
        "channels": 4,
        "size_px": SIZE_PX,
        "channel_sampling": 2,
        "batch_size": 8,
        "optimizer": "sgd",
        "lr": 0.025,
        "weight_decay": 5e-4,
        "devices": "cpu",
        "ucb": 0.0,
    }
    return SearchConfig(**(settings | more))


def make_data(n_images: int = 24, *, verification: bool = False, seed: int = 0) -> SearchData:
    """Coarse patterns, one per identity, with noise; training, validation and held-out images differ in the noise."""
    generator = np.random.default_rng(seed)
    base = generator.integers(0, 256, (N_OUTPUTS, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(n_images) % N_OUTPUTS

    def draw() -> np.ndarray:
        noise = generator.integers(-20, 21, (n_images, SIZE_PX, SIZE_PX, 3))
        return np.clip(base[labels] + noise, 0, 255).astype(np.uint8)

    held_out = draw()
    return SearchData(
        task="classification",
        n_outputs=N_OUTPUTS,
        training_pixels=draw(),
        training_labels=labels,
        validation_pixels=draw(),
        validation_labels=labels,
        held_out_pixels=held_out if verification else held_out[:0],
        pairs=development.draw_pairs(labels, 40, seed=0) if verification else None,
        provenance={},
    )


def random_path(seed: int = 0, space: str = "paper", names: tuple[str, ...] | None = None) -> dict[str, list[str]]:
    """One operation per edge, drawn from the space or from `names`."""
    generator = np.random.default_rng(seed)
    return {kind: [str(generator.choice(names or OPERATIONS[space])) for _ in EDGES] for kind in CELLS}
