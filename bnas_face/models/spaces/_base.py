"""The contract of a search space, and the pieces without weights that every space has.

A module of this folder has the name of a key of `bnas_face.genotype.OPERATIONS` and defines

``TITLE : str``
    One line for people.
``ACTIVATION_BITS : int``
    32 or 1: for which inputs of the convolutions the space is made. Its full-precision twin has 32 in either space.
``operation(name, n_channels, stride, binarizer, *, norm) -> nn.Module``
    (batch_size, n_channels, h, w) → (batch_size, n_channels, ceil(h / stride), ceil(w / stride)); stride 1 or 2.
``preprocess(n_in, n_out, binarizer, *, norm, after_reduction) -> nn.Module``
    Brings an input of a cell to the cell's width: (batch_size, n_in, h, w) → (batch_size, n_out, h, w), or of half the
    side (rounded up) with `after_reduction`, when the other input comes out of a reduction cell.

`norm` makes the batch normalisations: a callable n_channels → nn.Module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face import tables
from bnas_face.genotype import OPERATIONS
from bnas_face.models.binarizers._base import Binarizer

Norm = Callable[[int], nn.Module]


class Space(Protocol):
    """What a module of this folder defines."""

    TITLE: str
    ACTIVATION_BITS: int

    def operation(self, name: str, n_channels: int, stride: int, binarizer: Binarizer, *, norm: Norm) -> nn.Module: ...
    def preprocess(
        self, n_in: int, n_out: int, binarizer: Binarizer, *, norm: Norm, after_reduction: bool
    ) -> nn.Module: ...


def check_operation(space: str, name: str) -> None:
    """Raise `UnknownNameError` with a suggestion unless `name` is an operation of `space`."""
    tables.check_known(f"operation of space '{space}'", name, OPERATIONS[space])


class Begun(nn.Module):
    """A module whose first step several modules that read the same values may share: ``forward(values, begun=None)``.

    In the search network, where batch normalisations have neither parameters nor memory, the first step is the same in
    all modules of one `BEGINNING`; who has made it already gives it as `begun`.
    """

    BEGINNING = ""

    def begin(self, values: Tensor) -> Tensor:
        """The first step."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it begins")


class Zero(nn.Module):
    """``none``: zeros of the shape the operation would have."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, h, w) → zeros (batch_size, n_channels, ceil(h / stride), ceil(w / stride))."""
        batch_size, n_channels, height, width = values.shape
        side = [-(-length // self.stride) for length in (height, width)]
        return values.new_zeros((batch_size, n_channels, *side))


class AveragePool(nn.Module):
    """2×2 average of stride 2; a row or column left over is averaged alone (ceil(h / 2))."""

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, h, w) → (batch_size, n_channels, ceil(h / 2), ceil(w / 2))."""
        return F.avg_pool2d(values, 2, 2, ceil_mode=True)


def pool(name: str, n_channels: int, stride: int, norm: Norm) -> nn.Module:
    """``max_pool_3x3`` or ``avg_pool_3x3`` → BN; the average leaves padding out of its count."""
    pooling: nn.Module
    if name == "max_pool_3x3":
        pooling = nn.MaxPool2d(3, stride, padding=1)
    else:
        pooling = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    return nn.Sequential(pooling, norm(n_channels))
