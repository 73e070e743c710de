"""The loss of a head, written once: ``L = mean of −log softmax(logits)[label]``; a head says what its logits are.

`Head` is the contract; `CosineHead` adds what the margin heads share and leaves one hook, `CosineHead.with_margin`.
"""

from __future__ import annotations

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.errors import ConfigError, TrainingError
from bnas_face.models.heads import _sharded

LEAST_SINE_SQUARED = 1e-6


class Head(nn.Module):
    """Embeddings and labels → mean cross-entropy, computed in float32 also under mixed precision.

    Parameters
    ----------
    embedding_dim, n_identities : int
    n_rows : int or None
        Rows of the weight; None for one per identity.

    Attributes
    ----------
    sharded : bool
        Whether the identities here are a part of all, and other processes have the others, each process all embeddings
        of a step; see `bnas_face.models.partial`. A label of -1 then stands for an identity of another process.

    Notes
    -----
    Every parameter of a head has the same number of rows for each identity, in the order of the identities, and nothing
    that is learned lies outside them: `bnas_face.models.partial` takes out the rows of some.
    """

    sharded = False

    def __init__(self, embedding_dim: int, n_identities: int, *, n_rows: int | None = None) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.n_identities = n_identities
        self.weight = nn.Parameter(torch.empty(n_rows or n_identities, embedding_dim))
        nn.init.normal_(self.weight, std=0.01)

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """float32 (batch_size, embedding_dim) and int64 (batch_size,) → (batch_size, n_identities)."""
        raise NotImplementedError

    def entropy(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of the logits. Shapes as in `logits`."""
        logits = self.logits(embeddings, labels)
        return _sharded.cross_entropy(logits, labels) if self.sharded else F.cross_entropy(logits, labels)

    def regularisation(self, embeddings: Tensor) -> Tensor | float:
        """What a head adds to the cross-entropy, a mean over float32 (batch_size, embedding_dim); most add nothing."""
        return 0.0

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss, a scalar; lower is better.

        Parameters
        ----------
        embeddings : Tensor of shape (batch_size, embedding_dim)
            Any float type, any length.
        labels : Tensor of int64, shape (batch_size,)
            In [0, n_identities).

        Raises
        ------
        TrainingError
            If the two have another shape or type, or (on the CPU, where looking costs nothing) a label is out of range.
        """
        check_input(embeddings, labels, self.embedding_dim, self.n_identities)
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = widened(embeddings)
            return self.entropy(wide, labels) + self.regularisation(wide)


def check_input(embeddings: Tensor, labels: Tensor, embedding_dim: int, n_identities: int) -> None:
    """Raise `TrainingError` as `Head.forward` says."""
    shape = tuple(embeddings.shape)
    if shape != (len(labels), embedding_dim) or labels.dim() != 1 or not len(labels):
        raise TrainingError(
            f"A head for embeddings of {embedding_dim} numbers got shape {shape} and labels of shape "
            f"{tuple(labels.shape)}. Give (batch_size, {embedding_dim}) and (batch_size,)."
        )
    if not embeddings.is_floating_point() or labels.dtype != torch.int64:
        raise TrainingError(
            f"A head got embeddings of {embeddings.dtype} and labels of {labels.dtype}. Give floats and int64."
        )
    if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < n_identities:
        raise TrainingError(
            f"Labels from {int(labels.min())} to {int(labels.max())} do not fit a head of {n_identities} "
            f"identities. Give labels from 0 to {n_identities - 1}."
        )


def widened(embeddings: Tensor) -> Tensor:
    """As float32; float64 stays."""
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


class CosineHead(Head):
    """Logits ``scale · cos θ_j``, where the label's own cosine first passes `with_margin`.

    θ_j is the angle between the embedding and the j-th identity's weight; both are normalised.

    Parameters
    ----------
    embedding_dim, n_identities : int
    scale : float
        s of the papers, > 0.
    n_rows : int or None
        As in `Head`.
    """

    def __init__(self, embedding_dim: int, n_identities: int, *, scale: float, n_rows: int | None = None) -> None:
        super().__init__(embedding_dim, n_identities, n_rows=n_rows)
        self.scale = scale

    def cosines(self, embeddings: Tensor, weight: Tensor) -> Tensor:
        """Cosines in [-1, 1] of float (batch_size, embedding_dim) with each row of `weight`."""
        return F.linear(F.normalize(embeddings), F.normalize(weight)).clamp(-1, 1)

    def with_margin(self, cosine: Tensor, lengths: Tensor) -> Tensor:
        """The hook: the label's cosine in [-1, 1] → what takes its place, not larger.

        Parameters
        ----------
        cosine : Tensor of shape (batch_size, 1)
        lengths : Tensor of shape (batch_size, 1)
            Euclidean lengths of the embeddings, with their gradient; most heads do not look at them.
        """
        raise NotImplementedError

    def others(self, cosines: Tensor, own: Tensor, own_margin: Tensor) -> Tensor:
        """The second hook: what takes the place of the cosines with the other identities; here they stay.

        Parameters
        ----------
        cosines : Tensor of shape (batch_size, n_identities)
            The label's column may be changed, too: it is written afterwards.
        own, own_margin : Tensor of shape (batch_size, 1)
            The label's cosine, without and with the margin.
        """
        return cosines

    def logits(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """See `Head.logits`."""
        cosines = self.cosines(embeddings, self.weight)
        own = _sharded.own(cosines, labels) if self.sharded else cosines.gather(1, labels[:, None])
        lengths = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        own_margin = self.with_margin(own, lengths)
        others = self.others(cosines, own, own_margin)
        if self.sharded:
            return self.scale * _sharded.with_own(others, labels, own_margin)
        return self.scale * others.scatter(1, labels[:, None], own_margin)


def turned(cosine: Tensor, cos_m: Tensor | float, sin_m: Tensor | float) -> Tensor:
    """``cos(θ + m)`` from cos θ, for m in [0, π), falling with θ over all of [0, π]; gradients are finite.

    Parameters
    ----------
    cosine : Tensor
        cos θ in [-1, 1].
    cos_m, sin_m : float or Tensor that broadcasts with `cosine`
        Of the margin m.

    Notes
    -----
    Deviations from the papers, for numerical safety:

    - Beyond θ = π − m the cosine of θ + m would rise again. There the line ``cos θ + cos m − 1`` takes over, which
      meets cos(θ + m) = −1 at θ = π − m and keeps falling with θ. (InsightFace's code uses ``cos θ − m sin m``, which
      jumps at that point.)
    - sin θ is bounded below, see `cosine_of_sum`.
    """
    return torch.where(cosine > -cos_m, cosine_of_sum(cosine, cos_m, sin_m), cosine + (cos_m - 1))


def cosine_of_sum(cosine: Tensor, cos_m: Tensor | float, sin_m: Tensor | float) -> Tensor:
    """``cos θ cos m − sin θ sin m``, as it is; sin θ is bounded below by 0.001, with zero gradient there.

    So the gradient at cos θ = ±1 is finite. Parameters as in `turned`, m of either sign.
    """
    sine = (1 - cosine.square()).clamp(min=LEAST_SINE_SQUARED).sqrt()
    return cosine * cos_m - sine * sin_m


@torch.no_grad()
def batch_moments(values: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (ddof 1; 0 for a single value) of a whole batch, over all processes of a training.

    Parameters
    ----------
    values : Tensor of any shape
        This process's share.
    whole : bool
        Whether it is not a share but the whole batch, the same in every process.

    Returns
    -------
    mean, std : Tensor of shape ()
        Summed in float64, so that one process and several agree; of the type of `values`.
    """
    wide = values.detach().double()
    sums = torch.stack([wide.new_tensor(wide.numel()), wide.sum(), wide.square().sum()])
    if not whole and distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(sums)
    count, total, squares = sums.unbind()
    mean = total / count
    variance = (squares - count * mean.square()).clamp(min=0) / (count - 1).clamp(min=1)
    return mean.to(values.dtype), variance.sqrt().to(values.dtype)


def refuse(head: str, **settings: float | None) -> None:
    """Raise `ConfigError` if a setting that `head` lacks is given."""
    for word, value in settings.items():
        if value is not None:
            raise ConfigError(f"Head '{head}' has no {word}, but {word} {value:g} is given. Drop it or choose cosface.")


def checked_margin(head: str, margin: float | None, default: float, low: float, high: float, unit: str) -> float:
    """`margin`, or `default` for None; `ConfigError` outside [low, high)."""
    if margin is None:
        return default
    if not low <= margin < high:
        raise ConfigError(
            f"The margin of head '{head}' is {margin:g}; it is {unit} and must lie from {low:g} to below {high:g}. "
            f"The paper's is {default:g}."
        )
    return margin
