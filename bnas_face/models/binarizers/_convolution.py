"""The convolution that every binarizer with 1-bit weights makes; a binarizer overrides what it does differently."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.models.binarizers import _depthwise
from bnas_face.models.binarizers._base import binary_activation, same_padding


def convolve(layer: nn.Conv2d, values: Tensor, weight: Tensor) -> Tensor:
    """What `layer` ("same" padding, no bias) makes of `values` with `weight` in place of its own."""
    if _depthwise.applies(values, weight, layer.groups, layer.dilation[0]):
        return _depthwise.convolution(values, weight, layer.stride[0], layer.dilation[0])
    return F.conv2d(values, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


class BinaryConv2d(nn.Conv2d):
    """A convolution with 1-bit weights; `weight` holds the latent floats that training moves.

    With 1-bit activations the input's sign is taken first. Zero padding follows the sign, so a border position
    contributes 0, neither −1 nor +1: a packed engine has to correct the border.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, groups, dilation : int
        Padding is "same": ``dilation · (kernel_size // 2)``.
    activation_bits : int
        1 takes the sign of the input first; 32 leaves it.
    per_filter : bool
        One scale per output filter, else one for the layer.
    input_scale : bool
        Multiply the output by XNOR-Net's map K (1-bit activations only).

    Attributes
    ----------
    weight_bits : int
        1.
    training_only : tuple of str
        Names of parameters that shape the signs while training and that a packed file does not hold.
    float_weights : bool
        Compute with the latent weights as they are: the first stage of a training in two.
    """

    weight_bits = 1
    float_weights = False
    training_only: tuple[str, ...] = ()

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

    def binary_weight(self) -> Tensor:
        """Weights of two values, ± one scale per filter or layer, with their pseudo-gradient behind them."""
        raise NotImplementedError(f"{type(self).__name__} does not say how its weights become 1-bit")

    def activation(self, values: Tensor) -> Tensor:
        """The input's sign, used with 1-bit activations; any float dtype, values ±1."""
        return binary_activation(values)

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, ceil(h / stride), ceil(w / stride))."""
        bits = self.activation(values) if self.activation_bits == 1 else values
        result = convolve(self, bits, self.weight if self.float_weights else self.binary_weight())
        return result * self._input_magnitude(values) if self.input_scale else result

    def _input_magnitude(self, values: Tensor) -> Tensor:
        """XNOR-Net's K (equation 11): mean of \\|x\\| over the channels a filter sees and its window, as a constant.

        (batch_size, in_channels, h, w) → (batch_size, 1, h', w'), or (batch_size, out_channels, h', w') in groups.
        """
        batch_size, _, height, width = values.shape
        magnitude = values.detach().abs().reshape(batch_size * self.groups, -1, height, width).mean(dim=1, keepdim=True)
        box = torch.full_like(self.weight[:1, :1], 1 / self.weight[0, 0].numel(), requires_grad=False)
        window = F.conv2d(magnitude, box.to(magnitude.dtype), None, self.stride, self.padding, self.dilation)
        means = window.reshape(batch_size, self.groups, *window.shape[2:])
        return means if self.groups == 1 else means.repeat_interleave(self.out_channels // self.groups, dim=1)

    def extra_repr(self) -> str:
        """Torch's text and the bits."""
        text: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{text}, bits W1A{self.activation_bits}"
