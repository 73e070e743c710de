"""ArcFace: the label's logit is ``s · cos(θ + m)``.

References
----------
Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), equation 3; s = 64, m = 0.5.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead

SCALE = 64.0
MARGIN_RAD = 0.5
LEAST_SINE_SQUARED = 1e-6


class ArcFace(CosineHead):
    """Additive margin on the angle.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin_rad : float
        m in radians, in [0, π).

    Notes
    -----
    Deviations from the paper, for numerical safety:

    - Beyond θ = π − m the cosine of θ + m would rise again. There the line ``cos θ + cos m − 1`` takes over, which
      meets cos(θ + m) = −1 at θ = π − m and keeps falling with θ. (InsightFace's code uses ``cos θ − m sin m``, which
      jumps at that point.)
    - sin θ is bounded below by 0.001 with zero gradient there, so that the gradient at cos θ = ±1 is finite.
    """

    def __init__(
        self, embedding_dim: int, n_identities: int, *, scale: float = SCALE, margin_rad: float = MARGIN_RAD
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin_rad = margin_rad

    def with_margin(self, cosine: Tensor) -> Tensor:
        """``cos(θ + m) = cos θ cos m − sin θ sin m`` (equation 3), guarded beyond θ = π − m."""
        cos_m, sin_m = math.cos(self.margin_rad), math.sin(self.margin_rad)
        sine = (1 - cosine.square()).clamp(min=LEAST_SINE_SQUARED).sqrt()
        return torch.where(cosine > -cos_m, cosine * cos_m - sine * sin_m, cosine + (cos_m - 1))


def build(*, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None) -> ArcFace:
    """An ArcFace head; `margin` is in radians; None is the paper's s = 64, m = 0.5."""
    return ArcFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin_rad=MARGIN_RAD if margin is None else margin,
    )
