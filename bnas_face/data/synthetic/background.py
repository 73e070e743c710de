"""Cluttered backgrounds: a bank of procedural scenes, cropped, zoomed and tinted anew for every image."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_SCENES = 48
_SIZE = 224


@functools.lru_cache(maxsize=4)
def bank(device: str, size_px: int) -> Tensor:
    """Scenes twice as large as a picture, linear RGB in [0, 1], float32 (N_SCENES, 3, 2 · size_px, 2 · size_px)."""
    scenes = np.stack([_scene(np.random.default_rng(500 + k)) for k in range(N_SCENES)])
    whole = torch.from_numpy(scenes.astype(np.float32)).movedim(-1, 1)
    if size_px != _SIZE // 2:
        whole = torch.nn.functional.interpolate(whole, size=2 * size_px, mode="area")
    return whole.contiguous().to(device)


def draw(n: dict[str, Tensor], size_px: int) -> Tensor:
    """Backgrounds of a batch; `n` holds (batch,) tensors. Returns linear RGB (batch, 3, size_px, size_px).

    Each is a cut-out of a scene, perhaps mirrored, in a light and a tint of its own.
    """
    scenes = bank(str(n["background"].device), size_px)
    pick = (n["background"] * N_SCENES).long().clamp(max=N_SCENES - 1).tolist()
    left, top = ((n[name] * size_px).long().tolist() for name in ("bg_b", "bg_c"))
    cuts = [scenes[k, :, y : y + size_px, x : x + size_px] for k, y, x in zip(pick, top, left, strict=True)]
    mirrored = (n["bg_d"] < 0.5).tolist()
    seen = torch.stack([cut.flip(-1) if flip else cut for cut, flip in zip(cuts, mirrored, strict=True)])
    tint = torch.stack([n["bg_d"], n["bg_b"], n["bg_c"]], 1)
    return seen * ((0.85 + 0.3 * tint) * (0.25 + 0.9 * n["bg_a"])[:, None])[:, :, None, None]


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
    return np.clip(_blur(picture, random.uniform(0.6, 5.0)), 0.0, 1.0)


def _add_box(
    random: np.random.Generator,
    picture: NDArray[np.float64],
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    upright: bool,
) -> NDArray[np.float64]:
    x, y = random.uniform(-0.1, 1.0, 2)
    wide, high = random.uniform(0.03, 0.18 if upright else 0.5), random.uniform(0.1, 0.9 if upright else 0.4)
    slant = random.normal(0, 0.15)
    inside = (np.abs(columns - x - slant * rows) < wide / 2) & (np.abs(rows - y) < high / 2)
    return np.where(inside[..., None], _colour(random) * (0.8 + 0.4 * rows[..., None]), picture)


def _colour(random: np.random.Generator) -> NDArray[np.float64]:
    grey = random.uniform(0.03, 0.75)
    return np.asarray(np.clip(grey * np.exp(random.normal(0, 0.24, 3)), 0.0, 1.0))


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
