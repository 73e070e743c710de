"""ElasticFace-Cos: CosFace with a margin drawn anew for every sample and step, ``s · (cos θ − E)``, E ~ N(m, σ²).

References
----------
Boutros et al., ElasticFace, CVPR Workshops 2022 (arXiv 2109.09416): ElasticFace-Cos, section 3; s = 64, m = 0.35,
σ = 0.05.

Notes
-----
Where the margins come from, and what is different from the paper: see `bnas_face.models.heads.elasticface`.
"""

from __future__ import annotations

from torch import Tensor

from bnas_face.models.heads._base import CosineHead, checked_margin
from bnas_face.models.heads.elasticface import drawn

SCALE = 64.0
MARGIN = 0.35
SPREAD = 0.05


class ElasticFaceCos(CosineHead):
    """Additive margin on the cosine, random around its mean.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin : float
        m, the mean, a difference of cosines, in [0, 2).
    spread : float
        σ, the standard deviation, a difference of cosines, >= 0.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_identities: int,
        *,
        scale: float = SCALE,
        margin: float = MARGIN,
        spread: float = SPREAD,
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin, self.spread = margin, spread

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos θ − E(m, σ)``."""
        return cosine - drawn(self.margin, self.spread if self.training else 0.0, cosine)


def build(
    *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> ElasticFaceCos:
    """An ElasticFace-Cos head; None is the paper's s = 64, m = 0.35; `ConfigError` for a margin outside [0, 2)."""
    return ElasticFaceCos(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin=checked_margin("elasticface_cos", margin, MARGIN, 0, 2, "a difference of cosines"),
    )
