"""ArcFace: the label's logit is ``s · cos(θ + m)``; with sub-centers the nearest of K centers of an identity counts.

References
----------
Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), equation 3; s = 64, m = 0.5.
Deng et al., Sub-center ArcFace, ECCV 2020, section 3.2: ``cos θ_j = max over k of cos θ_jk``; K = 3 for noisy sets.
"""

from __future__ import annotations

import math

from torch import Tensor

from bnas_face.errors import ConfigError
from bnas_face.models.heads._base import CosineHead, checked_margin, turned

SCALE = 64.0
MARGIN_RAD = 0.5
OPTIONS = ("sub_centers",)


class ArcFace(CosineHead):
    """Additive margin on the angle; numerical safety as in `turned`.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin_rad : float
        m in radians, in [0, π).
    sub_centers : int
        K, >= 1. Rows jK to jK + K − 1 of the weight are the centers of identity j; 1 is plain ArcFace.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_identities: int,
        *,
        scale: float = SCALE,
        margin_rad: float = MARGIN_RAD,
        sub_centers: int = 1,
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale, n_rows=n_identities * sub_centers)
        self.margin_rad = margin_rad
        self.sub_centers = sub_centers

    def cosines(self, embeddings: Tensor, weight: Tensor) -> Tensor:
        """Cosine with the nearest center of each identity (sub-center ArcFace, section 3.2)."""
        cosines = super().cosines(embeddings, weight)
        if self.sub_centers == 1:
            return cosines
        return cosines.view(len(cosines), -1, self.sub_centers).max(dim=2).values

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos(θ + m) = cos θ cos m − sin θ sin m`` (equation 3), guarded beyond θ = π − m."""
        return turned(cosine, math.cos(self.margin_rad), math.sin(self.margin_rad))


def build(
    *,
    embedding_dim: int,
    n_identities: int,
    scale: float | None = None,
    margin: float | None = None,
    sub_centers: int = 1,
) -> ArcFace:
    """An ArcFace head; `margin` is in radians; None is the paper's s = 64, m = 0.5.

    Raises
    ------
    ConfigError
        If the margin is not in [0, π), or there is no center at all.
    """
    if sub_centers < 1:
        raise ConfigError(f"Head 'arcface' cannot have {sub_centers} sub-centers. Give 1 (plain ArcFace) or more.")
    return ArcFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin_rad=checked_margin("arcface", margin, MARGIN_RAD, 0, math.pi, "in radians"),
        sub_centers=sub_centers,
    )
