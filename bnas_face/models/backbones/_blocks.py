"""Pieces that several backbones share: channel counts, parameter-free shortcuts, RPReLU, initial weights."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face.errors import ConfigError
from bnas_face.models.binarizers._base import Binarizer

BATCH_NORM_EPS = 1e-5


def channels(base: int, width: float) -> int:
    """`base` times `width`, rounded to a multiple of 8, at least 8."""
    return max(8, round(base * width / 8) * 8)


def batch_norm(n_channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with the eps of ArcFace's IResNet."""
    return nn.BatchNorm2d(n_channels, eps=BATCH_NORM_EPS)


def shortcut(values: Tensor, out_channels: int, stride: int) -> Tensor:
    """A parameter-free, real-valued way around a convolution.

    Average pooling where the convolution strides; channels are repeated where it widens, and averaged over groups
    where it narrows. Where neither count divides the other, channels are repeated up to the least common multiple and
    then averaged.

    Parameters
    ----------
    values : Tensor of shape (batch_size, in_channels, h, w)
    out_channels : int
    stride : int

    Returns
    -------
    Tensor of shape (batch_size, out_channels, ceil(h / stride), ceil(w / stride))
    """
    if stride > 1:
        values = F.avg_pool2d(values, stride, stride, ceil_mode=True)
    batch_size, in_channels, height, width = values.shape
    common = math.lcm(in_channels, out_channels)
    if common > in_channels:
        values = torch.cat([values] * (common // in_channels), dim=1)
    if common > out_channels:
        return values.reshape(batch_size, -1, out_channels, height, width).mean(dim=1)
    return values


class _RPReLU(torch.autograd.Function):
    """With z = x + before: ``z + (slope − 1)·min(z, 0) + after``, in few passes over memory."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, before: Tensor, slope: Tensor, after: Tensor) -> Tensor:
        shifted = values + before
        ctx.save_for_backward(shifted, slope)
        return torch.addcmul(shifted, shifted.clamp(max=0), slope - 1).add_(after)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shifted, slope = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradient, shifted, 0)  # torch.where takes 30 times as long
        of_values = torch.addcmul(gradient * slope, positive, 1 - slope)
        of_after = gradient.sum((0, 2, 3))[:, None, None]
        of_before = slope * of_after + (1 - slope) * positive.sum((0, 2, 3))[:, None, None]
        of_slope = shifted.clamp(max=0).mul_(gradient).sum((0, 2, 3))[:, None, None]
        return of_values, of_before, of_slope, of_after


class RPReLU(nn.Module):
    """Per channel: shift, PReLU, shift: ``PReLU(x − γ) + ζ``; starts as PReLU of slope 0.25.

    `before` holds −γ. A learned shift of the activation's corner and of its output lets a 1-bit network move its
    distributions without a float convolution.

    References
    ----------
    Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), equation 3.
    """

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(n_channels))
        self.slope = nn.Parameter(torch.full((n_channels,), 0.25))
        self.after = nn.Parameter(torch.zeros(n_channels))

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, h, w) → the same shape and dtype."""
        parts = (part.to(values.dtype)[:, None, None] for part in (self.before, self.slope, self.after))
        result: Tensor = _RPReLU.apply(values, *parts)  # type: ignore[no-untyped-call]
        return result


class ShortcutConvolution(nn.Module):
    """BN → convolution → BN → + shortcut → PReLU: the unit in which a 1-bit convolution's gradient stays alive.

    With 1-bit activations the first BN's bias is the learned threshold of the sign, and the shortcut carries real
    values past it (Bi-Real Net). With a float convolution the same unit is the full-precision twin's.

    Parameters
    ----------
    binarizer : Binarizer
    in_channels, out_channels : int
        One divides the other.
    kernel_size, stride, groups : int
    activate : bool
        False leaves out the PReLU (linear bottlenecks).
    """

    def __init__(
        self,
        binarizer: Binarizer,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        if max(in_channels, out_channels) % min(in_channels, out_channels):
            raise ConfigError(
                f"A shortcut cannot join {in_channels} to {out_channels} channels: one must divide the other."
            )
        self.norm_in = batch_norm(in_channels)
        self.conv = binarizer.convolution(in_channels, out_channels, kernel_size, stride=stride, groups=groups)
        self.norm_out = batch_norm(out_channels)
        self.activation = nn.PReLU(out_channels) if activate else nn.Identity()
        self.out_channels = out_channels
        self.stride = stride

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, ceil(h / stride), ceil(w / stride))."""
        inner = self.norm_out(self.conv(self.norm_in(values)))
        result: Tensor = self.activation(inner + shortcut(values, self.out_channels, self.stride))
        return result


def initialise(module: nn.Module) -> None:
    """ArcFace's initial weights: convolutions N(0, 0.1²), batch norms 1 and 0; the linear layer keeps torch's.

    Binary and float convolutions start alike, so that a network and its twin differ in their bits alone.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, 0.1)
        elif isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d) and part.affine:
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
