"""Numbers that are none: found before they reach the weights, named, and stopped at or passed over.

Every step asks for two scalars only, the loss and the Euclidean length of the gradient, which is not finite as soon as
one of its elements is not. Which tensor it was is looked up when something is wrong, not before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bnas_face.train import gradients

MOST_IN_A_ROW = 20
"""So many steps passed over one after the other, and no more: the training does not recover."""


def gradient_length(
    fabric: Any, wrapped: nn.Module, optimizer: Any, *, clip: float, sharded: Collection[nn.Parameter] = ()
) -> Tensor:
    """Euclidean length of the gradient of all weights together, which is then shortened to `clip` (0 leaves it).

    Of the weights in `sharded` every process has a part of the rows.
    """
    if sharded or any(p.grad.is_sparse for p in wrapped.parameters() if p.grad is not None):
        return gradients.clip(wrapped.parameters(), clip, sharded)
    if clip:
        length: Tensor = fabric.clip_gradients(wrapped, optimizer, max_norm=clip, error_if_nonfinite=False)
        return length
    fabric.strategy.precision.unscale_gradients(getattr(optimizer, "optimizer", optimizer))
    return torch.nn.utils.get_total_norm([p.grad for p in wrapped.parameters() if p.grad is not None])


def first_not_finite(learner: nn.Module, loss: float) -> tuple[str, bool]:
    """What is not finite, in words, and whether a weight already is not, so that no later step can be.

    Weights come first, since they spoil the loss; then the loss, which spoils the gradient; then gradients by name.
    """
    if names := _odd((name, p) for name, p in learner.named_parameters()):
        return f"weight '{names[0]}'{_more(names)} was not finite before", True
    if not torch.tensor(loss).isfinite():
        return f"the loss became {loss}", False
    if names := _odd((name, gradients.values(p.grad)) for name, p in learner.named_parameters() if p.grad is not None):
        return f"the gradient of '{names[0]}'{_more(names)} was not finite", False
    return "the gradient became too long for float32", False


def check_weights(learner: nn.Module) -> str | None:
    """The first weight that is not finite, in words, or None."""
    if torch.nn.utils.get_total_norm([p.detach() for p in learner.parameters()]).isfinite():
        return None
    names = _odd((name, p) for name, p in learner.named_parameters())
    return f"weight '{names[0]}'{_more(names)}" if names else None


class Buffers:
    """Batch statistics and other buffers as they were before a step that is not to count.

    Parameters
    ----------
    learner : nn.Module
    """

    def __init__(self, learner: nn.Module) -> None:
        self._now = list(learner.buffers())
        self._before = [buffer.clone() for buffer in self._now]

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy them back."""
        for now, before in zip(self._now, self._before, strict=True):
            now.copy_(before)


def _odd(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    return [name for name, value in tensors if not bool(value.detach().isfinite().all())]


def _more(names: list[str]) -> str:
    return f" (and of {len(names) - 1} more)" if len(names) > 1 else ""
