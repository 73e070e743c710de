"""A protocol small enough to count by hand, and networks that need no weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError
from bnas_face.evaluate.cards import ProtocolCard
from bnas_face.evaluate.embed import Embedder
from bnas_face.evaluate.protocol import Protocol, assemble
from bnas_face.models.backbones._preprocessing import Preprocessing

N_IDENTITIES, IMAGES_EACH, SIZE_PX = 20, 4, 8


@dataclass(frozen=True)
class Pixels:
    """Reads pixels from memory; the positions in `broken` cannot be read."""

    pixels: Any
    broken: frozenset[int] = frozenset()

    def __call__(self, indices: Any) -> Any:
        for index in indices:
            if int(index) in self.broken:
                raise BrokenImageError(f"image {index}", "it is broken for this test")
        return self.pixels[indices]


def images(broken: frozenset[int] = frozenset(), **changes: Any) -> FaceImages:
    """20 identities × 4 images: a pattern per identity, noise per image."""
    rng = np.random.default_rng(11)
    own = rng.integers(0, 256, (N_IDENTITIES, 1, SIZE_PX, SIZE_PX, 3))
    noise = rng.normal(0, 90, (N_IDENTITIES, IMAGES_EACH, SIZE_PX, SIZE_PX, 3))
    pixels = (own + noise).clip(0, 255).astype(np.uint8).reshape(-1, SIZE_PX, SIZE_PX, 3)
    settings: dict[str, Any] = {
        "name": "small",
        "image_ids": tuple(f"p{i:02d}/{k}.jpg" for i in range(N_IDENTITIES) for k in range(IMAGES_EACH)),
        "labels": np.repeat(np.arange(N_IDENTITIES), IMAGES_EACH),
        "identity_names": tuple(f"p{i:02d}" for i in range(N_IDENTITIES)),
        "content_hash": f"small{sorted(broken)}",
        "size_px": SIZE_PX,
        "read": Pixels(pixels, broken),
    }
    return FaceImages(**{**settings, **changes})


def pairs(n_folds: int = 5) -> pd.DataFrame:
    """Per identity 4 genuine and 4 impostor pairs; fold = identity modulo n_folds, sorted by fold."""
    rows = []
    for i in range(N_IDENTITIES):
        j = (i + n_folds) % N_IDENTITIES  # same fold: folds share no people
        for k in range(IMAGES_EACH):
            first, second = f"p{i:02d}/{k}.jpg", f"p{i:02d}/{(k + 1) % IMAGES_EACH}.jpg"
            rows.append((i % n_folds, first, second, True, i))
            rows.append((i % n_folds, first, f"p{j:02d}/{k}.jpg", False, i))
    table = pd.DataFrame(rows, columns=["fold", "reference_id", "probe_id", "is_genuine", "reference_age"])
    return table.sort_values("fold", kind="stable", ignore_index=True)


def card(**changes: Any) -> ProtocolCard:
    settings: dict[str, Any] = {
        "name": "small",
        "title": "Small, for tests",
        "version": 1,
        "dataset": "small",
        "source": "made here",
        "licence": "none needed",
        "format": "rendered",
        "pairs_sha256": "",
        "n_pairs": 160,
        "n_genuine": 80,
        "n_impostor": 80,
        "n_folds": 5,
        "scheme": "k_fold",
        "size_px": SIZE_PX,
        "alignment": "none",
        "colour_order": "RGB",
        "fmr_targets": (0.1, 0.001),
        "notes": "",
    }
    return ProtocolCard(**{**settings, **changes})


def protocol(broken: frozenset[int] = frozenset(), **changes: Any) -> Protocol:
    of = card(**changes)
    return assemble(of, images(broken), pairs(of.n_folds))


@dataclass(frozen=True)
class Network:
    """Pixels as embeddings; `levels` coarsens them, so that fewer levels recognise less."""

    levels: int = 256
    calls: list[int] = field(default_factory=list)

    def __call__(self, batch: Any) -> Any:
        self.calls.append(len(batch))
        step = 256 // self.levels
        return (batch // step * step).reshape(len(batch), -1).astype(np.float32) - 128


def embedder(name: str, network: Callable[[Any], Any], **info: Any) -> Embedder:
    preprocessing = Preprocessing(size_px=SIZE_PX, source="run")
    entry: Mapping[str, Any] = {
        "id": name,
        "source": f"runs/{name}",
        "backbone": "pixels",
        "binarizer": "none",
        "weight_bits": 32,
        "activation_bits": 32,
        "n_parameters": 0,
        "n_binary_parameters": 0,
        "file_bytes": 0,
        "size_px": SIZE_PX,
        "embedding_dim": SIZE_PX * SIZE_PX * 3,
        "weights_sha256": f"weights of {name}",
        "twin": None,
        "preprocessing": preprocessing.as_dict(),
        "training": None,
        **info,
    }
    return Embedder(spec=f"runs/{name}", info=entry, preprocessing=preprocessing, network=network)
