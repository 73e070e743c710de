"""Cross-entropy: the network's outputs are the logits, ``logit_j = x_j``; the head itself has nothing to learn."""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.errors import ConfigError
from bnas_face.models.heads._base import Head, refuse


class CrossEntropy(Head):
    """A head without parameters, for networks that classify (``task="classification"``)."""

    def __init__(self, embedding_dim: int, n_identities: int) -> None:
        nn.Module.__init__(self)  # not Head's: there is no weight
        self.embedding_dim = embedding_dim
        self.n_identities = n_identities

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """`embeddings` as they are; `labels` are not used."""
        return embeddings


def build(
    *, embedding_dim: int, n_identities: int, scale: float | None = None, margin: float | None = None
) -> CrossEntropy:
    """A cross-entropy head.

    Raises
    ------
    ConfigError
        If the network does not have one output per class, or a scale or a margin is given: it has neither.
    """
    refuse("cross_entropy", scale=scale, margin=margin)
    if embedding_dim != n_identities:
        raise ConfigError(
            f"Head 'cross_entropy' takes the network's {embedding_dim} outputs as the logits of {n_identities} "
            "classes. Give --embedding-dim the number of classes, or choose another --head."
        )
    return CrossEntropy(embedding_dim, n_identities)
