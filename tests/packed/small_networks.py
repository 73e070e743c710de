"""Small networks of every kind that is packed, with batch norms that do something."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.models.backbones._blocks import RPReLU

ONEBIT_PAIRS = [
    *(("conv_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("conv_5x5", 2)),
    *(("max_pool_3x3", 1), ("avg_pool_3x3", 2), ("dil_conv_5x5", 4), ("skip_connect", 0)),
]
ONEBIT = genotypes.from_pairs("onebit", ONEBIT_PAIRS, ONEBIT_PAIRS)

_FIXED = {"size_px": 64, "embedding_dim": 16, "width": 0.13}
_SEARCHED = {"backbone": "searched", "size_px": 32, "embedding_dim": 16, "cells": 4, "channels": 6}
NETWORKS: dict[str, dict[str, Any]] = {
    f"{backbone}-{binarizer}-a{bits}-{shortcuts}": {
        "backbone": backbone,
        "binarizer": binarizer,
        "activation_bits": bits,
        "shortcuts": shortcuts,
        **_FIXED,
    }
    for backbone in ("iresnet18", "mobilefacenet")
    for shortcuts in ("convolution", "block")
    for binarizer, bits in (("xnor", 1), ("react", 1), ("pcnn", 1), ("xnor", 32), ("none", 32))
} | {
    f"{genotype.space}-{binarizer}-a{bits}": {
        "genotype": genotype,
        "binarizer": binarizer,
        "activation_bits": bits,
        **_SEARCHED,
    }
    for genotype, binarizer, bits in (
        (ONEBIT, "xnor", 1),
        (ONEBIT, "react", 1),
        (ONEBIT, "none", 32),
        (BNAS_XNOR_1, "pcnn", 32),
        (BNAS_XNOR_1, "none", 32),
    )
}
NETWORKS["onebit-wide"] = NETWORKS["onebit-xnor-a1"] | {"channels": 33, "cells": 3, "size_px": 40}
NETWORKS["objects"] = NETWORKS["paper-pcnn-a32"] | {"task": "classification", "embedding_dim": 7}
NETWORKS["objects-large"] = NETWORKS["objects"] | {"size_px": 96, "cells": 3, "channels": 4}
BINARY = [name for name, settings in NETWORKS.items() if settings["activation_bits"] == 1]


def config_of(name: str) -> ModelConfig:
    """Settings of one of `NETWORKS`."""
    return ModelConfig(**NETWORKS[name])


def built(name: str, seed: int = 0) -> nn.Module:
    """One of `NETWORKS` in evaluation mode: random weights; gains (some of them negative), biases, statistics, slopes
    and shifts drawn at random."""
    torch.manual_seed(seed)
    model = models.build(config_of(name))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
                part.running_mean.normal_(0, 0.3, generator=generator)  # type: ignore[union-attr]
                part.running_var.uniform_(0.3, 3, generator=generator)  # type: ignore[union-attr]
                part.weight.normal_(0.8, 0.5, generator=generator)
                part.bias.normal_(0, 0.3, generator=generator)
            elif isinstance(part, nn.PReLU):
                part.weight.uniform_(-0.1, 0.5, generator=generator)
            elif isinstance(part, RPReLU):
                for values in part.parameters():
                    values.normal_(0.1, 0.2, generator=generator)
            if hasattr(part, "shift"):
                part.shift.normal_(0, 0.2, generator=generator)  # type: ignore[union-attr,operator]
    return model.eval()


def images_of(name: str, n: int, seed: int = 0) -> np.ndarray:
    """Random RGB images, uint8 (n, size_px, size_px, 3)."""
    size_px = config_of(name).size_px
    return np.random.default_rng(seed).integers(0, 256, (n, size_px, size_px, 3), dtype=np.uint8)
