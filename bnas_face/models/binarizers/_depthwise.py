"""Depthwise convolutions whose backward pass takes oneDNN's fast kernels on the CPU.

In channels-last memory oneDNN has vectorised depthwise kernels for every forward pass, but for the backward pass only
without dilation, and for the gradient of the weights only up to three columns; everything else falls to a grouped
kernel that takes 4 to 14 times as long. The same sums, put so that the fast kernels do them:

- Stride 2 with dilation 2 reads every second pixel alone: pick those, then stride 1 without dilation.
- Gradient of the input at stride 1: a forward convolution of the output's gradient with the kernel turned by 180°.
- Gradient of dilated weights: seen as half the height, twice the width and pairs of pixels as channels, a dilation of 2
  is none; only zeros between the halves of a row have to be added. (Under autocast, too: from some 30 columns on,
  torch 2.13 gives dilated bf16 weights gradients that have nothing to do with the true ones.)
- Gradient of 5×5 weights: of the left three columns and of the right two, each from the input moved aside.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

FAST_COLUMNS = 3


def applies(values: Tensor, weight: Tensor, groups: int, dilation: int) -> bool:
    """Whether `convolution` pays: a depthwise convolution of more than one tap, trained on the CPU in one dtype.

    Under autocast only where torch's own gradient is wrong: with dilation.
    """
    is_one_dtype = dilation > 1 if torch.is_autocast_enabled("cpu") else values.dtype == weight.dtype
    return (
        torch.is_grad_enabled()
        and groups == values.shape[1] == weight.shape[0]
        and weight.shape[-1] > 1
        and values.device.type == "cpu"
        and is_one_dtype
    )


def convolution(values: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Depthwise convolution with "same" padding, as ``F.conv2d`` has it, autocast to bf16 included.

    Parameters
    ----------
    values : Tensor of shape (batch_size, n_channels, h, w)
    weight : Tensor of shape (n_channels, 1, k, k)
        k odd.
    stride, dilation : int

    Returns
    -------
    Tensor of shape (batch_size, n_channels, ceil(h / stride), ceil(w / stride))
        Channels last in memory.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        values, weight = values.to(dtype), weight.to(dtype)
    result: Tensor = _Depthwise.apply(_last(values), weight, stride, dilation)  # type: ignore[no-untyped-call]
    return result


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.all_sides = None
        if stride == dilation == 2:
            ctx.all_sides = values.shape[2:]
            values, stride, dilation = _last(values[:, :, ::2, ::2]), 1, 1
        ctx.save_for_backward(values, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return _forward(values, weight, stride, dilation)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        values, weight = ctx.saved_tensors
        gradient = _last(gradient)
        of_values = of_weight = None
        if ctx.needs_input_grad[0]:
            of_values = _input_gradient(values, weight, gradient, ctx.stride, ctx.dilation)
            if ctx.all_sides:
                of_values = _spread(of_values, *ctx.all_sides)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(values, gradient, weight.shape[-1], ctx.stride, ctx.dilation)
        return of_values, of_weight, None, None


def _last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _spread(values: Tensor, height: int, width: int) -> Tensor:
    """`values` on every second pixel of every second row, zeros elsewhere."""
    n, c = values.shape[:2]
    spread = values.new_zeros((n, height, width, c)).permute(0, 3, 1, 2)
    spread[:, :, ::2, ::2] = values
    return spread


def _forward(values: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(values, weight, None, stride, padding, dilation, weight.shape[0])


def _input_gradient(values: Tensor, weight: Tensor, gradient: Tensor, stride: int, dilation: int) -> Tensor:
    if stride == 1:
        return _forward(gradient, weight.flip(2, 3), 1, dilation)
    padding = dilation * (weight.shape[-1] // 2)
    return _backward(gradient, values, weight, stride, (padding, padding), dilation, of_input=True)


def weight_gradient(values: Tensor, gradient: Tensor, kernel_size: int, stride: int, dilation: int) -> Tensor:
    """Gradient of a depthwise convolution's weights, of shape (n_channels, 1, k, k).

    Parameters
    ----------
    values : Tensor of shape (batch_size, n_channels, h, w)
        Its input.
    gradient : Tensor of shape (batch_size, n_channels, ceil(h / stride), ceil(w / stride))
        The gradient of its output.
    kernel_size, stride, dilation : int
    """
    n_channels, half = values.shape[1], kernel_size // 2
    if dilation == 2 and stride == 1:
        pairs = weight_gradient(_folded(values, half), _folded(gradient, half), kernel_size, 1, 1)
        return pairs[:n_channels] + pairs[n_channels:]
    if kernel_size <= FAST_COLUMNS or kernel_size > 2 * FAST_COLUMNS or dilation > 1:
        return _columns(
            values, gradient, kernel_size, kernel_size, stride, (dilation * half, dilation * half), dilation
        )
    left = _columns(
        F.pad(values, (half, half - FAST_COLUMNS + 1)), gradient, kernel_size, FAST_COLUMNS, stride, (half, 0)
    )
    n_right = kernel_size - FAST_COLUMNS
    right = _columns(F.pad(values, (half - FAST_COLUMNS, half)), gradient, kernel_size, n_right, stride, (half, 0))
    return torch.cat([left, right], dim=3)


def _folded(values: Tensor, half: int) -> Tensor:
    """(n, c, h, w) → (n, 2·c, ⌈h/2⌉, 2·(⌈w/2⌉ + half)): rows in twos side by side, columns in twos as channels.

    Below as many rows as the kernel has oneDNN is slow again; zeros fill them up.
    """
    height, width = values.shape[2:]
    rows = max(height + height % 2, 2 * (2 * half + 1))
    padded = F.pad(values, (0, 2 * half + width % 2, 0, rows - height)).permute(0, 2, 3, 1)
    n, height, width, c = padded.shape
    return padded.reshape(n, height // 2, width, 2 * c).permute(0, 3, 1, 2)


def _columns(
    values: Tensor,
    gradient: Tensor,
    n_rows: int,
    n_columns: int,
    stride: int,
    padding: tuple[int, int],
    dilation: int = 1,
) -> Tensor:
    weight = values.new_empty((values.shape[1], 1, n_rows, n_columns))
    return _backward(gradient, values, weight, stride, padding, dilation, of_input=False)


def _backward(
    gradient: Tensor,
    values: Tensor,
    weight: Tensor,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    *,
    of_input: bool,
) -> Tensor:
    """One of the two gradients of ``F.conv2d`` by torch's own backward pass."""
    of_values, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        values,
        weight,
        None,
        [stride, stride],
        list(padding),
        [dilation, dilation],
        False,
        [0, 0],
        values.shape[1],
        [of_input, not of_input, False],
    )
    return cast(Tensor, of_values if of_input else of_weight)
