"""The parts of a head's loss that change where every process has the logits of some identities only.

Every process has all embeddings of a step and its own columns of the logits; a label is the column of an image's
identity, or -1 where another process has it. Forward and backward are exact: what one process would compute from all
columns. All functions are collective: every process calls them in the same order.

References
----------
An et al., "Killing two birds with one stone: efficient and robust training of face recognition CNNs by Partial FC",
CVPR 2022 (arXiv 2203.15565), section 3: class weights in parts, softmax over all of them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.autograd import Function


def own(values: Tensor, labels: Tensor) -> Tensor:
    """The label's column of every image, from whichever process has it.

    Parameters
    ----------
    values : Tensor of shape (batch_size, n_columns)
    labels : Tensor of int64, shape (batch_size,)

    Returns
    -------
    Tensor of shape (batch_size, 1)
        With its gradient where the column is here; a constant elsewhere.
    """
    here, taken = _taken(values, labels)
    known = torch.where(here, taken, 0).detach()
    distributed.all_reduce(known)
    return torch.where(here, taken, known)


def with_own(values: Tensor, labels: Tensor, replaced: Tensor) -> Tensor:
    """`values` with `replaced`, shape (batch_size, 1), in the label's column where that is here."""
    here, taken = _taken(values, labels)
    return values.scatter(1, labels.clamp(min=0)[:, None], torch.where(here, replaced, taken))


def _taken(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return labels[:, None] >= 0, values.gather(1, labels.clamp(min=0)[:, None])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the batch of ``log Σ_j exp(logit_j) − logit_label``, the sum over the columns of all processes.

    Parameters
    ----------
    logits : Tensor of shape (batch_size, n_columns)
        n_columns >= 1; it may differ between processes.
    labels : Tensor of int64, shape (batch_size,)

    Returns
    -------
    Tensor of shape ()
        The same in every process.
    """
    loss: Tensor = _CrossEntropy.apply(logits, labels)  # type: ignore[no-untyped-call]
    return loss


class _CrossEntropy(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        highest = logits.max(dim=1, keepdim=True).values
        distributed.all_reduce(highest, distributed.ReduceOp.MAX)
        shifted = logits - highest
        here, taken = _taken(shifted, labels)
        shares = shifted.exp_()
        sums = torch.cat([shares.sum(dim=1, keepdim=True), torch.where(here, taken, 0)], dim=1)
        distributed.all_reduce(sums)
        ctx.save_for_backward(shares.div_(sums[:, :1]), labels)
        return (sums[:, 0].log() - sums[:, 1]).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """``∂L/∂logit_j = (softmax_j − [j is the label]) / batch_size``."""
        shares, labels = ctx.saved_tensors
        found = with_own(shares, labels, _taken(shares, labels)[1] - 1)
        return found * (gradient / len(labels)), None


def gathered(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The images of all processes, in the order of the processes, however many each has.

    Returns
    -------
    embeddings : Tensor of shape (n_images, embedding_dim)
        Backward sums what all processes found out about an embedding and multiplies it by the number of processes:
        DistributedDataParallel divides by it, since it expects the gradient of a process's own mean.
    labels : Tensor of int64, shape (n_images,)
    """
    own_count = torch.tensor([len(labels)], device=labels.device)
    counts = [int(count) for count in torch.cat(_from_all(own_count)).tolist()]
    everywhere = _cut(_from_all(_padded(labels, max(counts))), counts)
    whole: Tensor = _Gathered.apply(embeddings, counts)  # type: ignore[no-untyped-call]
    return whole, everywhere


class _Gathered(Function):
    @staticmethod
    def forward(ctx: Any, own_part: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _cut(_from_all(_padded(own_part, max(counts))), counts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        counts = ctx.counts
        parts = [_padded(part, max(counts)).contiguous() for part in torch.split(gradient, counts)]
        found = torch.empty_like(parts[0])
        distributed.reduce_scatter(found, parts)
        return found[: counts[distributed.get_rank()]] * len(counts), None


def _from_all(part: Tensor) -> list[Tensor]:
    """What all processes have, of the same shape everywhere."""
    parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, part.contiguous())
    return parts


def _padded(part: Tensor, n_rows: int) -> Tensor:
    """With zeros at the end."""
    return torch.cat([part, part.new_zeros((n_rows - len(part), *part.shape[1:]))]) if len(part) < n_rows else part


def _cut(parts: list[Tensor], counts: list[int]) -> Tensor:
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
