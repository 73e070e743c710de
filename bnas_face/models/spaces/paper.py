"""Space of the BNAS papers, W1A32: 1-bit weights in every convolution of a cell, float activations, ReLU before them.

========================  ========================================================================================
``none``                  zeros
``skip_connect``          identity; with stride 2: ReLU → two 1×1 stride-2 bconvs on shifted inputs → concat → BN
``max_pool_3x3``          max pool → BN
``avg_pool_3x3``          average pool → BN
``dil_conv_3x3``, ``5x5``  ReLU → depthwise bconv of dilation 2 → 1×1 bconv → BN
``sep_conv_3x3``, ``5x5``  (ReLU → depthwise bconv → 1×1 bconv → BN) twice, the second with stride 1
preprocessing             ReLU → 1×1 bconv → BN; after a reduction cell ReLU → two shifted 1×1 stride-2 convolutions
                          in **full precision** → concat → BN
========================  ========================================================================================

All of it is read from the authors' released test code, the full-precision reduction after a reduction cell included.
Nothing of the space is taken from the papers' text alone.

References
----------
Chen et al., Binarized Neural Architecture Search, AAAI 2020 (arXiv 1911.10862); IJCV 2021 (arXiv 2009.04247).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.models.binarizers import none
from bnas_face.models.binarizers._base import Binarizer
from bnas_face.models.spaces._base import Begun, Norm, Zero, check_operation, pool

TITLE = "Depthwise separable and dilated 1-bit convolutions with float activations (the papers' W1A32 space)"
ACTIVATION_BITS = 32
DILATION = 2


class ShiftedReduce(nn.Module):
    """ReLU → two 1×1 stride-2 convolutions, the second one pixel further down and right → concat → BN.

    Known as factorised reduction: every second pixel of every second row is read by each half of the channels.
    An odd side is padded with one zero for the shifted half, so that both halves have ceil(h / 2) rows. The pixels are
    picked before the convolutions, which then have stride 1: the same sums, and torch 2.13 corrupts memory in the
    backward pass of a 1×1 convolution with stride 2 (few channels, channels last, two CPU threads).

    Parameters
    ----------
    binarizer : Binarizer
    n_in, n_out : int
    norm : Norm
    """

    def __init__(self, binarizer: Binarizer, n_in: int, n_out: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = binarizer.convolution(n_in, n_out - n_out // 2, 1)
        self.conv2 = binarizer.convolution(n_in, n_out // 2, 1) if n_out > 1 else None
        self.norm = norm(n_out)

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_in, h, w) → (batch_size, n_out, ceil(h / 2), ceil(w / 2))."""
        first, shifted = picked(values)
        parts = [self.conv1(F.relu(first))]
        if self.conv2 is not None:
            parts.append(self.conv2(F.relu(shifted)))
        result: Tensor = self.norm(torch.cat(parts, dim=1))
        return result


class _Picked(torch.autograd.Function):
    """Both halves of `picked`, with one tensor of zeros in the backward pass instead of four."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        height, width = values.shape[2:]
        ctx.sides = (height, width)
        first, shifted = values[:, :, ::2, ::2], values[:, :, 1::2, 1::2]
        if height % 2 or width % 2:
            shifted = F.pad(shifted, (0, width % 2, 0, height % 2))
        layout = torch.channels_last
        return first.clone(memory_format=layout), shifted.clone(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, of_first: Tensor, of_shifted: Tensor) -> Tensor:
        n, c = of_first.shape[:2]
        height, width = ctx.sides
        total = of_first.new_zeros((n, height, width, c)).permute(0, 3, 1, 2)
        total[:, :, ::2, ::2] = of_first
        total[:, :, 1::2, 1::2] = of_shifted[:, :, : height // 2, : width // 2]
        return total


def picked(values: Tensor) -> tuple[Tensor, Tensor]:
    """Every second pixel of every second row, from the first on and from the second on; zeros where there is none.

    (batch_size, n, h, w) → twice (batch_size, n, ceil(h / 2), ceil(w / 2)).
    """
    if torch.is_grad_enabled() and values.requires_grad:
        found: tuple[Tensor, Tensor] = _Picked.apply(values)  # type: ignore[no-untyped-call]
        return found
    height, width = values.shape[2:]
    return values[:, :, ::2, ::2], F.pad(values[:, :, 1::2, 1::2], (0, width % 2, 0, height % 2))


class Chain(nn.Sequential, Begun):
    """ReLU, or another `Chain`, and what follows."""

    BEGINNING = "relu"

    def begin(self, values: Tensor) -> Tensor:
        """ReLU."""
        return F.relu(values)

    def forward(self, input: Tensor, begun: Tensor | None = None) -> Tensor:
        """What the modules make of `input` one after the other; `begun` is ReLU(input), if known."""
        first, *others = self
        if begun is None:
            values: Tensor = first(input)
        else:
            values = first(input, begun) if isinstance(first, Begun) else begun
        for module in others:
            values = module(values)
        return values


def separable(
    binarizer: Binarizer,
    n_channels: int,
    kernel_size: int,
    *,
    stride: int,
    dilation: int,
    norm: Norm,
    in_place: bool = False,
) -> Chain:
    """ReLU → depthwise bconv → 1×1 bconv → BN; `in_place` overwrites the input, which nobody else may need."""
    return Chain(
        nn.ReLU(in_place),
        binarizer.convolution(n_channels, n_channels, kernel_size, stride=stride, groups=n_channels, dilation=dilation),
        binarizer.convolution(n_channels, n_channels, 1),
        norm(n_channels),
    )


def operation(name: str, n_channels: int, stride: int, binarizer: Binarizer, *, norm: Norm) -> nn.Module:
    """The module of one operation; shapes as in `_base`.

    Raises
    ------
    UnknownNameError
        If the space has no such operation.
    """
    check_operation("paper", name)
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else ShiftedReduce(binarizer, n_channels, n_channels, norm)
    if name.endswith("pool_3x3"):
        return pool(name, n_channels, stride, norm)
    kernel_size = int(name[-1])
    if name.startswith("dil_conv"):
        return separable(binarizer, n_channels, kernel_size, stride=stride, dilation=DILATION, norm=norm)
    return Chain(
        separable(binarizer, n_channels, kernel_size, stride=stride, dilation=1, norm=norm),
        separable(binarizer, n_channels, kernel_size, stride=1, dilation=1, norm=norm, in_place=True),
    )


def preprocess(n_in: int, n_out: int, binarizer: Binarizer, *, norm: Norm, after_reduction: bool) -> nn.Module:
    """ReLU → 1×1 bconv → BN, or after a reduction cell the full-precision `ShiftedReduce`."""
    if after_reduction:
        return ShiftedReduce(none.FullPrecision(), n_in, n_out, norm)
    return Chain(nn.ReLU(), binarizer.convolution(n_in, n_out, 1), norm(n_out))
