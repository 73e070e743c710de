"""Settings as frozen dataclasses (a CLI option is a field with dashes), and where things lie on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def data_root() -> Path:
    """Folder of imported datasets: ``$BNASFACE_DATA``, else ``data/`` under the working directory."""
    return Path(os.environ.get("BNASFACE_DATA", "data"))


def cache_root() -> Path:
    """Folder of things that can be made again (embeddings): ``$BNASFACE_CACHE``, else ``.cache/`` in the data root."""
    return Path(os.environ.get("BNASFACE_CACHE", data_root() / ".cache"))


RUNS = Path("runs")
REPORTS = Path("reports")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What to build: backbone, its input and output sizes, and its bits.

    Attributes
    ----------
    backbone : str
        Name in `bnas_face.models.backbones`.
    binarizer : str
        Name in `bnas_face.models.binarizers`; ``"none"`` is the full-precision twin.
    activation_bits : int
        32, or 1 for a W1A1 network. Ignored (32) when the binarizer is ``"none"``.
    size_px : int
        Input height and width, 64 or 112.
    embedding_dim : int
        Length of the embedding.
    width : float
        Multiplier of the channel counts, > 0.
    """

    backbone: str = "iresnet18"
    binarizer: str = "none"
    activation_bits: int = 32
    size_px: int = 112
    embedding_dim: int = 512
    width: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run. Every field is an option of ``bnasface train`` and is saved in ``config.json``."""

    name: str
    model: ModelConfig
    dataset: str = "demo"
    exclude_names_of: tuple[str, ...] = ()
    min_images: int = 2
    head: str = "cosface"
    scale: float | None = None
    margin: float | None = None
    epochs: int = 15
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 1.0
    precision: str = "bf16"
    devices: str = "auto"
    seed: int = 0
    development_share: float = 0.05
    development_pairs: int = 2000
    checkpoint_minutes: float = 2.0
