"""Patterns that a tiny network can tell apart, and settings of a training of a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.data.images import FaceImages
from bnas_face.train.trainer import Trainer

SIZE_PX = 64


def draw_people(n_identities: int = 16, each: int = 4, seed: int = 0) -> FaceImages:
    """Coarse coloured patterns, one per identity, with noise."""
    generator = np.random.default_rng(seed)
    base = generator.integers(0, 256, (n_identities, 4, 4, 3)).repeat(16, axis=1).repeat(16, axis=2)
    labels = np.repeat(np.arange(n_identities), each)
    noise = generator.integers(-20, 21, (len(labels), SIZE_PX, SIZE_PX, 3))
    pixels = np.clip(base[labels] + noise, 0, 255).astype(np.uint8)
    return FaceImages(
        name="patterns",
        image_ids=tuple(f"{label}/{i}.jpg" for i, label in enumerate(labels)),
        labels=labels,
        identity_names=tuple(f"person_{i}" for i in range(n_identities)),
        content_hash=f"patterns-{n_identities}-{each}-{seed}",
        size_px=SIZE_PX,
        read=lambda indices: pixels[indices],
        provenance={"source": "drawn for a test"},
    )


def make_config(name: str = "mine", **more: Any) -> TrainConfig:
    """Settings of a training of a second."""
    of_model = {key: more.pop(key) for key in list(more) if key in ModelConfig.__dataclass_fields__}
    model = ModelConfig(**({"width": 0.125, "embedding_dim": 16, "size_px": SIZE_PX} | of_model))
    base = TrainConfig(
        name=name, model=model, dataset="folder:x", epochs=2, batch_size=16, precision="fp32", devices="cpu"
    )
    return replace(base, **({"development_share": 0.25} | more))


@contextmanager
def stopped_before(step: int) -> Iterator[None]:
    """A training in here is stopped, as by Ctrl-C, before it takes step `step` (0-based)."""
    real = Trainer._step

    def stopped(self: Trainer, batch: Any) -> float:
        if self.counters.step == step:
            raise KeyboardInterrupt
        return real(self, batch)

    with mock.patch.object(Trainer, "_step", stopped), pytest.raises(KeyboardInterrupt):
        yield
