"""SphereFace: the label's logit is ``s · ψ(θ)``, ψ the cosine of mθ made to fall everywhere; A-Softmax made stable.

``ψ(θ) = (−1)^k cos(mθ) − 2k`` for θ in [kπ/m, (k + 1)π/m], which falls from 1 to below −1.

References
----------
Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063), equation 7: ψ.
Liu et al., SphereFace Revived, TPAMI 2022 (arXiv 2109.05565): hard feature normalisation (the embedding is normalised
and scaled by s) and characteristic gradient detachment; s = 30, m = 1.5 as in the authors' own OpenSphere.

Notes
-----
Which of the family this is: the multiplicative margin of SphereFace with what SphereFace Revived found to make it
stable. Deviations from A-Softmax of 2017: s = 30 instead of the embedding's length; no annealing with the plain
softmax (its λ); m = 1.5, any real number, instead of m = 4; the gradient is that of cos θ (see `SphereFace`). Not
built are that paper's other margins, SphereFace-R v1 (the label's angle stops at π) and v2 (the others' angles shrink).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead, checked_margin

SCALE = 30.0
MARGIN_FACTOR = 1.5


class SphereFace(CosineHead):
    """Multiplicative margin on the angle, with the gradient of the plain cosine.

    Characteristic gradient detachment: ``cos θ + [ψ(θ) − cos θ]`` with a constant in the brackets. The margin says how
    much a sample counts, and the gradient of ψ itself, which is unbounded at θ = π for an m that is not whole, never
    enters. So ``∂L/∂cos θ = s (p − 1)``, with p the label's share of the softmax with margin.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    margin_factor : float
        m, by which the angle is multiplied, >= 1; 1 is no margin.
    """

    def __init__(
        self, embedding_dim: int, n_identities: int, *, scale: float = SCALE, margin_factor: float = MARGIN_FACTOR
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.margin_factor = margin_factor

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``ψ(θ)`` (SphereFace, equation 7), with the gradient of cos θ."""
        with torch.no_grad():
            angle = self.margin_factor * cosine.acos()
            half_turns = (angle / math.pi).floor()  # k
            sign = 1 - 2 * half_turns.remainder(2)  # (−1)^k
            gap = sign * angle.cos() - 2 * half_turns - cosine
        return cosine + gap


def build(
    *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> SphereFace:
    """A SphereFace head; `margin` is the factor m; None is s = 30, m = 1.5.

    Raises
    ------
    ConfigError
        If the margin is not in [1, 8).
    """
    unit = "a factor of the angle, 1 for none"
    return SphereFace(
        embedding_dim,
        n_identities,
        scale=SCALE if scale is None else scale,
        margin_factor=checked_margin("sphereface", margin, MARGIN_FACTOR, 1, 8, unit),
    )
