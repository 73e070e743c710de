"""ElasticFace-Arc: ArcFace with a margin drawn anew for every sample and step, ``s · cos(θ + E)``, E ~ N(m, σ²).

References
----------
Boutros et al., ElasticFace, CVPR Workshops 2022 (arXiv 2109.09416): ElasticFace-Arc, section 3; s = 64, m = 0.5,
σ = 0.05.

Notes
-----
Margins come from torch's generator, which the training loop seeds from (seed, step, process) before every step: a
resumed training draws the same ones. With more processes other samples get other margins. Out of training mode every
margin is m. Deviation: a draw below 0 (ten σ away by default) counts as 0. ElasticFace+ (sorted margins) is not built.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead, checked_margin, turned

SCALE = 64.0
MARGIN_RAD = 0.5
SPREAD = 0.05


class ElasticFaceArc(CosineHead):
    """Additive margin on the angle, random around its mean.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin_rad : float
        m, the mean, in radians, in [0, π).
    spread : float
        σ, the standard deviation, in radians, >= 0.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_identities: int,
        *,
        scale: float = SCALE,
        margin_rad: float = MARGIN_RAD,
        spread: float = SPREAD,
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin_rad, self.spread = margin_rad, spread

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos(θ + E(m, σ))``, guarded beyond θ = π − E."""
        margin = drawn(self.margin_rad, self.spread if self.training else 0.0, cosine).clamp(max=math.pi)
        return turned(cosine, margin.cos(), margin.sin())


@torch.no_grad()
def drawn(mean: float, spread: float, like: Tensor) -> Tensor:
    """Margins from N(mean, spread²), not below 0, of shape, type and device of `like`."""
    if not spread:
        return torch.full_like(like, mean)
    return (mean + spread * torch.randn_like(like)).clamp(min=0)


def build(
    *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> ElasticFaceArc:
    """An ElasticFace-Arc head; None is the paper's s = 64, m = 0.5 rad; `ConfigError` for a margin outside [0, π)."""
    return ElasticFaceArc(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin_rad=checked_margin("elasticface", margin, MARGIN_RAD, 0, math.pi, "in radians"),
    )
