"""XNOR: a weight is its sign times the mean magnitude of its filter (XNOR-Net) or of its layer (BNAS).

Forward:   ``Ŵ = a · sign(W)`` with ``a = mean|W|``, over each output filter or over the layer.
Backward:  ``∂L/∂W = a · g · 1[|W| ≤ 1] + g / n`` with ``g = ∂L/∂Ŵ`` and n the number of weights behind one a
(of the filter, or of the layer: ``numel``). The clip edge |W| = 1 lets the gradient pass.

The layer form is the one of the authors' released BNAS code; the filter form is XNOR-Net's. The second term keeps one
element of the product rule: the full derivative of a would couple all weights of a filter.

With 1-bit activations the input's sign is taken first (`_base.binary_activation`). Zero padding follows the sign, so a
border position contributes 0, neither −1 nor +1: a packed engine has to correct the border.
XNOR-Net's map K rescales the output by the mean magnitude of the inputs under the kernel; optional (`input_scale`).

References
----------
Rastegari et al., XNOR-Net, ECCV 2016 (arXiv 1603.05279), equations 6 (a), 11 (K) and section 3.1 (gradient).
Chen et al., Binarized Neural Architecture Search, AAAI 2020 (arXiv 1911.10862), released code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers._base import binary_activation, same_padding, sign

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


class XnorConv2d(nn.Conv2d):
    """A convolution with 1-bit weights; `weight` holds the latent floats that training moves.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, groups, dilation : int
    activation_bits : int
        1 takes the sign of the input first; 32 leaves it.
    per_filter : bool
        One scale per output filter, else one for the layer.
    input_scale : bool
        Multiply the output by XNOR-Net's map K (1-bit activations only).
    """

    weight_bits = 1

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
        per_filter: bool = True,
        input_scale: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=same_padding(kernel_size, dilation),
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        self.activation_bits = activation_bits
        self.per_filter = per_filter
        self.input_scale = input_scale

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, h / stride, w / stride)."""
        weight = binary_weight(self.weight, per_filter=self.per_filter)
        bits = binary_activation(values) if self.activation_bits == 1 else values
        result: Tensor = self._conv_forward(bits, weight, None)
        return result * self._input_magnitude(values) if self.input_scale else result

    def _input_magnitude(self, values: Tensor) -> Tensor:
        """K = (mean over channels of |x|) ∗ box filter (XNOR-Net equation 11), one number per output position."""
        magnitude = values.detach().abs().mean(dim=1, keepdim=True)
        size, stride, padding = (int(pair[0]) for pair in (self.kernel_size, self.stride, self.padding))
        return F.avg_pool2d(magnitude, size, stride, padding)

    def extra_repr(self) -> str:
        """Torch's text and the bits."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, bits W1A{self.activation_bits}"


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
    ) -> nn.Conv2d:
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
