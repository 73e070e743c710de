"""Macro structure of searched networks, shared by the search network and by the networks derived from a genotype.

Stem, then a chain of cells, then a head. Cell k reads the outputs of cells k−1 and k−2, brings both to its own width
with the space's preprocessing, and puts out 4·C channels, C being its width. Reduction cells double C and halve the
side. Classification has two reductions, at one and two thirds of the depth (DARTS, BNAS); faces have three, at the
quarters of the depth (ours: 112 px → 56 after the stem → 7 after the last reduction; 64 px → 32 → 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bnas_face.genotype import N_NODES
from bnas_face.models.spaces._base import Norm

STEM_MULTIPLIER = 3
SMALL_PX = 40  # up to here (CIFAR) the stem keeps the side
LARGE_PX = 160  # from here on (ImageNet) the stem of classification divides it by eight


def reduction_positions(n_cells: int, n_reductions: int) -> tuple[int, ...]:
    """Indices of the reduction cells: the depth cut into `n_reductions` + 1 equal parts.

    Two reductions of 20 cells: (6, 13); three of 8: (2, 4, 6).
    """
    return tuple(n_cells * number // (n_reductions + 1) for number in range(1, n_reductions + 1))


def n_reductions(task: str) -> int:
    """2 for ``"classification"``, 3 for ``"embedding"``."""
    return 2 if task == "classification" else 3


class Stem(nn.Module):
    """Float convolutions before the first cell, giving it both of its inputs.

    Attributes
    ----------
    channels : tuple of int
        Of the two outputs.
    halves : bool
        The second output has half the side of the first: the first cell comes "after a reduction".
    stride : int
        Side of the image over side of the second output.
    """

    def __init__(self, first: nn.Module, second: nn.Module | None, channels: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.channels, self.stride = channels, stride
        self.halves = second is not None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch_size, 3, size_px, size_px) → inputs of the first cell: (of "cell −2", of "cell −1")."""
        before = self.first(images)
        return before, (before if self.second is None else self.second(before))


def stem(task: str, size_px: int, channels: int, norm: Norm) -> Stem:
    """The float convolutions before the first cell.

    Parameters
    ----------
    task : str
        ``"classification"`` or ``"embedding"``.
    size_px : int
        Up to 40 px: 3×3 convolution to 3·C → BN, side kept (CIFAR). More: the same with stride 2 (faces). From 160 px
        on and for classification the three stride-2 convolutions of DARTS for ImageNet, to C channels, of which the
        first cell reads the second's and the third's output.
    channels : int
        C.
    norm : Norm
        n_channels → batch normalisation.
    """
    if task == "classification" and size_px >= LARGE_PX:
        half = max(1, channels // 2)
        first = nn.Sequential(
            _conv(3, half, stride=2), norm(half), nn.ReLU(), _conv(half, channels, stride=2), norm(channels)
        )
        second = nn.Sequential(nn.ReLU(), _conv(channels, channels, stride=2), norm(channels))
        return Stem(first, second, (channels, channels), stride=8)
    wide = STEM_MULTIPLIER * channels
    stride = 1 if size_px <= SMALL_PX else 2
    return Stem(nn.Sequential(_conv(3, wide, stride=stride), norm(wide)), None, (wide, wide), stride)


def _conv(n_in: int, n_out: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False)


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """Where a cell stands in the chain.

    Attributes
    ----------
    n_before, n_previous : int
        Channels of the outputs of cells k−2 and k−1.
    n_channels : int
        Its own width C; it puts out 4·C.
    is_reduction : bool
        Whether edges leaving the two inputs have stride 2.
    after_reduction : bool
        Whether cell k−2's output has twice the side of cell k−1's.
    """

    n_before: int
    n_previous: int
    n_channels: int
    is_reduction: bool
    after_reduction: bool

    @property
    def kind(self) -> str:
        """``"reduction"`` or ``"normal"``: the cell of the genotype."""
        return "reduction" if self.is_reduction else "normal"

    @property
    def n_out(self) -> int:
        """Channels of its output."""
        return N_NODES * self.n_channels


def plan(task: str, n_cells: int, channels: int, stem: Stem) -> list[CellPlan]:
    """All cells of a network, from the first to the last."""
    reductions = reduction_positions(n_cells, n_reductions(task))
    (n_before, n_previous), halved = stem.channels, stem.halves
    plans: list[CellPlan] = []
    for number in range(n_cells):
        is_reduction = number in reductions
        channels *= 2 if is_reduction else 1
        cell = CellPlan(
            n_before=n_before,
            n_previous=n_previous,
            n_channels=channels,
            is_reduction=is_reduction,
            after_reduction=halved,
        )
        plans.append(cell)
        n_before, n_previous, halved = n_previous, cell.n_out, is_reduction
    return plans


def final_side(task: str, size_px: int, stem: Stem) -> int:
    """Height and width of the last cell's output."""
    return -(-size_px // (stem.stride << n_reductions(task)))
