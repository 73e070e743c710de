"""The morphable head as tensors: template and modes of both sheets, ready for one matrix product per batch."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import modes, surface

LANDMARKS_MM = ((-31.5, 1.0), (31.5, 1.0), (0.0, 39.0), (-26.0, 72.0), (26.0, 72.0))
"""Eye centres, tip of the nose, corners of the mouth: (x, y) on the template's front."""


_PEOPLE_PER_PRODUCT = 8
"""Matrix products always have this many rows (padded): they round differently with another number."""


@dataclass(frozen=True)
class Morph:
    """Points that identity and expression move.

    Attributes
    ----------
    template : float32 (3 · points,), mm; all x, then all y, then all z
    basis : float32 (n_modes, 3 · points), mm per unit coefficient
    """

    template: Tensor
    basis: Tensor

    def people(self, shape: Tensor) -> Tensor:
        """Neutral heads from identity coefficients (n, n_identity_modes): mm, float32 (n, 3 · points)."""
        basis = self.basis[: shape.shape[1]]
        rows = torch.zeros(-len(shape) % _PEOPLE_PER_PRODUCT + len(shape), shape.shape[1], device=shape.device)
        rows[: len(shape)] = shape
        parts = [
            torch.addmm(self.template, rows[start : start + _PEOPLE_PER_PRODUCT], basis)
            for start in range(0, len(rows), _PEOPLE_PER_PRODUCT)
        ]
        return torch.cat(parts)[: len(shape)]

    def positions(self, neutral: Tensor, coefficients: Tensor) -> Tensor:
        """Neutral heads (batch, 3 · points) moved by the other modes: (batch, 3, points)."""
        moved = torch.addmm(neutral, coefficients, self.basis[-coefficients.shape[1] :])
        return moved.view(len(coefficients), 3, -1)


@dataclass(frozen=True)
class HeadModel:
    """Template and modes on one device. The rows of the skin come first, those of the shell after.

    Attributes
    ----------
    grid : numbers of points
    points : the grid's points, row by row
    landmarks : the 5 points of the alignment: the same for every grid
    mode_names : names of the modes, in the bases' order
    shell_y, azimuth : float32 (shell_rows, columns) mm, and (columns,) rad; carry the rim of hair and hats
    is_shell : bool (rows, columns)
    """

    grid: surface.Grid
    points: Morph
    landmarks: Morph
    mode_names: tuple[str, ...]
    shell_y: Tensor
    azimuth: Tensor
    is_shell: Tensor


@functools.lru_cache(maxsize=4)
def load(device: str = "cpu", size_px: int = 112) -> HeadModel:
    """Build the head model for pictures of a size (about a quarter of a second, once per process, device and size)."""
    grid = surface.grid(size_px)
    skin, shell = surface.skin(grid.rows, grid.columns), surface.shell(grid.shell_rows, grid.columns)
    fine = surface.skin(surface.ROWS, surface.COLUMNS)
    ahead = np.where(np.abs(fine.azimuth) < 1.2, 0.0, 1e6)
    marks = [int(np.argmin((fine.x - x) ** 2 + (fine.y - y) ** 2 + ahead)) for x, y in LANDMARKS_MM]
    is_shell = np.arange(grid.rows + grid.shell_rows)[:, None].repeat(grid.columns, 1) >= grid.rows
    return HeadModel(
        grid=grid,
        points=_morph(skin, shell, device),
        landmarks=_morph(fine.points(marks), shell.points([]), device),
        mode_names=(*_common(), *modes.hair_modes()),
        shell_y=_tensor(shell.y, device),
        azimuth=_tensor(shell.azimuth[0], device),
        is_shell=torch.from_numpy(is_shell).to(device),
    )


def _common() -> dict[str, modes.Field]:
    """The modes that move skin and shell; those of the hair move the shell alone."""
    return modes.identity_modes() | modes.expression_modes() | modes.age_modes()


def _morph(skin: surface.Sheet, shell: surface.Sheet, device: str) -> Morph:
    rows = [_planes(field(skin), skin, field(shell), shell) for field in _common().values()]
    rows += [_planes((0, 0, 0), skin, field(shell), shell) for field in modes.hair_modes().values()]
    template = _planes((skin.x, skin.y, skin.z), skin, (shell.x, shell.y, shell.z), shell)
    return Morph(_tensor(template, device), _tensor(np.stack(rows), device))


def _planes(on_skin: modes.Moved, skin: surface.Sheet, on_shell: modes.Moved, shell: surface.Sheet) -> surface.Floats:
    """All x, then all y, then all z; of each, the skin's points and then the shell's."""
    parts = [(moved[axis], sheet) for axis in range(3) for moved, sheet in ((on_skin, skin), (on_shell, shell))]
    return np.concatenate([np.broadcast_to(np.asarray(m, np.float64), s.x.shape).ravel() for m, s in parts])


def _tensor(array: surface.Floats, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
