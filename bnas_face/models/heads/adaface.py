"""AdaFace: ``s · (cos(θ − m ẑ) − m (1 + ẑ))``: ẑ in [-1, 1] says from its length how good an image is among the others.

``ẑ = clip((‖z‖ − μ) h / σ, −1, 1)``; μ and σ are moving averages of the batches' mean and standard deviation of the
lengths ‖z‖: ``μ ← 0.99 μ + 0.01 mean``. A poor image (ẑ = −1) has ArcFace's margin, an average one CosFace's.

References
----------
Kim et al., AdaFace, CVPR 2022 (arXiv 2204.00964), section 3.3: g_angle = −m ẑ, g_add = m ẑ + m, ẑ with its moving
averages; s = 64, m = 0.4, h = 0.333, momentum 0.99.

Notes
-----
From the authors' code, where the paper is silent: lengths are clipped to [0.001, 100]; the averages begin with 20 and
100 and take in the batch before they are used; 0.001 is added to σ; no gradient passes ẑ; cos(θ − m ẑ) is 1 where θ is
less than m ẑ. Deviation from it: beyond θ + m |ẑ| = π the line of `turned` takes over, where theirs is constant.
The averages are buffers: they are saved with the training state and the same in every process.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead, batch_moments, checked_margin, cosine_of_sum, turned

SCALE = 64.0
MARGIN = 0.4
CONCENTRATION = 0.333
NEW_SHARE = 0.01
LENGTHS = (1e-3, 100.0)
FIRST_MEAN, FIRST_STD = 20.0, 100.0
LEAST_STD = 1e-3


class AdaFace(CosineHead):
    """Margins on angle and cosine that follow the embedding's length.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin : float
        m, in [0, π/2); radians as well as a difference of cosines.
    concentration : float
        h, > 0; 0.333 puts about two thirds of the lengths (±σ) at ẑ in [-0.333, 0.333].

    Attributes
    ----------
    mean, std : Tensor of shape ()
        Moving averages μ and σ; they move in training mode alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        embedding_dim: int,
        n_identities: int,
        *,
        scale: float = SCALE,
        margin: float = MARGIN,
        concentration: float = CONCENTRATION,
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin, self.concentration = margin, concentration
        self.register_buffer("mean", torch.tensor(FIRST_MEAN))
        self.register_buffer("std", torch.tensor(FIRST_STD))

    @torch.no_grad()
    def quality(self, lengths: Tensor) -> Tensor:
        """ẑ of embedding lengths of any shape, after the averages have taken them in (in training mode)."""
        lengths = lengths.clamp(*LENGTHS)
        if self.training:
            mean, std = batch_moments(lengths, whole=self.sharded)
            self.mean.lerp_(mean.to(self.mean.dtype), NEW_SHARE)
            self.std.lerp_(std.to(self.std.dtype), NEW_SHARE)
        return ((lengths - self.mean) / (self.std + LEAST_STD) * self.concentration).clamp(-1, 1)

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos(θ + g_angle) − g_add``."""
        quality = self.quality(lengths)
        angle = -self.margin * quality  # g_angle, in radians
        cos_m, sin_m = angle.cos(), angle.sin()
        wider = turned(cosine, cos_m, sin_m)
        # A good image's angle becomes smaller; it stops at zero.
        nearer = torch.where(cosine < cos_m, cosine_of_sum(cosine, cos_m, sin_m), torch.ones_like(cosine))
        return torch.where(angle >= 0, wider, nearer) - self.margin * (1 + quality)


def build(*, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None) -> AdaFace:
    """An AdaFace head; None is the paper's s = 64, m = 0.4; `ConfigError` for a margin outside [0, π/2)."""
    unit = "in radians and a difference of cosines"
    return AdaFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin=checked_margin("adaface", margin, MARGIN, 0, math.pi / 2, unit),
    )
