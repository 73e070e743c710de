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
    nearest : int64 (batch · height · width,)
    right, down : float32 (batch · height · width,); share of the right and of the lower neighbours
    shape : (batch, height, width)
    """

    corners: tuple[Tensor, Tensor, Tensor, Tensor]
    nearest: Tensor
    right: Tensor
    down: Tensor
    shape: torch.Size

    def __call__(self, plane: Tensor, *, smooth: bool = True) -> Tensor:
        """Sample a plane.

        Parameters
        ----------
        plane : float32 (n,)
            Flat storage in which the grids lie; may begin anywhere in a larger storage.
        smooth : bool
            Bilinear; False reads the nearest point, which is enough for planes without edges.

        Returns
        -------
        Tensor of float32, shape (batch, height, width)
        """
        if not smooth:
            return plane.index_select(0, self.nearest).view(self.shape)
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
    nearest = (base + (row + 0.5).to(torch.int64) * n_columns + (column + 0.5).to(torch.int64)).view(-1)
    return Lookup(corners, nearest, (column - left).view(-1), (row - top).view(-1), row.shape)
