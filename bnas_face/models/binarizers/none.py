"""No binarization: the full-precision twin, the same network with float convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers._base import same_padding


def forward(weight: Tensor) -> Tensor:
    """The identity."""
    return weight


def pseudo_gradient(weight: Tensor, gradient: Tensor) -> Tensor:
    """The identity's own derivative: `gradient` unchanged."""
    return gradient


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
        """`nn.Conv2d` without bias, "same" padding."""
        return nn.Conv2d(
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
