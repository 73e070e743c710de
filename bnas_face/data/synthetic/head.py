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
class HeadModel:
    """Template and modes on one device. The rows of the skin come first, those of the shell after.

    Attributes
    ----------
    template : float32 (3 · rows · columns,), mm; all x, then all y, then all z
    basis : float32 (n_modes, 3 · rows · columns), mm per unit coefficient
    mode_names : names of the modes, in the basis' order
    landmarks : int64 (5,); points of the 5-point alignment
    coordinates : float32 (3, rows, columns); template x, y (mm) and azimuth (rad), which carry painted features
    is_shell : bool (rows, columns)
    """

    template: Tensor
    basis: Tensor
    mode_names: tuple[str, ...]
    landmarks: Tensor
    coordinates: Tensor
    is_shell: Tensor

    @property
    def n_rows(self) -> int:
        """Rows of both sheets together."""
        return int(self.coordinates.shape[1])

    def people(self, shape: Tensor) -> Tensor:
        """Neutral heads from identity coefficients (n, n_identity_modes): mm, float32 (n, 3 · rows · columns)."""
        basis = self.basis[: shape.shape[1]]
        rows = torch.zeros(-len(shape) % _PEOPLE_PER_PRODUCT + len(shape), shape.shape[1], device=shape.device)
        rows[: len(shape)] = shape
        parts = [
            torch.addmm(self.template, rows[start : start + _PEOPLE_PER_PRODUCT], basis)
            for start in range(0, len(rows), _PEOPLE_PER_PRODUCT)
        ]
        return torch.cat(parts)[: len(shape)]

    def positions(self, neutral: Tensor, coefficients: Tensor) -> Tensor:
        """Neutral heads (batch, 3 · rows · columns) moved by the other modes: (batch, 3, rows · columns)."""
        moved = torch.addmm(neutral, coefficients, self.basis[-coefficients.shape[1] :])
        return moved.view(len(coefficients), 3, -1)


@functools.lru_cache(maxsize=4)
def load(device: str = "cpu") -> HeadModel:
    """Build the head model (about a quarter of a second, once per process and device)."""
    sheets = (
        surface.skin(surface.ROWS, surface.COLUMNS),
        surface.shell(surface.SHELL_ROWS, surface.COLUMNS),
    )
    common = modes.identity_modes() | modes.expression_modes() | modes.age_modes()
    rows = [
        np.concatenate([_planes(field(sheet)[axis], sheet) for axis in range(3) for sheet in sheets])
        for field in common.values()
    ]
    hair = modes.hair_modes()
    rows += [
        np.concatenate(
            [
                _planes(field(sheet)[axis] if number else 0, sheet)
                for axis in range(3)
                for number, sheet in enumerate(sheets)
            ]
        )
        for field in hair.values()
    ]
    joined = {name: np.concatenate([getattr(sheet, name) for sheet in sheets]) for name in ("x", "y", "z", "azimuth")}
    skin = sheets[0]
    ahead = np.where(np.abs(skin.azimuth) < 1.2, 0.0, 1e6)
    landmarks = [int(np.argmin((skin.x - x) ** 2 + (skin.y - y) ** 2 + ahead)) for x, y in LANDMARKS_MM]
    is_shell = np.arange(len(joined["x"]))[:, None].repeat(surface.COLUMNS, 1) >= surface.ROWS
    return HeadModel(
        template=_tensor(np.concatenate([joined[a].ravel() for a in "xyz"]), device),
        basis=_tensor(np.stack(rows), device),
        mode_names=(*common, *hair),
        landmarks=torch.tensor(landmarks, device=device),
        coordinates=_tensor(np.stack([joined["x"], joined["y"], joined["azimuth"]]), device),
        is_shell=torch.from_numpy(is_shell).to(device),
    )


def _planes(value: surface.Floats | float, sheet: surface.Sheet) -> surface.Floats:
    return np.broadcast_to(np.asarray(value, np.float64), sheet.x.shape).ravel()


def _tensor(array: surface.Floats, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
