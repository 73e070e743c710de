"""XNOR: a weight is its sign times the mean magnitude of its filter (XNOR-Net) or of its layer (BNAS).

Forward:   ``Ŵ = a · sign(W)`` with ``a = mean|W|``, over each output filter or over the layer.
Backward:  ``∂L/∂W = a · g · 1[|W| ≤ 1] + g / n`` with ``g = ∂L/∂Ŵ`` and n the number of weights behind one a
(of the filter, or of the layer: ``numel``). The clip edge |W| = 1 lets the gradient pass.

The layer form is the one of the authors' released BNAS code; the filter form is XNOR-Net's. The second term keeps one
element of the product rule: the full derivative of a would couple all weights of a filter.

With 1-bit activations the input's sign is taken first: forward ``sign(x)``, backward ``g · max(0, 2 − 2·|x|)``, zero at
the clip edge |x| = 1 (`_base.binary_activation`). XNOR-Net's map ``K = mean_c|x| ∗ k`` rescales the output by the mean
magnitude of the inputs under the kernel; optional (`input_scale`).

References
----------
Rastegari et al., XNOR-Net, ECCV 2016 (arXiv 1603.05279), equations 6 (a), 11 (K) and section 3.1 (gradient).
Chen et al., Binarized Neural Architecture Search, AAAI 2020 (arXiv 1911.10862), released code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers._base import sign
from bnas_face.models.binarizers._convolution import BinaryConv2d

CLIP = 1.0


def scale_of(weight: Tensor, *, per_filter: bool) -> Tensor:
    """Mean magnitude ``a``: shape (out_channels, 1, 1, 1) per filter, (1, 1, 1, 1) per layer."""
    dims = tuple(range(1, weight.dim())) if per_filter else tuple(range(weight.dim()))
    return weight.abs().mean(dim=dims, keepdim=True)


def forward(weight: Tensor, *, per_filter: bool = True) -> Tensor:
    """``Ŵ = a · sign(W)``: latent weights, shape (out_channels, in_channels / groups, k, k) → the same shape."""
    return sign(weight) * scale_of(weight, per_filter=per_filter)


def pseudo_gradient(weight: Tensor, gradient: Tensor, *, per_filter: bool = True) -> Tensor:
    """``a · g · 1[|W| ≤ 1] + g / n``, n = weights per filter or per layer; all of the shape of `weight`."""
    count = weight[0].numel() if per_filter else weight.numel()
    passes = (weight.abs() <= CLIP).to(weight.dtype)
    return gradient * (passes * scale_of(weight, per_filter=per_filter) + 1.0 / count)


class _Binarize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, per_filter: bool) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.per_filter = per_filter
        return forward(weight, per_filter=per_filter)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return pseudo_gradient(weight, gradient, per_filter=ctx.per_filter), None


def binary_weight(weight: Tensor, *, per_filter: bool = True) -> Tensor:
    """`forward` in the forward pass, `pseudo_gradient` in the backward pass."""
    result: Tensor = _Binarize.apply(weight, per_filter)  # type: ignore[no-untyped-call]
    return result


class XnorConv2d(BinaryConv2d):
    """`BinaryConv2d` whose weights are ``a · sign(W)``."""

    def binary_weight(self) -> Tensor:
        """``Ŵ``, of the shape of `weight`."""
        return binary_weight(self.weight, per_filter=self.per_filter)


class Xnor:
    """Makes `XnorConv2d`."""

    weight_bits = 1

    def __init__(self, config: ModelConfig) -> None:
        self.activation_bits = config.activation_bits
        self.per_filter = config.weight_scale == "filter"
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
    ) -> XnorConv2d:
        """A 1-bit convolution without bias, "same" padding."""
        return XnorConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            groups=groups,
            dilation=dilation,
            activation_bits=self.activation_bits,
            per_filter=self.per_filter,
            input_scale=self.input_scale,
        )


def build(config: ModelConfig) -> Xnor:
    """XNOR convolutions with the activation bits and scales of `config`."""
    return Xnor(config)
