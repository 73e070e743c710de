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
    first : int32 (batch · height · width,); the grid point to the upper left of each pixel
    n_columns : int; from a grid point to the one below
    right, down : float32 (batch · height · width,); share of the right and of the lower neighbours
    shape : (batch, height, width)
    """

    first: Tensor
    n_columns: int
    right: Tensor
    down: Tensor
    shape: torch.Size

    def __call__(self, plane: Tensor) -> Tensor:
        """Sample a plane.

        Parameters
        ----------
        plane : float32 (n,)
            Flat storage in which the grids lie.

        Returns
        -------
        Tensor of float32, shape (batch, height, width)
        """
        below = self.n_columns
        a, b, c, d = (plane[start:].index_select(0, self.first) for start in (0, 1, below, below + 1))
        a.lerp_(b, self.right)
        c.lerp_(d, self.right)
        return a.lerp_(c, self.down).view(self.shape)


def lookup(row: Tensor, column: Tensor, n_rows: int, n_columns: int) -> Lookup:
    """Prepare to sample a batch of grids, which lie one after the other, at continuous positions.

    Parameters
    ----------
    row, column : float32 (batch, height, width)
        Position, clamped to the grid.
    n_rows, n_columns : int
        Size of each grid; all together have at most 2²⁴ points, so that their numbers are exact in float32.
    """
    row, column = row.clamp(0, n_rows - 1.001), column.clamp(0, n_columns - 1.001)
    top, left = row.floor(), column.floor()
    grid = torch.arange(len(row), device=row.device, dtype=row.dtype)[:, None, None] * (n_rows * n_columns)
    first = (top * n_columns).add_(left).add_(grid).to(torch.int32)
    return Lookup(first.view(-1), n_columns, column.sub_(left).view(-1), row.sub_(top).view(-1), row.shape)
