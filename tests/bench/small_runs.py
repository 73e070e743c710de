"""Finished runs of tiny networks with random weights and batch norms that do something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnas_face import models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.models import saved


def write_run(folder: Path, **settings: Any) -> Path:
    """A W1A1 iresnet18 of 64 px unless `settings` say otherwise."""
    of_model = {"width": 0.13, "embedding_dim": 16, "size_px": 64, "binarizer": "xnor", "activation_bits": 1}
    config = ModelConfig(**of_model | settings)
    torch.manual_seed(0)
    network = models.build(config)
    generator = torch.Generator().manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.running_mean.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr]
            part.running_var.uniform_(0.3, 3, generator=generator)  # type: ignore[union-attr]
    saved.save(folder, network, TrainConfig(name=folder.name, model=config, dataset="demo"))
    return folder


def write_twin(folder: Path, **settings: Any) -> Path:
    """The same in full precision."""
    return write_run(folder, **{"binarizer": "none", "activation_bits": 32} | settings)
