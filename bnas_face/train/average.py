"""An exponential moving average of the network's weights (EMA), which is what a run then keeps.

After step t (from 1) the average moves by 1 − d_t towards the weights, with

    d_t = min(d, (1 + t) / (10 + t)),

so that the random weights of the beginning are soon forgotten; the average starts as the weights after the first step.
Means and variances of the batch norms are averaged as the weights are; counters are copied. The head is no part of it:
it is thrown away.

References
----------
Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992 (the idea). The growing decay is
that of TensorFlow's ExponentialMovingAverage with ``num_updates``, as remembered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def average_of(backbone: nn.Module, decay: float) -> AveragedModel:
    """A copy of `backbone` whose ``update_parameters(backbone)`` moves it; `decay` d in (0, 1)."""

    @torch.no_grad()
    def move(average: Tensors, now: Tensors, n_averaged: Tensor | int) -> None:
        if not average[0].is_floating_point():
            torch._foreach_copy_(average, now)
            return
        t = int(n_averaged) + 1
        torch._foreach_lerp_(average, now, 1 - min(decay, (1 + t) / (10 + t)))

    return AveragedModel(backbone, multi_avg_fn=move, use_buffers=True)


def restart(average: AveragedModel) -> None:
    """Forget what was averaged: the next update copies the weights."""
    average.n_averaged.zero_()
