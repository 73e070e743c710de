"""Networks from image to embedding (faces) or to logits (objects), what makes them 1-bit, and what they cost."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from bnas_face import tables
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

BACKBONES = "bnas_face.models.backbones"
BINARIZERS = "bnas_face.models.binarizers"
HEADS = "bnas_face.models.heads"
SPACES = "bnas_face.models.spaces"


def space(name: str) -> ModuleType:
    """The search space `name`, a module as `bnas_face.models.spaces._base` describes it; raises `UnknownNameError`."""
    return tables.load(SPACES, "search space", name)


def build(config: ModelConfig) -> nn.Module:
    """Build the network that `config` describes, with fresh weights from torch's current seed.

    Returns
    -------
    nn.Module
        float (batch_size, 3, size_px, size_px) in [-1, 1] → float (batch_size, embedding_dim): an embedding, not
        normalised, or the logits of ``task="classification"``.

    Raises
    ------
    UnknownNameError
        If the backbone or the binarizer is not known.
    ConfigError
        If the backbone has no such task or size, or cannot be binarized.
    """
    backbone = tables.load(BACKBONES, "backbone", config.backbone)
    _check_task(config, backbone)
    binarizer = tables.load(BINARIZERS, "binarizer", config.binarizer).build(config)
    if backbone.SIZES_PX and config.size_px not in backbone.SIZES_PX:
        sizes = " or ".join(map(str, backbone.SIZES_PX))
        raise ConfigError(f"Backbone '{config.backbone}' takes images of {sizes} px, not {config.size_px}.")
    model: nn.Module = backbone.build(config, binarizer)
    return model


def _check_task(config: ModelConfig, backbone: ModuleType) -> None:
    """A backbone classifies objects only if it says so: ``TASKS``, without which it embeds faces."""
    if config.task not in getattr(backbone, "TASKS", ("embedding",)):
        raise ConfigError(
            f"Backbone '{config.backbone}' makes embeddings of faces and cannot do '{config.task}'. "
            "Use --backbone searched --genotype FILE."
        )


def build_head(
    name: str,
    *,
    embedding_dim: int,
    n_identities: int,
    scale: float | None = None,
    margin: float | None = None,
    sub_centers: int = 1,
) -> nn.Module:
    """Build a head by name; None leaves `scale` or `margin` at the paper's default.

    Parameters
    ----------
    name : str
    embedding_dim, n_identities : int
    scale, margin : float or None
        See the head's own ``build``.
    sub_centers : int
        Centers of each identity; more than one only for heads that have them (``OPTIONS`` of their module).

    Returns
    -------
    nn.Module
        Embeddings (batch_size, embedding_dim) and labels int64 (batch_size,) → scalar mean loss.

    Raises
    ------
    UnknownNameError
        If no such head is known.
    ConfigError
        If the head has no margin or no sub-centers but they are given, or a margin is out of its range.
    """
    module = tables.load(HEADS, "head", name)
    options = {} if sub_centers == 1 else {"sub_centers": sub_centers}
    if options and "sub_centers" not in getattr(module, "OPTIONS", ()):
        raise ConfigError(
            f"Head '{name}' has one center per identity, but {sub_centers} sub-centers are given. "
            "Drop --sub-centers or choose --head arcface."
        )
    head: nn.Module = module.build(
        embedding_dim=embedding_dim, n_identities=n_identities, scale=scale, margin=margin, **options
    )
    return head
