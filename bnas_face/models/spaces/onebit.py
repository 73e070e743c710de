"""Space for W1A1: dense 1-bit convolutions, each within a real-valued shortcut; no ReLU ever comes before a sign.

========================  ========================================================================================
``none``                  zeros
``skip_connect``          identity; with stride 2: 2×2 average → 1×1 block
``max_pool_3x3``          max pool → BN
``avg_pool_3x3``          average pool → BN
``conv_3x3``, ``5x5``      block
``dil_conv_3x3``, ``5x5``  block of dilation 2
preprocessing             1×1 block; after a reduction cell 2×2 average → 1×1 block
========================  ========================================================================================

A block is BN → sign (the binarizer's convolution takes it) → bconv → BN → + shortcut → RPReLU. The shortcut has no
parameters and carries the real values before the sign, after the first BN: nodes add blocks, so that values of an
unnormalised shortcut grow with every cell (to 500 after 8 cells) until what the convolutions add is lost. It averages
2×2 where the block strides, and averages or repeats channels where the width changes. 3×3 kernels are
dense; 5×5 kernels work in groups of at least 32 channels, so that their cost stays near the dense 3×3's. There is no
depthwise convolution: nine bits per output leave a popcount nothing to do.

This space is ours, after EBNAS and ReActNet; it is not the papers'. Differences from the papers' space beside the
blocks: both preprocessings are 1-bit, and stride 2 averages instead of skipping pixels.

References
----------
Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488): RPReLU, shortcuts around every convolution.
Shi et al., EBNAS: Efficient binary network design for image classification via neural architecture search, 2023.
"""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.models.backbones._blocks import RPReLU, shortcut
from bnas_face.models.binarizers._base import Binarizer
from bnas_face.models.spaces._base import AveragePool, Begun, Norm, Zero, check_operation, pool

TITLE = "Dense 1-bit convolutions of 1-bit inputs within real-valued shortcuts (W1A1)"
ACTIVATION_BITS = 1
DILATION = 2
GROUP_CHANNELS = 32


class Block(Begun):
    """n = BN(x); RPReLU(BN(bconv(n)) + shortcut(n)), bconv taking the sign of n itself.

    Parameters
    ----------
    binarizer : Binarizer
    n_in, n_out : int
    kernel_size, stride, dilation : int
    norm : Norm
    """

    BEGINNING = "norm"

    def __init__(
        self,
        binarizer: Binarizer,
        n_in: int,
        n_out: int,
        kernel_size: int,
        *,
        norm: Norm,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.norm_in = norm(n_in)
        groups = n_groups(n_in) if kernel_size > 3 and n_in == n_out else 1
        self.conv = binarizer.convolution(n_in, n_out, kernel_size, stride=stride, groups=groups, dilation=dilation)
        self.norm_out = norm(n_out)
        self.activation = RPReLU(n_out)
        self.n_out, self.stride = n_out, stride

    def begin(self, values: Tensor) -> Tensor:
        """The first BN."""
        result: Tensor = self.norm_in(values)
        return result

    def forward(self, values: Tensor, begun: Tensor | None = None) -> Tensor:
        """(batch_size, n_in, h, w) → (batch_size, n_out, ceil(h / stride), ceil(w / stride)); `begun` is BN(values)."""
        values = self.begin(values) if begun is None else begun
        inner = self.norm_out(self.conv(values))
        result: Tensor = self.activation(inner + shortcut(values, self.n_out, self.stride))
        return result


def n_groups(n_channels: int) -> int:
    """Most groups of equal size with at least `GROUP_CHANNELS` channels each; 1 below twice as many channels."""
    return next(n for n in range(max(1, n_channels // GROUP_CHANNELS), 0, -1) if n_channels % n == 0)


def operation(name: str, n_channels: int, stride: int, binarizer: Binarizer, *, norm: Norm) -> nn.Module:
    """The module of one operation; shapes as in `_base`.

    Raises
    ------
    UnknownNameError
        If the space has no such operation.
    """
    check_operation("onebit", name)
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else _pointwise(binarizer, n_channels, n_channels, norm, halve=True)
    if name.endswith("pool_3x3"):
        return pool(name, n_channels, stride, norm)
    dilation = DILATION if name.startswith("dil_conv") else 1
    return Block(binarizer, n_channels, n_channels, int(name[-1]), norm=norm, stride=stride, dilation=dilation)


def preprocess(n_in: int, n_out: int, binarizer: Binarizer, *, norm: Norm, after_reduction: bool) -> nn.Module:
    """A 1×1 block, after a reduction cell of 2×2 averages."""
    return _pointwise(binarizer, n_in, n_out, norm, halve=after_reduction)


def _pointwise(binarizer: Binarizer, n_in: int, n_out: int, norm: Norm, *, halve: bool) -> nn.Module:
    block = Block(binarizer, n_in, n_out, 1, norm=norm)
    return nn.Sequential(AveragePool(), block) if halve else block
