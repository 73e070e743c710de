"""The loss of a head, written once: ``L = mean of −log softmax(logits)[label]``; a head says what its logits are.

`Head` is the contract; `CosineHead` adds what the margin heads share and leaves one hook, `CosineHead.with_margin`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Head(nn.Module):
    """Embeddings and labels → mean cross-entropy, computed in float32 also under mixed precision.

    Parameters
    ----------
    embedding_dim, n_identities : int
    """

    def __init__(self, embedding_dim: int, n_identities: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.n_identities = n_identities
        self.weight = nn.Parameter(torch.empty(n_identities, embedding_dim))
        nn.init.normal_(self.weight, std=0.01)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """float32 (batch_size, embedding_dim) and int64 (batch_size,) → (batch_size, n_identities)."""
        raise NotImplementedError

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, a scalar; lower is better.

        Parameters
        ----------
        embeddings : Tensor of shape (batch_size, embedding_dim)
            Any float type, any length.
        labels : Tensor of int64, shape (batch_size,)
            In [0, n_identities).
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
            return F.cross_entropy(self.logits(wide, labels), labels)


class CosineHead(Head):
    """Logits ``scale · cos θ_j``, where the label's own cosine first passes `with_margin`.

    θ_j is the angle between the embedding and the j-th identity's weight; both are normalised.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s of the papers, > 0.
    """

    def __init__(self, embedding_dim: int, n_identities: int, *, scale: float) -> None:
        super().__init__(embedding_dim, n_identities)
        self.scale = scale

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The hook: the label's cosine in [-1, 1], shape (batch_size, 1) → what takes its place, not larger."""
        raise NotImplementedError

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """See `Head.logits`."""
        cosines = F.linear(F.normalize(embeddings), F.normalize(self.weight)).clamp(-1, 1)
        own = labels[:, None]
        return self.scale * cosines.scatter(1, own, self.with_margin(cosines.gather(1, own)))
