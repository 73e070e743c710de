"""PCNN: a weight is the sign of its learned projection times the layer's mean magnitude; a projection loss helps along.

C (out_channels, in_channels / groups, k, k) are the latent weights, Wt_j (k, k), j = 1 … J, the projections, shared by
all filters and channels; g = ∂L_S/∂Ĉ is the task's gradient, and δ_j = g / J its share at Ĉ_j.

Forward:   ``Ĉ = P(mean(Wt) · C) = a · sign(mean(Wt) · C)`` with ``a = mean|C|`` of the layer
Backward:  ``∂L/∂C = Σ_j δ_j ∘ 1[|Wt_j ∘ C| ≤ 1] ∘ Wt_j + λ · (Wt_j ∘ (C + η·δ_j) − Ĉ) ∘ Wt_j``
           ``∂L/∂Wt_j = Σ_filters,channels δ_j ∘ 1[|Wt_j ∘ C| ≤ 1] ∘ C + λ · (Wt_j ∘ (C + η·δ_j) − Ĉ) ∘ (C + η·δ_j)``

The first terms are the task loss straight through P; the clip edge |Wt_j ∘ C| = 1 lets the gradient pass. The second
are the derivatives of the projection loss ``L_P = (λ/2) · Σ_j ‖Ĉ − Wt_j ∘ (C + η·δ_j)‖²`` with Ĉ and δ held fixed; they
are added in the backward pass, so no training loop has to know them.

Inputs (W1A1): forward ``sign(x)``, backward ``g · max(0, 2 − 2·|x|)``, zero at the clip edge |x| = 1, as with xnor.

Notes
-----
- The paper uses the mean of Wt in the forward pass and Wt itself in the backward pass; so do we. The mean is one number
  per layer, so it can only turn all signs of the layer at once; inference keeps the signs and one scale, and Wt is not
  shipped (`BinaryConv2d.training_only`).
- With that mean all Ĉ_j are one and the same Ĉ. We pool the mean over all J projections, so that the kernel stays 1-bit
  for every J; the paper's J-fold kernels with their J-fold cost are not built. J = 1.
- η is a step size of the discrete update the loss is derived from; we keep it fixed at 0.01 instead of tying it to the
  learning rate's course. The initial Wt = 1 (projection by the weight alone) and η are ours, λ = 1e-4 is the paper's.
- λ's term follows the latent weights, not the batch: an optimizer that rescales the loss must rescale it, too.

References
----------
Gu et al., Projection Convolutional Neural Networks for 1-bit CNNs via Discrete Back Propagation, AAAI 2019
(arXiv 1811.12755). Equation numbers are those of Zhang et al., Binary Neural Networks (CRC Press), section 3.5: loss
3.42, projection 3.43, gradients of C 3.52 and before, of Wt 3.55 and 3.56, scale 3.57.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers._base import sign
from bnas_face.models.binarizers._convolution import BinaryConv2d

PROJECTIONS = 1
LAMBDA = 1e-4
ETA = 0.01
CLIP = 1.0


def forward(weight: Tensor, projection: Tensor) -> Tensor:
    """``Ĉ = mean|C| · sign(mean(Wt) · C)`` (equations 3.43, 3.57).

    Parameters
    ----------
    weight : Tensor of shape (out_channels, in_channels / groups, k, k)
        Latent weights C.
    projection : Tensor of shape (J · k · k,)
        Wt_1 … Wt_J, row by row.

    Returns
    -------
    Tensor of the shape and dtype of `weight`
    """
    return sign(weight * projection.mean()) * weight.abs().mean()


def pseudo_gradient(
    weight: Tensor, gradient: Tensor, projection: Tensor, *, strength: float = LAMBDA, eta: float = ETA
) -> Tensor:
    """``∂L/∂C``, of the shape of `weight`: task loss and projection loss (equation 3.52 and before).

    Parameters
    ----------
    weight, projection
        As in `forward`.
    gradient : Tensor of the shape of `weight`
        ``∂L_S/∂Ĉ``.
    strength : float
        λ ≥ 0; 0 leaves the task loss alone.
    eta : float
        η ≥ 0.
    """
    planes, share = _planes(weight, projection), gradient / _count(weight, projection)
    moved = weight + eta * share
    task = share * _passes(weight, planes)
    loss = strength * (planes * moved - forward(weight, projection))
    return ((task + loss) * planes).sum(dim=0)


def projection_gradient(
    weight: Tensor, gradient: Tensor, projection: Tensor, *, strength: float = LAMBDA, eta: float = ETA
) -> Tensor:
    """``∂L/∂Wt``, of the shape of `projection` (equations 3.55 and 3.56); parameters as in `pseudo_gradient`."""
    planes, share = _planes(weight, projection), gradient / _count(weight, projection)
    moved = weight + eta * share
    task = share * _passes(weight, planes) * weight
    loss = strength * (planes * moved - forward(weight, projection)) * moved
    return (task + loss).sum(dim=(1, 2)).flatten()


def projection_loss(
    weight: Tensor, gradient: Tensor, projection: Tensor, *, strength: float = LAMBDA, eta: float = ETA
) -> Tensor:
    """``L_P = (λ/2) · Σ_j ‖Ĉ − Wt_j ∘ (C + η·δ_j)‖²``, a scalar ≥ 0 (equation 3.42); Ĉ and δ are constants of it."""
    target = forward(weight, projection).detach()
    share = gradient.detach() / _count(weight, projection)
    return 0.5 * strength * (target - _planes(weight, projection) * (weight + eta * share)).square().sum()


def _planes(weight: Tensor, projection: Tensor) -> Tensor:
    """(J · k · k,) → (J, 1, 1, k, k), to be multiplied with the weights."""
    return projection.view(-1, 1, 1, *weight.shape[2:])


def _count(weight: Tensor, projection: Tensor) -> int:
    return projection.numel() // weight[0, 0].numel()


def _passes(weight: Tensor, planes: Tensor) -> Tensor:
    """``1[|Wt_j ∘ C| ≤ 1]`` in the dtype of `weight`."""
    return ((planes * weight).abs() <= CLIP).to(weight.dtype)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, projection: Tensor) -> Tensor:
        ctx.save_for_backward(weight, projection)
        return forward(weight, projection)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        weight, projection = ctx.saved_tensors
        return pseudo_gradient(weight, gradient, projection), projection_gradient(weight, gradient, projection)


def binary_weight(weight: Tensor, projection: Tensor) -> Tensor:
    """`forward` in the forward pass, `pseudo_gradient` and `projection_gradient` in the backward pass."""
    result: Tensor = _Project.apply(weight, projection)  # type: ignore[no-untyped-call]
    return result


class PcnnConv2d(BinaryConv2d):
    """`BinaryConv2d` whose weights are projected; one scale for the layer.

    `projection` holds Wt_1 … Wt_J, shape (J · k · k,), and starts at 1. It has one dimension, so that weight decay,
    which would pull it to the point where the signs turn, leaves it alone (`bnas_face.train.recipe`).
    """

    training_only = ("projection",)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        activation_bits: int = 32,
        input_scale: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            groups=groups,
            dilation=dilation,
            activation_bits=activation_bits,
            per_filter=False,
            input_scale=input_scale,
        )
        self.projection = nn.Parameter(torch.ones(PROJECTIONS * kernel_size**2))

    def binary_weight(self) -> Tensor:
        """``Ĉ``, of the shape of `weight`."""
        return binary_weight(self.weight, self.projection)


class Pcnn:
    """Makes `PcnnConv2d`."""

    weight_bits = 1

    def __init__(self, config: ModelConfig) -> None:
        self.activation_bits = config.activation_bits
        self.input_scale = config.input_scale

    def convolution(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> PcnnConv2d:
        """A 1-bit convolution without bias, "same" padding."""
        return PcnnConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            groups=groups,
            dilation=dilation,
            activation_bits=self.activation_bits,
            input_scale=self.input_scale,
        )


def build(config: ModelConfig) -> Pcnn:
    """PCNN convolutions with the activation bits of `config`; its `weight_scale` is not used (always one per layer)."""
    return Pcnn(config)
