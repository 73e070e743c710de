"""No binarization: the full-precision twin, the same network with float convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers._base import same_padding
from bnas_face.models.binarizers._convolution import convolve


def forward(weight: Tensor) -> Tensor:
    """The identity."""
    return weight


def pseudo_gradient(weight: Tensor, gradient: Tensor) -> Tensor:
    """The identity's own derivative: `gradient` unchanged."""
    return gradient


class FloatConv2d(nn.Conv2d):
    """`nn.Conv2d` without bias and with "same" padding, trained as fast as a 1-bit one."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, ceil(h / stride), ceil(w / stride))."""
        return convolve(self, input, self.weight)


class FullPrecision:
    """Ordinary float convolutions."""

    weight_bits = 32
    activation_bits = 32

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
        """`FloatConv2d`: "same" padding, no bias."""
        return FloatConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=same_padding(kernel_size, dilation),
            dilation=dilation,
            groups=groups,
            bias=False,
        )


def build(config: ModelConfig) -> FullPrecision:
    """The full-precision twin's convolutions; nothing in `config` changes them."""
    return FullPrecision()
