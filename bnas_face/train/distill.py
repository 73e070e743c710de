"""Distillation: a network learns the embeddings of another one, its teacher, with or without names.

Embedding distillation pulls each embedding to the direction of the teacher's,

    L_e = mean_i (1 − cos(P·f(x_i), t_i)),

with P a linear map that is learned and thrown away where the lengths of the two embeddings differ, and the identity
where they agree. Relation distillation pulls the cosines within a batch to the teacher's,

    L_r = mean_{i≠j} (cos(f(x_i), f(x_j)) − cos(t_i, t_j))²,

which needs no P. The teacher sees every image once, straight and mirrored and not augmented: t = f(x) + f(flip x).

References
----------
Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531 (the idea). Park, Kim, Lu and
Cho, "Relational knowledge distillation", CVPR 2019 (relations; theirs are distances and angles, ours cosines).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bnas_face.data.images import FaceImages
from bnas_face.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Who is learned from.

    Attributes
    ----------
    info : mapping
        JSON values for ``config.json``: source and SHA-256 of the weights.
    embed : callable
        FaceImages → float32 (n_images, embedding_dim), unit length, in their order; and for every image that has no
        embedding (its row is zeros) its position and why.
    """

    info: Mapping[str, Any]
    embed: Callable[[FaceImages], tuple[NDArray[np.float32], Mapping[int, str]]]


class Teaching(nn.Module):
    """The loss against a teacher's embeddings.

    Parameters
    ----------
    embedding_dim : int
        Of the network.
    teacher_dim : int
    embedding_weight, relation_weight : float
        Of L_e and L_r; at least one is above 0.
    """

    def __init__(
        self, embedding_dim: int, teacher_dim: int, *, embedding_weight: float, relation_weight: float
    ) -> None:
        super().__init__()
        self.embedding_weight, self.relation_weight = embedding_weight, relation_weight
        needed = embedding_weight > 0 and embedding_dim != teacher_dim
        self.projection = nn.Linear(embedding_dim, teacher_dim, bias=False) if needed else nn.Identity()

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Embeddings (batch_size, embedding_dim) of any length, targets (batch_size, teacher_dim) of length 1 → loss.

        Computed in float32, whatever the precision of the embeddings.

        Raises
        ------
        TrainingError
            If there is not one target for each embedding.
        """
        if targets.ndim != 2 or len(targets) != len(embeddings):
            raise TrainingError(
                f"{len(embeddings)} embeddings and targets of shape {tuple(targets.shape)}; expected one target each."
            )
        own, wanted = embeddings.float(), targets.float()
        loss = own.new_zeros(())
        if self.embedding_weight:
            projected = self.projection(own)
            loss = loss + self.embedding_weight * (1 - F.cosine_similarity(projected, wanted)).mean()
        if self.relation_weight:
            loss = loss + self.relation_weight * _relations(own, wanted)
        return loss


def _relations(own: Tensor, wanted: Tensor) -> Tensor:
    """L_r; 0 for a batch of one."""
    unit, target = F.normalize(own), F.normalize(wanted)
    differences = unit @ unit.T - target @ target.T
    n = len(own)
    return differences.square().sum() / max(1, n * (n - 1))  # the diagonal is 0: 1 − 1
