"""CosFace: the label's logit is ``s · (cos θ − m)``.

References
----------
Wang et al., CosFace: Large Margin Cosine Loss, CVPR 2018 (arXiv 1801.09414), equation 4; s = 64, m = 0.35.
"""

from __future__ import annotations

from torch import Tensor

from bnas_face.models.heads._base import CosineHead, checked_margin

SCALE = 64.0
MARGIN = 0.35


class CosFace(CosineHead):
    """Additive margin on the cosine.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin : float
        m, a difference of cosines, in [0, 2).
    """

    def __init__(self, embedding_dim: int, n_identities: int, *, scale: float = SCALE, margin: float = MARGIN) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin = margin

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos θ − m``."""
        return cosine - self.margin


def build(*, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None) -> CosFace:
    """A CosFace head; None is the paper's s = 64, m = 0.35; `ConfigError` for a margin outside [0, 2)."""
    return CosFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin=checked_margin("cosface", margin, MARGIN, 0, 2, "a difference of cosines"),
    )
