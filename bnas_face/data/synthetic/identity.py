"""Who a rendered person is: shape coefficients and appearance, drawn once per identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import modes
from bnas_face.data.synthetic.hashing import Floats, Integers, normals, uniforms, words

SHAPE_STRENGTH = 1.0
"""Scale of all shape coefficients; larger makes identities easier to tell apart."""

N_MOLES = 8
N_STYLES = 8
"""Hair styles: shaved, cropped, short, side part, fringe, bob, long, afro."""

_GAUSSIAN = words(
    "skin_red skin_yellow freckles mottling blush lip_red lip_dark upper_lip lower_lip cupid brow_thickness brow_arch"
    " brow_length brow_gap brow_height brow_density eye_width eye_upper eye_lower eye_tilt lid_crease iris_size"
    " hairline peak temples fringe length beard_density moustache beard_edge lashes eye_bags"
)
_UNIFORM = words("skin_tone iris_hue iris_light hair_tone hair_red style_pick sex baldness greying")

N_COEFFICIENTS = len(modes.identity_modes()) + len(_GAUSSIAN) + len(_UNIFORM) + 3 * N_MOLES


@dataclass(frozen=True)
class Identities:
    """Coefficients of n people.

    Attributes
    ----------
    shape : float32 (n, n_identity_modes), in standard deviations
    appearance : name → float32 (n,); Gaussian ones in standard deviations, the others in [0, 1]
    style : int64 (n,); hair style in [0, N_STYLES)
    moles : float32 (n, N_MOLES, 3); x, y (mm) and darkness
    """

    shape: Tensor
    appearance: dict[str, Tensor]
    style: Tensor
    moles: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    def to(self, device: str) -> Identities:
        """The same people on another device."""
        moved = {name: value.to(device) for name, value in self.appearance.items()}
        return Identities(self.shape.to(device), moved, self.style.to(device), self.moles.to(device))

    def take(self, index: Tensor) -> Identities:
        """The people at the positions `index`, int64 (m,)."""
        return Identities(
            self.shape[index],
            dict(zip(self.appearance, torch.stack(list(self.appearance.values()))[:, index].unbind(0), strict=True)),
            self.style[index],
            self.moles[index],
        )


def draw(seed: int, numbers: Integers) -> Identities:
    """The people with these numbers (int64, shape (n,), ≥ 0); the same for a number whatever else is drawn."""
    zero = np.zeros_like(numbers)
    shape = SHAPE_STRENGTH * normals(seed, "shape", numbers, zero, len(modes.identity_modes()))
    gaussian = normals(seed, "appearance", numbers, zero, len(_GAUSSIAN))
    uniform = uniforms(seed, "colours", numbers, zero, len(_UNIFORM))
    appearance = {n: _tensor(gaussian[:, k]) for k, n in enumerate(_GAUSSIAN)}
    appearance |= {n: _tensor(uniform[:, k]) for k, n in enumerate(_UNIFORM)}
    moles = uniforms(seed, "moles", numbers, zero, 3 * N_MOLES).reshape(-1, N_MOLES, 3)
    moles = (moles - (0.5, 0.35, 0.55)) * (110, 150, 2.2)
    return Identities(
        shape=_tensor(shape),
        appearance=appearance,
        style=_style(appearance["style_pick"], appearance["sex"]),
        moles=_tensor(np.maximum(moles, (-1e3, -1e3, 0))),
    )


def _style(pick: Tensor, sex: Tensor) -> Tensor:
    """Hair style from a uniform number: some styles are commoner among women (`sex` > 0.5), none is reserved."""
    men = torch.tensor([0.10, 0.30, 0.58, 0.80, 0.86, 0.88, 0.92, 1.0])
    women = torch.tensor([0.01, 0.04, 0.12, 0.24, 0.42, 0.66, 0.92, 1.0])
    limits = torch.where((sex > 0.5)[:, None], women, men)
    return (pick[:, None] > limits).sum(1).clamp(max=N_STYLES - 1)


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
