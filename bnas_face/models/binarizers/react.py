"""ReAct: xnor weights, and inputs whose sign is taken after a learned shift of every channel (W1A1 only).

Input, forward:   ``RSign(x) = sign(x − b_c)``; sign(0) = +1, so x = b_c gives +1 (the paper's equation gives −1 there).
Input, backward:  ``∂L/∂x = g · max(0, 2 − 2·|x − b_c|)`` (zero at the clip edge |x − b_c| = 1) and
                  ``∂L/∂b_c = −Σ ∂L/∂x`` over images and positions of channel c.
Weights: forward ``Ŵ = a · sign(W)``, backward ``a · g · 1[|W| ≤ 1] + g / n``, see `xnor`.

What "react" means here: the sign's shift b_c (starts at 0), one float per input channel, is part of the convolution.
The other half of ReActNet, RPReLU (shift, PReLU, shift), is an activation and belongs to a network: search space
``onebit`` has it. In the fixed backbones ``iresnet18`` and ``mobilefacenet`` the activation stays the PReLU that the
full-precision twin has, and an affine batch norm stands directly before each sign, whose bias already is a learned
threshold: there b_c adds freedom to the optimizer, none to the network.

References
----------
Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), section 4.2 (RSign). The polynomial gradient is Bi-Real Net's, as in
ReActNet's released code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError
from bnas_face.models.binarizers._base import binary_activation, sign, sign_pseudo_gradient
from bnas_face.models.binarizers.xnor import Xnor, XnorConv2d, forward, pseudo_gradient

__all__ = [
    "React",
    "ReactConv2d",
    "activation",
    "activation_gradients",
    "build",
    "forward",
    "pseudo_gradient",
]


def activation(values: Tensor, shift: Tensor) -> Tensor:
    """``sign(x − b_c)``: (batch_size, n_channels, h, w) and (n_channels,) → ±1 of the shape of `values`."""
    return sign(values - _over_positions(shift, values))


def activation_gradients(values: Tensor, gradient: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """``∂L/∂x`` (of the shape of `values`) and ``∂L/∂b`` (n_channels,), from ``gradient = ∂L/∂RSign(x)``."""
    of_values = sign_pseudo_gradient(values - _over_positions(shift, values), gradient)
    return of_values, -of_values.sum(dim=(0, 2, 3))


def _over_positions(shift: Tensor, values: Tensor) -> Tensor:
    """(n_channels,) → (1, n_channels, 1, 1) in the dtype of `values`, so that bf16 inputs stay bf16."""
    return shift.to(values.dtype)[None, :, None, None]


class ReactConv2d(XnorConv2d):
    """`XnorConv2d` (W1A1) with RSign before it; `shift` holds b, shape (in_channels,), and starts at 0.

    `shift` has one dimension, so that weight decay leaves it alone (`bnas_face.train.recipe`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        per_filter: bool = True,
        input_scale: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            groups=groups,
            dilation=dilation,
            activation_bits=1,
            per_filter=per_filter,
            input_scale=input_scale,
        )
        self.shift = nn.Parameter(torch.zeros(in_channels))

    def activation(self, values: Tensor) -> Tensor:
        """`activation` forward; backward autograd's chain through ``x − b_c`` gives `activation_gradients`."""
        return binary_activation(values - _over_positions(self.shift, values))


class React(Xnor):
    """Makes `ReactConv2d`."""

    def convolution(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> ReactConv2d:
        """A W1A1 convolution without bias, "same" padding, that shifts its input and takes the sign."""
        return ReactConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            groups=groups,
            dilation=dilation,
            per_filter=self.per_filter,
            input_scale=self.input_scale,
        )


def build(config: ModelConfig) -> React:
    """ReAct convolutions with the scales of `config`.

    Raises
    ------
    ConfigError
        If the activations are not 1-bit: without a sign there is nothing to shift.
    """
    if config.activation_bits != 1:
        raise ConfigError(
            f"Binarizer 'react' needs 1-bit activations, and activation bits are {config.activation_bits}. "
            "Add --activation-bits 1, or choose --binarizer xnor."
        )
    return React(config)
