"""Network and head as one module, from uint8 pixels to the loss: what a device needs for one training step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnas_face import models
from bnas_face.config import TrainConfig
from bnas_face.models.pixels import normalised

EMBED_BATCH = 256


class Learner(nn.Module):
    """Backbone and head, trained together.

    Parameters
    ----------
    config : TrainConfig
    n_identities : int
    """

    def __init__(self, config: TrainConfig, n_identities: int) -> None:
        super().__init__()
        self.backbone = models.build(config.model)
        self.head = models.build_head(
            config.head,
            embedding_dim=config.model.embedding_dim,
            n_identities=n_identities,
            scale=config.scale,
            margin=config.margin,
        )

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """RGB uint8 (batch_size, size_px, size_px, 3) and int64 (batch_size,) → mean loss."""
        loss: Tensor = self.head(self.backbone(normalised(pixels)), labels)
        return loss


@torch.no_grad()
def embed(backbone: nn.Module, pixels: NDArray[np.uint8], device: torch.device, *, bf16: bool) -> NDArray[np.float32]:
    """Embeddings f(x) + f(flip x) in evaluation mode; the mode is put back afterwards.

    Parameters
    ----------
    backbone : nn.Module
    pixels : ndarray of uint8, shape (n_images, size_px, size_px, 3)
    device : torch.device
    bf16 : bool
        Compute in mixed bfloat16.

    Returns
    -------
    ndarray of float32, shape (n_images, embedding_dim)
    """
    was_training = backbone.training
    backbone.eval()
    parts: list[NDArray[np.float32]] = []
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(pixels), EMBED_BATCH):
            images = normalised(torch.from_numpy(pixels[start : start + EMBED_BATCH]).to(device))
            both = backbone(images).float() + backbone(images.flip(3)).float()
            parts.append(both.cpu().numpy())
    backbone.train(was_training)
    return np.concatenate(parts)
