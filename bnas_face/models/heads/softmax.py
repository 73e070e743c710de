"""Softmax: an ordinary linear classifier with bias, ``logit_j = w_j · x + b_j``; no normalisation, no margin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.models.heads._base import Head, refuse


class Softmax(Head):
    """Linear classifier over the identities of the training set."""

    def __init__(self, embedding_dim: int, n_identities: int) -> None:
        super().__init__(embedding_dim, n_identities)
        self.bias = nn.Parameter(torch.zeros(n_identities))

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """``x Wᵀ + b``; `labels` are not used."""
        return F.linear(embeddings, self.weight, self.bias)


def build(*, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None) -> Softmax:
    """A softmax head; it has neither scale nor margin, and refuses either."""
    refuse("softmax", scale=scale, margin=margin)
    return Softmax(embedding_dim, n_identities)
