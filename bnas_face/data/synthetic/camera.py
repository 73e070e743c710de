"""From scene light to a stored picture: white balance, exposure, blur, noise, tone curve and JPEG, per image."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

Values = dict[str, Tensor]
"""Name → (batch,), one number per image."""

_NOISE_LENGTH = 2**21
_BLUR_RADIUS = 3


def photograph(scene: Tensor, n: Values) -> Tensor:
    """Linear RGB (batch, 3, size, size) → uint8 RGB (batch, size, size, 3)."""
    size_px = scene.shape[-1]
    warm, tint = n["warm"], n["tint"]
    balance = torch.stack([1 + warm, 1 + tint, 1 - warm], 1)[:, :, None, None]
    inner = scene[:, :, size_px // 6 : -size_px // 6, size_px // 6 : -size_px // 6]
    metered = (0.24 / inner.mean((1, 2, 3)).clamp(min=0.02)) ** 0.65 * n["exposure"]
    light = _blur(scene, balance * metered[:, None, None, None], n, size_px / 112)
    contrast, noise = n["contrast"][:, None, None, None], n["noise"][:, None, None, None]
    tone = _tone(light.clamp_(min=1e-5)).mul_(contrast).add_(0.5 - 0.5 * contrast)
    return _jpeg(tone.addcmul_(_grain(n["seed"], tone.shape), noise).clamp_(0, 1), n["jpeg_quality"])


def _tone(light: Tensor) -> Tensor:
    """Gamma 2 with a soft shoulder, so that highlights do not clip hard."""
    return (light * 0.25).add_(1).mul_(light).div_((light * 0.5).add_(1)).sqrt_()


def _blur(scene: Tensor, gain: Tensor, n: Values, scale: float) -> Tensor:
    """Gaussian blur plus motion: separable, with standard deviations of each image's own; `gain` per channel."""
    sigma = n["blur_px"] * scale
    motion = n["motion_px"] * scale / 3.0
    wide = torch.sqrt(sigma**2 + (motion * torch.cos(n["motion_angle"])) ** 2)
    high = torch.sqrt(sigma**2 + (motion * torch.sin(n["motion_angle"])) ** 2)
    return _blur_along(_blur_along(scene, wide, gain, -1), high, torch.ones_like(gain), -2)


def _blur_along(scene: Tensor, sigma: Tensor, gain: Tensor, axis: int) -> Tensor:
    """One pass, with a kernel of each image's own."""
    rows, columns = scene.shape[2:]
    taps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=scene.device, dtype=scene.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma.clamp(min=0.2)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, :, None, None, None] * gain[:, None]
    r = _BLUR_RADIUS
    pad = (r, r, 0, 0) if axis == -1 else (0, 0, r, r)
    padded = torch.nn.functional.pad(scene, pad, mode="replicate")
    total = torch.zeros_like(scene)
    for k in range(2 * r + 1):
        part = padded[..., k : k + columns] if axis == -1 else padded[..., k : k + rows, :]
        total.addcmul_(part, kernel[:, k])
    return total


@functools.lru_cache(maxsize=4)
def _noise_bank(device: str) -> Tensor:
    noise = np.random.default_rng(11).standard_normal(_NOISE_LENGTH, dtype=np.float32)
    return torch.from_numpy(noise).to(device)


def _grain(seed: Tensor, shape: torch.Size) -> Tensor:
    """Sensor noise: a stretch of a fixed bank that starts where the image's seed says."""
    bank = _noise_bank(str(seed.device))
    length = shape[1] * shape[2] * shape[3]
    starts = (seed.long() * 131) % (_NOISE_LENGTH - length)
    return torch.stack([bank[s : s + length] for s in starts.tolist()]).view(shape)


_LUMA = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62"
    " 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
_CHROMA = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99"
    " 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"
)


@functools.lru_cache(maxsize=4)
def _jpeg_constants(device: str) -> tuple[Tensor, Tensor]:
    """DCT matrix (8, 8), and the quantisation tables of luma and chroma at quality 50 (2, 8, 8)."""
    k, i = np.mgrid[0:8, 0:8]
    dct = np.where(k == 0, np.sqrt(1 / 8), 0.5 * np.cos((2 * i + 1) * k * np.pi / 16))
    tables = np.stack([np.array(text.split(), float).reshape(8, 8) for text in (_LUMA, _CHROMA)])
    return torch.from_numpy(dct.astype(np.float32)).to(device), torch.from_numpy(tables.astype(np.float32)).to(device)


def _jpeg(tone: Tensor, quality: Tensor) -> Tensor:
    """What JPEG at these qualities (1–100) leaves: halved chroma, 8×8 DCT, quantise, invert (no entropy coding).

    References
    ----------
    ITU-T T.81, Annex K (tables) and A.3.3 (DCT); the quality scale is that of the Independent JPEG Group.
    """
    dct, tables = _jpeg_constants(str(tone.device))
    scale = torch.where(quality < 50, 50.0 / quality, 2.0 - quality / 50.0)[:, None, None]
    luma_table, chroma_table = ((table * scale).round().clamp(1, 255) for table in tables)
    red, green, blue = tone.unbind(1)
    luma = 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
    chroma = torch.cat([(blue * 255).sub_(luma).mul_(0.564), (red * 255).sub_(luma).mul_(0.713)])
    luma = _quantise(luma.sub_(128), luma_table, dct, dct.T.contiguous()).add_(128)
    halved = (0.5 * dct).repeat_interleave(2, 1)  # the mean of two pixels, then the DCT; back: each pixel twice
    chroma = _quantise(chroma, chroma_table.repeat(2, 1, 1), halved, (2 * halved).T.contiguous())
    cb, cr = chroma[: len(tone)], chroma[len(tone) :]
    green = torch.add(luma, cb, alpha=-0.344136).sub_(cr, alpha=0.714136)
    planes = (torch.add(luma, cr, alpha=1.402), green, torch.add(luma, cb, alpha=1.772))
    out = torch.empty(*luma.shape, 3, dtype=torch.uint8, device=tone.device)
    for k, plane in enumerate(planes):
        out[..., k] = plane.round_().clamp_(0, 255)
    return out


def _quantise(plane: Tensor, table: Tensor, forth: Tensor, back: Tensor) -> Tensor:
    """DCT of blocks by `forth` (8, side), rounded to multiples of `table` (batch, 8, 8), and `back` (side, 8)."""
    coefficients = _along_rows(_along_rows(plane, forth), forth)
    rows, columns = coefficients.shape[1:]
    tiled = table.repeat(1, rows // 8, columns // 8)
    return _along_rows(_along_rows(coefficients.div_(tiled).round_().mul_(tiled), back), back)


def _along_rows(plane: Tensor, matrix: Tensor) -> Tensor:
    """Apply `matrix` to each group of rows, then transpose the picture (twice makes both directions)."""
    batch, _, columns = plane.shape
    mixed = torch.matmul(matrix, plane.reshape(-1, matrix.shape[1], columns))
    return mixed.view(batch, -1, columns).transpose(1, 2).contiguous()
