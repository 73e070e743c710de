"""Bilinear look-ups plane by plane: flat gathers are several times faster than `grid_sample` on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lookup:
    """Where each pixel reads a grid: made once, used for many planes.

    Attributes
    ----------
    corners : four int64 tensors (batch · height · width,); the grid points around each pixel
    right, down : float32 (batch · height · width,); share of the right and of the lower neighbours
    shape : (batch, height, width)
    """

    corners: tuple[Tensor, Tensor, Tensor, Tensor]
    right: Tensor
    down: Tensor
    shape: torch.Size

    def __call__(self, plane: Tensor) -> Tensor:
        """Sample a plane.

        Parameters
        ----------
        plane : float32 (n,)
            Flat storage in which the grids lie; may begin anywhere in a larger storage.

        Returns
        -------
        Tensor of float32, shape (batch, height, width)
        """
        a, b, c, d = (plane.index_select(0, corner) for corner in self.corners)
        a.lerp_(b, self.right)
        c.lerp_(d, self.right)
        return a.lerp_(c, self.down).view(self.shape)


def lookup(base: Tensor, row: Tensor, column: Tensor, n_rows: int, n_columns: int) -> Lookup:
    """Prepare to sample at continuous positions.

    Parameters
    ----------
    base : int64, broadcastable to (batch, height, width)
        Where the grid of each pixel begins in the flat storage.
    row, column : float32 (batch, height, width)
        Position, clamped to the grid.
    n_rows, n_columns : int
        Size of each grid.
    """
    row, column = row.clamp(0, n_rows - 1.001), column.clamp(0, n_columns - 1.001)
    top, left = row.to(torch.int64), column.to(torch.int64)
    first = (base + top * n_columns + left).view(-1)
    corners = (first, first + 1, first + n_columns, first + (n_columns + 1))
    return Lookup(corners, (column - left).view(-1), (row - top).view(-1), row.shape)
