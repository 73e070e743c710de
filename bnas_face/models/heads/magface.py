"""MagFace: ``s · cos(θ + m(a))``, a the embedding's length: longer means a better image and a larger margin.

``m(a) = l_m + (u_m − l_m) (a − l_a) / (u_a − l_a)``; the loss adds ``λ · mean g(a)``, ``g(a) = 1/a + a/u_a²``, which
rewards length: it falls up to a = u_a.

References
----------
Meng et al., MagFace, CVPR 2021 (arXiv 2103.06627), equation 3, with the linear m(a) and the g(a) of its experiments.
s = 64, l_a = 10, u_a = 110, l_m = 0.45, u_m = 0.8, λ = 35 as in the authors' training script (``run/run.sh``); their
lower bound of λ for these numbers, ``s K u_a² l_a² / (u_a² − l_a²)`` with K the slope of m, is 22.6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnas_face.models.heads._base import CosineHead, refuse, turned

SCALE = 64.0
LENGTHS = (10.0, 110.0)
MARGINS_RAD = (0.45, 0.8)
REWARD = 35.0


class MagFace(CosineHead):
    """Additive margin on the angle that grows with the embedding's length, and a reward for length.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s, > 0.
    lengths : (float, float)
        l_a and u_a, 0 < l_a < u_a.
    margins_rad : (float, float)
        l_m and u_m in radians, 0 <= l_m <= u_m < π.
    reward : float
        λ, >= 0.

    Notes
    -----
    Lengths outside [l_a, u_a] count as the nearest bound, as in the authors' code. Deviation from it: below l_a, g goes
    on as its tangent there, where theirs is constant, so that embeddings that start short (64 numbers from a batch norm
    have a length of 8) grow into the range instead of staying below it.
    """

    def __init__(
        self,
        embedding_dim: int,
        n_identities: int,
        *,
        scale: float = SCALE,
        lengths: tuple[float, float] = LENGTHS,
        margins_rad: tuple[float, float] = MARGINS_RAD,
        reward: float = REWARD,
    ) -> None:
        super().__init__(embedding_dim, n_identities, scale=scale)
        self.lengths, self.margins_rad, self.reward = lengths, margins_rad, reward

    def margin_rad(self, lengths: Tensor) -> Tensor:
        """m(a) of embedding lengths of any shape, in radians."""
        (least, most), (low, high) = self.lengths, self.margins_rad
        return low + (high - low) / (most - least) * (lengths.clamp(least, most) - least)

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """``cos(θ + m(a))`` (equation 3), guarded beyond θ = π − m; its gradient reaches the length, too."""
        margin = self.margin_rad(lengths)
        return turned(cosine, margin.cos(), margin.sin())

    def regulariser(self, lengths: Tensor) -> Tensor:
        """g(a) of embedding lengths of any shape."""
        least, most = self.lengths
        inside = lengths.clamp(least, most)
        slope = 1 / most**2 - 1 / least**2
        return 1 / inside + inside / most**2 + slope * (lengths.clamp(max=least) - least)

    def regularisation(self, embeddings: Tensor) -> Tensor:
        """λ · mean g(a) (equation 3)."""
        return self.reward * self.regulariser(torch.linalg.vector_norm(embeddings, dim=1)).mean()


def build(*, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None) -> MagFace:
    """A MagFace head; None is s = 64. It has no single margin, and refuses one."""
    refuse("magface", **{"single margin": margin})
    return MagFace(embedding_dim, n_identities, scale=SCALE if scale is None else scale)
