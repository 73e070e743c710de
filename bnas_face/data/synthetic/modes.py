"""Ways in which a head can differ: displacement fields over the template, each in millimetres per unit coefficient.

position = template + Σ_k coefficient_k · mode_k, as in a 3-D morphable model (Blanz and Vetter, SIGGRAPH 1999, eq. 1),
with modes that are written down instead of learnt: no scan of a real person is behind them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from bnas_face.data.synthetic.surface import EYE_X_MM, Floats, Sheet, bump, front, nose, smooth_step

Moved = tuple[Floats | float, Floats | float, Floats | float]
Field = Callable[[Sheet], Moved]
"""A displacement of each point of a sheet, in x, y and z."""

N_RANDOM_SHAPE = 10


def identity_modes() -> dict[str, Field]:
    """Fixed per person; a coefficient of 1 is one standard deviation."""
    named: dict[str, Field] = {
        "head_width": lambda s: (0.055 * s.x, 0, 0),
        "head_depth": lambda s: (0, 0, 0.04 * (s.z + 15)),
        "lower_face_length": lambda s: (0, 0.07 * _below(s, 0), 0),
        "upper_face_length": lambda s: (0, 0.06 * -_below_negative(s), 0),
        "jaw_width": lambda s: (0.10 * s.x * _band(s, 92, 30), 0, 0),
        "cheek_width": lambda s: (0.06 * s.x * _band(s, 28, 20), 0, 0),
        "temple_width": lambda s: (0.05 * s.x * _band(s, -45, 30), 0, 0),
        "jaw_drop": lambda s: (0, 5.0 * _band(s, 95, 20) * smooth_step(np.abs(s.x), 20, 60), 0),
        "forehead_slope": lambda s: (0, 0, 0.10 * (s.y + 15) * (s.y < -15) * front(s)),
        "chin_forward": lambda s: (0, 0, 5.0 * bump(s, 0, 102, 22, 16)),
        "chin_length": lambda s: (0, 5.0 * smooth_step(s.y, 82, 112) * front(s), 0),
        "chin_width": lambda s: (0.22 * s.x * bump(s, 0, 105, 28, 14), 0, 0),
        "chin_cleft": lambda s: (0, 0, -1.3 * bump(s, 0, 103, 2.5, 7)),
        "cheek_bones": lambda s: (0, 0, 4.0 * bump(s, 45, 24, 13, 11)),
        "cheek_fullness": lambda s: (
            3.0 * np.sign(s.x) * bump(s, 48, 58, 14, 16),
            0,
            4.5 * bump(s, 40, 56, 13, 15),
        ),
        "nose_length": lambda s: (0, 5.0 * bump(s, 0, 42, 17, 13), 0),
        "nose_height": lambda s: (0, 0, 0.20 * nose(s)),
        "nose_width": lambda s: (0.22 * s.x * bump(s, 0, 43, 17, 9), 0, 0),
        "nose_bridge_width": lambda s: (0.22 * s.x * bump(s, 0, 14, 12, 13), 0, 0),
        "nose_hump": lambda s: (0, 0, 3.2 * bump(s, 0, 18, 6.5, 8)),
        "nose_root": lambda s: (0, 0, 3.2 * bump(s, 0, -3, 7, 9)),
        "nose_tip_up": lambda s: (0, -4.0 * bump(s, 0, 40, 9, 7), 1.0 * bump(s, 0, 38, 7, 5)),
        "nose_tip_round": lambda s: (0.18 * s.x * bump(s, 0, 38, 9, 6), 0, 1.8 * bump(s, 5, 38, 4, 5)),
        "nostrils": lambda s: (0, 0, 2.5 * bump(s, 14, 43, 4.5, 5)),
        "eye_distance": lambda s: (3.2 * _outward(s) * bump(s, EYE_X_MM, -4, 17, 15), 0, 0),
        "eye_height": lambda s: (0, 3.0 * bump(s, EYE_X_MM, 0, 18, 13), 0),
        "eye_depth": lambda s: (0, 0, -3.0 * bump(s, EYE_X_MM, -1, 14, 9)),
        "eye_size": lambda s: (
            0.10 * (s.x - np.sign(s.x) * EYE_X_MM) * bump(s, EYE_X_MM, 1, 16, 12),
            0.15 * (s.y - 1) * bump(s, EYE_X_MM, 1, 16, 12),
            0,
        ),
        "brow_ridge": lambda s: (0, 0, 3.0 * bump(s, 26, -17, 18, 6)),
        "brow_height": lambda s: (0, 3.0 * bump(s, 29, -18, 20, 7), 0),
        "mouth_height": lambda s: (0, 3.0 * bump(s, 0, 73, 26, 11), 0),
        "mouth_width": lambda s: (0.13 * s.x * bump(s, 0, 73, 26, 9), 0, 0),
        "upper_lip": lambda s: (0, 0, 2.2 * bump(s, 0, 66.5, 15, 4.5)),
        "lower_lip": lambda s: (0, 0, 2.6 * bump(s, 0, 79, 14, 5)),
        "mouth_forward": lambda s: (0, 0, 4.0 * bump(s, 0, 72, 24, 14)),
        "philtrum_length": lambda s: (0, -2.0 * bump(s, 0, 52, 20, 6), 0),
        "ear_size": lambda s: (0, 0.12 * (s.y - 20) * _ear(s), 0.1 * (s.z + 12) * _ear(s)),
        "ear_out": lambda s: (6.0 * np.sign(s.x) * _ear(s) * smooth_step(s.z, 0, -22), 0, 0),
        "skew_nose": lambda s: (1.8 * bump(s, 0, 38, 14, 12), 0, 0),
        "skew_jaw": lambda s: (2.5 * smooth_step(s.y, 60, 105) * front(s), 0, 0),
        "skew_mouth": lambda s: (0, 1.6 * np.tanh(s.x / 15) * bump(s, 0, 73, 28, 10), 0),
        "skew_eyes": lambda s: (0, 1.3 * np.tanh(s.x / 10) * bump(s, EYE_X_MM, -4, 18, 14), 0),
        "skew_brows": lambda s: (0, 1.6 * np.tanh(s.x / 10) * bump(s, 29, -18, 20, 7), 0),
    }
    return named | {f"random_{k}": functools.partial(_random_shape, k) for k in range(N_RANDOM_SHAPE)}


def expression_modes() -> dict[str, Field]:
    """New in every image; coefficients from 0 to about 1."""
    return {
        "mouth_open": lambda s: (
            0,
            13.0 * smooth_step(s.y, 72, 98) * front(s),
            -3.0 * smooth_step(s.y, 75, 105) * front(s),
        ),
        "smile": lambda s: (
            4.5 * _outward(s) * bump(s, 24, 73, 9, 10),
            -4.0 * bump(s, 26, 73, 8, 8) - 2.5 * bump(s, 36, 48, 14, 12),
            3.5 * bump(s, 36, 46, 11, 10) - 2.0 * bump(s, 0, 73, 16, 8),
        ),
        "frown": lambda s: (0, 3.5 * bump(s, 25, 74, 7, 7), 0),
        "pucker": lambda s: (-0.22 * s.x * bump(s, 0, 73, 22, 9), 0, 4.0 * bump(s, 0, 73, 12, 9)),
        "brow_raise": lambda s: (0, -5.0 * bump(s, 29, -20, 22, 9), 0),
        "brow_knit": lambda s: (-2.5 * _outward(s) * bump(s, 16, -18, 9, 7), 3.0 * bump(s, 14, -18, 9, 7), 0),
    }


def age_modes() -> dict[str, Field]:
    """Ageing beyond 35 years; a coefficient of 1 is forty years."""
    return {
        "sagging": lambda s: (
            2.5 * np.sign(s.x) * bump(s, 44, 84, 13, 11),
            4.0 * bump(s, 38, 74, 15, 14) + 2.0 * bump(s, 29, -14, 22, 8),
            -3.5 * bump(s, 40, 48, 12, 12) + 2.0 * bump(s, 36, 86, 10, 8),
        ),
        "old_nose_and_ears": lambda s: (0, 3.0 * bump(s, 0, 42, 14, 10) + 0.08 * (s.y - 10) * _ear(s), 0),
        "folds": lambda s: (0, 0, -2.4 * _cheek_fold(s) - 1.8 * bump(s, 29, 13, 12, 3) + 1.4 * bump(s, 29, 8, 11, 3)),
        "thin_lips": lambda s: (0, 0, -2.4 * bump(s, 0, 67, 15, 4) - 2.4 * bump(s, 0, 79, 14, 4.5)),
    }


def hair_modes() -> dict[str, Field]:
    """Move the shell only; coefficients from 0 to about 1 (volume in units of 10 mm)."""
    return {
        "volume": lambda s: _outwards(s, 10.0),
        "top": lambda s: (0, -10.0 * smooth_step(s.y, -55, -110), 0),
        "flare": lambda s: _outwards(s, np.asarray(16.0 * smooth_step(s.y, 0, 110) * (np.abs(s.azimuth) > 0.3))),
        "curls": lambda s: _outwards(s, 5.0 * _curls(s)),
        "hat": lambda s: _outwards(s, np.where(s.y < -30, 7.0, 0.0)),
        "crown": lambda s: (0, -16.0 * smooth_step(s.y, -70, -112), 0),
        "visor": _visor,
    }


def _visor(sheet: Sheet) -> tuple[Floats, Floats, float]:
    rim = np.exp(-0.5 * ((sheet.y + 44) / 5.0) ** 2) * smooth_step(np.abs(sheet.azimuth), 1.15, 0.75)
    return 0.45 * sheet.x * rim, 14.0 * rim, 52.0 * rim  # type: ignore[return-value]


def _outwards(sheet: Sheet, amount: Floats | float) -> tuple[Floats, Floats, Floats]:
    """Away from the axis of the head."""
    length = np.sqrt(sheet.x**2 + (np.minimum(sheet.y + 30, 0)) ** 2 + (sheet.z + 12) ** 2) + 1e-6
    return amount * sheet.x / length, amount * np.minimum(sheet.y + 30, 0) / length, amount * (sheet.z + 12) / length


def _curls(sheet: Sheet) -> Floats:
    a, y = sheet.azimuth, sheet.y
    return np.asarray(np.sin(9 * a + y / 9) * np.sin(y / 6.5 + 2 * np.sin(5 * a)) + 0.6 * np.sin(23 * a - y / 5))


def _cheek_fold(sheet: Sheet) -> Floats:
    line = 19.0 + (sheet.y - 45.0) * 0.5
    across = np.exp(-0.5 * ((np.abs(sheet.x) - line) / 2.4) ** 2)
    return np.asarray(across * np.exp(-0.5 * ((sheet.y - 60) / 12) ** 2) * front(sheet))


def _random_shape(number: int, sheet: Sheet) -> tuple[Floats, Floats, Floats]:
    """A smooth random displacement along the radius; `number` seeds it."""
    random = np.random.default_rng(1000 + number)
    total = np.zeros_like(sheet.x)
    for _ in range(6):
        wave = random.normal(0, 1 / 42.0, 3)
        total = total + np.cos(wave[0] * sheet.x + wave[1] * sheet.y + wave[2] * sheet.z + random.uniform(0, 6.28))
    amount = 0.45 * total * smooth_step(sheet.y, 150, 110)
    length = np.sqrt(sheet.x**2 + sheet.y**2 + sheet.z**2)
    return amount * sheet.x / length, 0.5 * amount * sheet.y / length, amount * sheet.z / length


def _below(sheet: Sheet, y: float) -> Floats:
    return np.asarray(np.maximum(sheet.y - y, 0.0))


def _below_negative(sheet: Sheet) -> Floats:
    return np.asarray(np.maximum(-sheet.y - 10.0, 0.0))


def _band(sheet: Sheet, y: float, high: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((sheet.y - y) / high) ** 2))


def _outward(sheet: Sheet) -> Floats:
    return np.asarray(np.tanh(sheet.x / 8.0))


def _ear(sheet: Sheet) -> Floats:
    side = np.exp(-0.5 * ((sheet.y - 21) / 22) ** 2 - 0.5 * ((sheet.z + 14) / 14) ** 2)
    return np.asarray(side * (np.abs(sheet.x) > 40))
