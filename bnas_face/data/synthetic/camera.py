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
    light = _blur(scene * (balance * metered[:, None, None, None]), n, size_px / 112)
    tone = _tone(light.clamp(min=0) + 1e-5)
    tone = 0.5 + (tone - 0.5) * n["contrast"][:, None, None, None]
    tone = tone + _grain(n["seed"], tone.shape) * n["noise"][:, None, None, None]
    return _jpeg(tone.clamp(0, 1), n["jpeg_quality"])


def _tone(light: Tensor) -> Tensor:
    """Gamma 2 with a soft shoulder, so that highlights do not clip hard."""
    return torch.sqrt(light * (1 + 0.25 * light) / (1 + 0.5 * light))


def _blur(scene: Tensor, n: Values, scale: float) -> Tensor:
    """Gaussian blur plus motion: separable, with standard deviations of each image's own."""
    sigma = n["blur_px"] * scale
    motion = n["motion_px"] * scale / 3.0
    wide = torch.sqrt(sigma**2 + (motion * torch.cos(n["motion_angle"])) ** 2)
    high = torch.sqrt(sigma**2 + (motion * torch.sin(n["motion_angle"])) ** 2)
    return _blur_along(_blur_along(scene, wide, -1), high, -2)


def _blur_along(scene: Tensor, sigma: Tensor, axis: int) -> Tensor:
    """One pass: the kernels of a batch as a grouped convolution."""
    batch, channels, rows, columns = scene.shape
    taps = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=scene.device, dtype=scene.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma.clamp(min=0.2)[:, None]) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    r = _BLUR_RADIUS
    pad = (r, r, 0, 0) if axis == -1 else (0, 0, r, r)
    padded = torch.nn.functional.pad(scene, pad, mode="replicate")
    total = torch.zeros_like(scene)
    for k in range(2 * r + 1):
        part = padded[..., k : k + columns] if axis == -1 else padded[..., k : k + rows, :]
        total.addcmul_(part, kernel[:, k, None, None, None])
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
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@functools.lru_cache(maxsize=4)
def _jpeg_constants(device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """DCT matrix, quantisation tables at quality 50, and both colour matrices."""
    k, i = np.mgrid[0:8, 0:8]
    dct = np.where(k == 0, np.sqrt(1 / 8), 0.5 * np.cos((2 * i + 1) * k * np.pi / 16))
    luma, chroma = (np.array(text.split(), float).reshape(8, 8) for text in (_LUMA, _CHROMA))
    arrays = (dct, np.stack([luma, chroma, chroma]), np.array(_TO_YCC), np.array(_TO_RGB))
    dct_t, tables, to_ycc, to_rgb = (torch.from_numpy(a.astype(np.float32)).to(device) for a in arrays)
    return dct_t, tables, to_ycc, to_rgb


def _jpeg(tone: Tensor, quality: Tensor) -> Tensor:
    """What JPEG at these qualities (1–100) leaves: 8×8 DCT, quantise, invert (no entropy coding, no subsampling).

    References
    ----------
    ITU-T T.81, Annex K (tables) and A.3.3 (DCT); the quality scale is that of the Independent JPEG Group.
    """
    dct, tables, to_ycc, to_rgb = _jpeg_constants(str(tone.device))
    batch, _, rows, columns = tone.shape
    scale = torch.where(quality < 50, 50.0 / quality, 2.0 - quality / 50.0)
    table = (tables * scale[:, None, None, None]).round().clamp(1, 255)[:, :, None, :, None, :]
    planes = _mix(tone * 255.0, to_ycc)
    planes[:, 0] -= 128.0
    blocks = planes.view(batch, 3, rows // 8, 8, columns // 8, 8)
    coefficients = _two_sided(blocks, dct)
    blocks = _two_sided((coefficients / table).round() * table, dct.T.contiguous())
    planes = blocks.reshape(batch, 3, rows, columns)
    planes[:, 0] += 128.0
    return _mix(planes, to_rgb).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def _mix(planes: Tensor, matrix: Tensor) -> Tensor:
    """Apply a 3×3 colour matrix to (batch, 3, h, w)."""
    m = [[float(v) for v in row] for row in matrix.tolist()]
    r, g, b = planes.unbind(1)
    return torch.stack([r * w[0] + g * w[1] + b * w[2] for w in m], dim=1)


def _two_sided(blocks: Tensor, matrix: Tensor) -> Tensor:
    """M · X · Mᵀ on each 8×8 block of (batch, 3, rows/8, 8, columns/8, 8)."""
    right = blocks @ matrix.T
    return torch.einsum("ki,bcriwj->bcrkwj", matrix, right)
