"""Network and head as one module, from uint8 pixels to the loss: what a device needs for one training step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bnas_face import models
from bnas_face.config import TrainConfig
from bnas_face.models import partial
from bnas_face.models.partial import PartialHead
from bnas_face.models.pixels import normalised
from bnas_face.train.distill import Teaching

EMBED_BATCH = 256


class Learner(nn.Module):
    """Backbone and head, trained together.

    Where the backbone has an auxiliary classifier, its loss is added with ``config.auxiliary_weight``.

    Parameters
    ----------
    config : TrainConfig
        Resolved (`recipe.resolve`).
    n_identities : int
    targets : ndarray of float32, shape (n_images, teacher_dim), optional
        The teacher's embeddings of all training images; they stay in main memory, and are no part of the state.
    rank, world_size : int
        This process, and how many train together.

    Attributes
    ----------
    shards : mapping of str to Shard
        Parameters of which this process has its own rows, by name.
    """

    def __init__(
        self,
        config: TrainConfig,
        n_identities: int,
        targets: NDArray[np.float32] | None = None,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        if config.label_weight is None:
            raise ValueError("resolve the config first")
        self.backbone = models.build(config.model)
        self.label_weight = config.label_weight
        self.head = _head(config, n_identities, rank, world_size) if self.label_weight else None
        self.targets = None if targets is None else torch.from_numpy(targets)
        self.teaching = None if targets is None else _teaching(config, targets.shape[1])
        self.auxiliary_weight = config.auxiliary_weight if config.model.auxiliary else 0.0
        self.shards = self.head.shards("head.") if isinstance(self.head, PartialHead) else {}
        if self.shards:  # each process has its own: they are not averaged
            leave_out: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
            leave_out(self, list(self.shards))

    def sharded(self) -> list[nn.Parameter]:
        """The parameters of `shards`."""
        return [parameter for name, parameter in self.named_parameters() if name in self.shards]

    def forward(self, pixels: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """RGB uint8 (batch_size, size_px, size_px, 3), int64 (batch_size,) → mean loss.

        `indices`, int64 (batch_size,) in main memory, are the images' positions, which a teacher's loss needs.
        """
        embeddings: Tensor = self.backbone(normalised(pixels))
        loss: Tensor = embeddings.new_zeros((), dtype=torch.float32)
        if self.head is not None:
            loss = loss + self.label_weight * self.head(embeddings, labels)
            if self.auxiliary_weight and self.backbone.auxiliary_logits is not None:
                loss = loss + self.auxiliary_weight * self.head(self.backbone.auxiliary_logits, labels)
        if self.teaching is not None and self.targets is not None and indices is not None:
            loss = loss + self.teaching(embeddings, self.targets[indices].to(embeddings.device, non_blocking=True))
        return loss


def _head(config: TrainConfig, n_identities: int, rank: int, world_size: int) -> nn.Module:
    settings: dict[str, Any] = {
        "embedding_dim": config.model.embedding_dim,
        "n_identities": n_identities,
        "scale": config.scale,
        "margin": config.margin,
        "sub_centers": config.sub_centers,
    }
    if not config.is_partial:
        return models.build_head(config.head, **settings)
    settings |= {"sample_rate": config.sample_rate, "seed": config.seed, "rank": rank, "world_size": world_size}
    return partial.build(config.head, **settings)


def _teaching(config: TrainConfig, teacher_dim: int) -> Teaching:
    return Teaching(
        config.model.embedding_dim,
        teacher_dim,
        embedding_weight=config.teacher_weight,
        relation_weight=config.relation_weight,
    )


def drop_paths(backbone: Any, probability: float) -> None:
    """Set the probability with which a searched network drops an operation's output; others have no such thing."""
    if hasattr(backbone, "drop_path"):
        backbone.drop_path = probability


def recognised(
    backbone: nn.Module,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    device: torch.device,
    *,
    bf16: bool,
) -> float:
    """Share of images whose largest logit is that of their class, in [0, 1], higher is better; see `embed`.

    Parameters
    ----------
    backbone : nn.Module
        Puts out logits.
    pixels : ndarray of uint8, shape (n_images, size_px, size_px, 3)
    labels : ndarray of int64, shape (n_images,)
    device, bf16
        As in `embed`.
    """
    logits = _outputs(backbone, pixels, device, bf16=bf16, flip_sum=False)
    return float((logits.argmax(axis=1) == labels).mean())


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
    return _outputs(backbone, pixels, device, bf16=bf16, flip_sum=True)


@torch.no_grad()
def _outputs(
    backbone: nn.Module, pixels: NDArray[np.uint8], device: torch.device, *, bf16: bool, flip_sum: bool
) -> NDArray[np.float32]:
    was_training = backbone.training
    backbone.eval()
    parts: list[NDArray[np.float32]] = []
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(pixels), EMBED_BATCH):
            images = normalised(torch.from_numpy(pixels[start : start + EMBED_BATCH]).to(device))
            outputs = backbone(images).float()
            if flip_sum:
                outputs = outputs + backbone(images.flip(3)).float()
            parts.append(outputs.cpu().numpy())
    backbone.train(was_training)
    return np.concatenate(parts)
