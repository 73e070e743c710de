"""Networks that turn an aligned face into an embedding, what makes them 1-bit, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnas_face import tables
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

BACKBONES = "bnas_face.models.backbones"
BINARIZERS = "bnas_face.models.binarizers"
HEADS = "bnas_face.models.heads"


def build(config: ModelConfig) -> nn.Module:
    """Build the network that `config` describes, with fresh weights from torch's current seed.

    Returns
    -------
    nn.Module
        float (batch_size, 3, size_px, size_px) in [-1, 1] → float (batch_size, embedding_dim), not normalised.

    Raises
    ------
    UnknownNameError
        If the backbone or the binarizer is not known.
    ConfigError
        If the backbone has no such size, or cannot be binarized.
    """
    backbone = tables.load(BACKBONES, "backbone", config.backbone)
    binarizer = tables.load(BINARIZERS, "binarizer", config.binarizer).build(config)
    if backbone.SIZES_PX and config.size_px not in backbone.SIZES_PX:
        sizes = " or ".join(map(str, backbone.SIZES_PX))
        raise ConfigError(f"Backbone '{config.backbone}' takes images of {sizes} px, not {config.size_px}.")
    model: nn.Module = backbone.build(config, binarizer)
    return model


def build_head(
    name: str, *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> nn.Module:
    """Build a head by name; None leaves `scale` or `margin` at the paper's default.

    Returns
    -------
    nn.Module
        Embeddings (batch_size, embedding_dim) and labels int64 (batch_size,) → scalar mean loss.

    Raises
    ------
    UnknownNameError
        If no such head is known.
    ConfigError
        If the head has no margin but one is given.
    """
    head: nn.Module = tables.load(HEADS, "head", name).build(
        embedding_dim=embedding_dim, n_identities=n_identities, scale=scale, margin=margin
    )
    return head
