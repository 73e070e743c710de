"""Cluttered backgrounds: a bank of procedural scenes, cropped, zoomed and tinted anew for every image."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_SCENES = 40
_SIZE = 160


@functools.lru_cache(maxsize=4)
def bank(device: str) -> Tensor:
    """Scenes, linear RGB in [0, 1], float32 (N_SCENES, 3, 160, 160)."""
    scenes = np.stack([_scene(np.random.default_rng(500 + k)) for k in range(N_SCENES)])
    return torch.from_numpy(scenes.astype(np.float32)).movedim(-1, 1).contiguous().to(device)


def draw(n: dict[str, Tensor], size_px: int) -> Tensor:
    """Backgrounds of a batch; `n` holds (batch,) tensors. Returns linear RGB (batch, 3, size_px, size_px)."""
    scenes = bank(str(n["background"].device))
    pick = (n["background"] * N_SCENES).long().clamp(max=N_SCENES - 1)
    zoom = 0.35 + 0.5 * n["bg_a"]
    flip = torch.where(n["bg_d"] < 0.5, -1.0, 1.0)
    shift_x, shift_y = (1 - zoom) * (2 * n["bg_b"] - 1), (1 - zoom) * (2 * n["bg_c"] - 1)
    line = torch.linspace(-1, 1, size_px, device=zoom.device)
    grid_x = (line[None, None, :] * (zoom * flip)[:, None, None] + shift_x[:, None, None]).expand(-1, size_px, -1)
    grid_y = (line[None, :, None] * zoom[:, None, None] + shift_y[:, None, None]).expand(-1, -1, size_px)
    seen = torch.nn.functional.grid_sample(scenes[pick], torch.stack([grid_x, grid_y], -1), align_corners=True)
    turn = torch.stack([n["bg_d"], n["bg_b"], n["bg_c"]], 1)[:, :, None, None]
    return seen * (0.65 + 0.7 * turn) * (0.4 + 1.1 * n["bg_a"])[:, None, None, None]


def _scene(random: np.random.Generator) -> NDArray[np.float64]:
    """One scene: a gradient, patches in perspective of a room or street, foliage or books, out of focus to a degree."""
    rows, columns = np.mgrid[0:_SIZE, 0:_SIZE] / _SIZE
    top, bottom = (_colour(random) for _ in range(2))
    picture = top + (bottom - top) * rows[..., None] ** random.uniform(0.5, 2)
    picture = picture * (1 + random.uniform(0.05, 0.5) * _cloud(random, random.uniform(1.0, 2.2))[..., None])
    kind = random.integers(4)
    for _ in range(int(random.integers(3, 14))):
        picture = _add_box(random, picture, rows, columns, upright=kind == 1)
    if kind == 2:
        leaves = _cloud(random, 0.9) > random.uniform(0.0, 0.8)
        picture = np.where(leaves[..., None], _colour(random) * (0.7 + 0.5 * _cloud(random, 0.6)[..., None]), picture)
    for _ in range(int(random.integers(0, 7))):
        x, y, radius = random.uniform(0, 1, 3) * (1, 1, 0.12) + (0, 0, 0.02)
        light = np.hypot(columns - x, rows - y) < radius
        picture = np.where(light[..., None], picture * 0.4 + 0.6 * _colour(random) * 1.6, picture)
    return np.clip(_blur(picture, random.uniform(0.4, 3.5)), 0.0, 1.0)


def _add_box(
    random: np.random.Generator, picture: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64], upright: bool
) -> NDArray[np.float64]:
    x, y = random.uniform(-0.1, 1.0, 2)
    wide, high = random.uniform(0.03, 0.18 if upright else 0.5), random.uniform(0.1, 0.9 if upright else 0.4)
    slant = random.normal(0, 0.15)
    inside = (np.abs(columns - x - slant * rows) < wide / 2) & (np.abs(rows - y) < high / 2)
    return np.where(inside[..., None], _colour(random) * (0.8 + 0.4 * rows[..., None]), picture)


def _colour(random: np.random.Generator) -> NDArray[np.float64]:
    grey = random.uniform(0.03, 0.75)
    return np.asarray(np.clip(grey * np.exp(random.normal(0, 0.35, 3)), 0.0, 1.0))


def _cloud(random: np.random.Generator, slope: float) -> NDArray[np.float64]:
    """Noise with spectrum 1/f^slope, unit variance."""
    frequency = np.hypot(np.fft.fftfreq(_SIZE)[:, None], np.fft.rfftfreq(_SIZE)[None])
    frequency[0, 0] = 1.0
    cloud = np.fft.irfft2(np.fft.rfft2(random.normal(size=(_SIZE, _SIZE))) / frequency**slope, s=(_SIZE, _SIZE))
    return np.asarray((cloud - cloud.mean()) / cloud.std())


def _blur(picture: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    frequency = np.fft.fftfreq(_SIZE)[:, None] ** 2 + np.fft.rfftfreq(_SIZE)[None] ** 2
    gain = np.exp(-2 * (np.pi * sigma) ** 2 * frequency)[..., None]
    return np.asarray(np.fft.irfft2(np.fft.rfft2(picture, axes=(0, 1)) * gain, s=(_SIZE, _SIZE), axes=(0, 1)))
