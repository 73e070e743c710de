"""CurricularFace: ArcFace's label logit, and hard other identities weigh more the further the training is.

``T(cos θ_y) = cos(θ_y + m)``; the others' cosines become
``N(t, cos θ_j) = cos θ_j`` where ``cos θ_j <= T(cos θ_y)``, else ``cos θ_j (t + cos θ_j)``;
t is a moving average of the labels' cosines, from 0: ``t ← 0.99 t + 0.01 r``, r their mean over the batch.

References
----------
Huang et al., CurricularFace, CVPR 2020 (arXiv 2004.00288): the loss with T, N and t, section 3; s = 64, m = 0.5,
momentum 0.99, t from 0.

Notes
-----
As in the authors' code, t takes in the batch before it is used. Beyond θ_y = π − m, T is the line of `turned`, also
where it says which others are hard. t is a buffer: it is saved with the training state and the same in every process.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead, batch_moments, checked_margin, turned

SCALE = 64.0
MARGIN_RAD = 0.5
NEW_SHARE = 0.01


class CurricularFace(CosineHead):
    """Additive margin on the angle, and a curriculum for the other identities.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin_rad : float
        m in radians, in [0, π).

    Attributes
    ----------
    t : Tensor of shape ()
        Moving average of the labels' cosines, in [-1, 1]; it moves in training mode alone.
    """

    t: Tensor

    def __init__(
        self, embedding_dim: int, n_identities: int, *, scale: float = SCALE, margin_rad: float = MARGIN_RAD
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin_rad = margin_rad
        self.register_buffer("t", torch.zeros(()))

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``T(cos θ) = cos(θ + m)``, guarded beyond θ = π − m."""
        return turned(cosine, math.cos(self.margin_rad), math.sin(self.margin_rad))

    def others(self, cosines: Tensor, own: Tensor, own_margin: Tensor) -> Tensor:
        """``N(t, cos θ_j)``, after t has taken in the batch."""
        if self.training:
            mean, _ = batch_moments(own, whole=self.sharded)
            self.t.lerp_(mean.to(self.t.dtype), NEW_SHARE)
        return torch.where(cosines > own_margin, cosines * (self.t + cosines), cosines)


def build(
    *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> CurricularFace:
    """A CurricularFace head; None is the paper's s = 64, m = 0.5 rad; `ConfigError` for a margin outside [0, π)."""
    return CurricularFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin_rad=checked_margin("curricularface", margin, MARGIN_RAD, 0, math.pi, "in radians"),
    )
