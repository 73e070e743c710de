"""The painted skin of an identity: albedo, brows, beard, hairline and wrinkles on the grid of the head's surface."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import surface
from bnas_face.data.synthetic.identity import Identities

TEXELS = 160
N_CHANNELS = 8
"""Albedo (3, linear), brow, beard, hairline (1/20 mm inside the hair), wrinkles, ambient occlusion."""

_SKIN_SRGB = ((250, 220, 203), (238, 196, 168), (216, 166, 132), (184, 131, 96), (138, 92, 65), (84, 55, 42))


def paint(people: Identities) -> Tensor:
    """Textures of n people: float32 (n, N_CHANNELS, TEXELS, TEXELS)."""
    device = people.shape.device
    x, y, azimuth = _coordinates(str(device))
    noise = _noise(str(device))
    a = {name: value[:, None, None] for name, value in people.appearance.items()}
    pores, blotches = (_shifted(noise[k], people) for k in (0, 1))
    hairline = _hairline(x, y, azimuth, a)
    planes = [
        *_albedo(x, y, a, pores, blotches, people.moles),
        _brow(x, y, a, pores),
        _beard(x, y, azimuth, a) * (0.8 + 0.4 * pores),
        (hairline / 20 + 0.12 * pores).clamp(-3, 3),
        _wrinkles(x, y, blotches),
        _occlusion(x, y, azimuth).expand_as(hairline),
    ]
    return torch.stack(planes, dim=1).contiguous()


def skin_colour(tone: Tensor) -> Tensor:
    """Linear RGB (3, …) of a skin tone in [0, 1], light to dark."""
    table = (torch.tensor(_SKIN_SRGB, device=tone.device) / 255.0) ** 2.2
    place = tone.clamp(0, 1) * (len(_SKIN_SRGB) - 1.001)
    low = place.long()
    share = (place - low)[..., None]
    return (table[low] * (1 - share) + table[low + 1] * share).movedim(-1, 0)


def gauss(value: Tensor, centre: Tensor | float, spread: Tensor | float) -> Tensor:
    """exp(−½ ((value − centre) / spread)²)."""
    return torch.exp(-0.5 * ((value - centre) / spread) ** 2)


def step(value: Tensor, soft: float = 1.0) -> Tensor:
    """A soft step from 0 to 1 around 0, `soft` wide."""
    return torch.sigmoid(value * (4.0 / soft))


@functools.lru_cache(maxsize=4)
def _coordinates(device: str) -> tuple[Tensor, Tensor, Tensor]:
    sheet = surface.skin(TEXELS, TEXELS)
    x, y, azimuth = (torch.from_numpy(np.ascontiguousarray(p, np.float32)) for p in (sheet.x, sheet.y, sheet.azimuth))
    return x.to(device), y.to(device), azimuth.to(device)


@functools.lru_cache(maxsize=4)
def _noise(device: str) -> Tensor:
    """Fine and coarse noise, zero mean and unit variance, (2, TEXELS, TEXELS); wraps around."""
    random = np.random.default_rng(7)
    white = np.fft.rfft2(random.normal(size=(2, TEXELS, TEXELS)))
    frequency = np.hypot(np.fft.fftfreq(TEXELS)[:, None], np.fft.rfftfreq(TEXELS)[None])
    filters = np.stack([np.exp(-((frequency / 0.22) ** 2)), np.exp(-((frequency / 0.045) ** 2))])
    noise = np.fft.irfft2(white * filters, s=(TEXELS, TEXELS))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return torch.from_numpy(noise.astype(np.float32)).to(device)


def _shifted(noise: Tensor, people: Identities) -> Tensor:
    """The noise moved by an offset of each person's own: (n, TEXELS, TEXELS)."""
    offsets = (people.moles[:, :2, :2].abs() * 7919).long() % TEXELS
    lines = torch.arange(TEXELS, device=noise.device)
    rows = (lines + offsets[:, 0, :1]) % TEXELS
    columns = (lines + offsets[:, 1, :1]) % TEXELS
    return noise[rows[:, :, None], columns[:, None, :]]


def _albedo(
    x: Tensor, y: Tensor, a: dict[str, Tensor], pores: Tensor, blotches: Tensor, moles: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    red, green, blue = skin_colour(a["skin_tone"] ** 1.25)
    side = x.abs()
    ruddy = 0.05 * a["skin_red"] + (0.10 + 0.06 * a["blush"]) * (
        gauss(side, 40, 14) * gauss(y, 36, 13) + 0.8 * gauss(side, 0, 11) * gauss(y, 40, 9)
    )
    ruddy = ruddy + 0.03 * (1 + 0.5 * a["mottling"]).clamp(min=0.2) * blotches
    shade = 1.0 + 0.05 * (1 + 0.5 * a["mottling"]) * pores + 0.03 * blotches
    speckle = (pores + 0.35 * blotches - 1.35).clamp(0, 1) * (a["freckles"] - 0.3).clamp(min=0) * 0.42
    shade = shade * (1 - speckle * gauss(y, 22, 30) * gauss(side, 0, 55))
    for mole in moles.unbind(1):
        distance = (x - mole[:, 0, None, None]) ** 2 + (y - mole[:, 1, None, None]) ** 2
        shade = shade * (1 - 0.7 * mole[:, 2, None, None].clamp(0, 1) * torch.exp(-distance / 4.5))
    bags = (0.16 + 0.08 * a["eye_bags"]).clamp(0.03, 0.4) * gauss(side, 30, 11) * gauss(y, 10, 4.5)
    lids = 0.10 * gauss(side, 31, 13) * gauss(y, -6, 4)
    shade = shade * (1 - bags - lids)
    nostrils = 0.75 * gauss(side, 7.2, 3.6) * gauss(y, 49, 2.2)
    shade = shade * (1 - nostrils) * (1 - 0.30 * gauss(side, 20.5, 2.0) * gauss(y, 44, 4.5))
    yellow = 1 - 0.05 * a["skin_yellow"]
    return (
        red * shade * (1 + 0.4 * ruddy),
        green * shade * (1 - ruddy),
        blue * shade * yellow * (1 - 0.9 * ruddy - 0.15 * bags),
    )


def _brow(x: Tensor, y: Tensor, a: dict[str, Tensor], pores: Tensor) -> Tensor:
    """Opacity of the eyebrows: an arch that thins outwards, with the texture of hairs."""
    inner = 11.5 + 2.2 * a["brow_gap"]
    outer = 52 + 3.0 * a["brow_length"]
    along = ((x.abs() - inner) / (outer - inner)).clamp(-0.3, 1.3)
    arch = 3.5 + 2.2 * a["brow_arch"]
    middle = -15.5 + 1.6 * a["brow_height"] - arch * (1 - ((along - 0.62) / 0.62) ** 2)
    middle = middle + 4.0 * (along - 0.85).clamp(min=0) * 4
    half = (2.9 + 1.0 * a["brow_thickness"]).clamp(1.1, 5.5) * (1.0 - 0.55 * along.clamp(0, 1))
    inside = step(half - (y - middle).abs(), 3.0) * step(along + 0.02, 0.16) * step(1.0 - along, 0.2)
    return inside * (0.80 + 0.16 * a["brow_density"] + 0.16 * pores).clamp(0.15, 1)


def _beard(x: Tensor, y: Tensor, azimuth: Tensor, a: dict[str, Tensor]) -> Tensor:
    """Where a beard grows: moustache, chin, jaw up to the sideburns."""
    edge = 62 + 3 * a["beard_edge"]
    jaw = step(y - edge + 0.35 * (azimuth.abs() - 0.9).clamp(min=0) * 85, 8) * step(1.75 - azimuth.abs(), 0.2)
    jaw = jaw * step(118 - y, 8) * (1 - 0.85 * gauss(x.abs(), 0, 17) * gauss(y, 72, 8))
    moustache = gauss(x.abs(), 9, 11) * gauss(y, 60, 4.6) * (0.9 + 0.3 * a["moustache"]).clamp(0.2, 1.4)
    return (jaw + 1.2 * moustache).clamp(0, 1)


def _hairline(x: Tensor, y: Tensor, azimuth: Tensor, a: dict[str, Tensor]) -> Tensor:
    """Millimetres inside the hair at age 30 (negative outside)."""
    turn = azimuth.abs()
    line = -68 + 5.0 * a["hairline"] + (2 + 3.0 * a["peak"]) * gauss(x.abs(), 0, 12)
    line = line - (5 + 4 * a["temples"]).clamp(min=0) * gauss(turn, 0.62, 0.2)
    line = line + 40 * torch.sigmoid((turn - 0.98) * 11) + 34 * torch.sigmoid((turn - 1.22) * 14)
    ear = 30 * gauss(turn, 1.75, 0.2)
    return line - ear + 78 * torch.sigmoid((turn - 2.0) * 9) - y


def _wrinkles(x: Tensor, y: Tensor, blotches: Tensor) -> Tensor:
    """Darkness of lines that deepen with age, in [0, 1]; each person's lines wander differently."""
    side, wander = x.abs(), 2.2 * blotches
    forehead = sum(gauss(y + 0.004 * x**2 + wander, line, 0.9) for line in (-33.0, -42.0, -51.0))
    total = 0.6 * forehead * gauss(side, 0, 34)
    total = total + 0.7 * gauss(side + 0.3 * wander, 5.5 + 0.10 * (y + 20).abs(), 1.0) * gauss(y, -15, 7)
    fold = 19.5 + (y - 45) * 0.48 + 0.4 * wander
    total = total + 1.2 * gauss(side, fold, 1.5) * gauss(y, 60, 12)
    feet = torch.cos((y - 2 + 0.25 * (side - 50)) * 1.3 + wander * 0.4).clamp(min=0) ** 3
    total = total + 0.65 * feet * gauss(side, 54, 5.5) * gauss(y, 2, 9)
    total = total + 0.8 * gauss(y - 0.012 * (side - 30) ** 2, 12.5 + 0.3 * wander, 1.1) * gauss(side, 30, 10)
    total = total + 0.5 * gauss(side, 31 + 0.25 * (y - 80), 1.2) * gauss(y, 86, 9)
    return total.clamp(0, 1.2)


@functools.lru_cache(maxsize=4)
def _still(device: str) -> Tensor:
    x, y, azimuth = _coordinates(device)
    side, face = x.abs(), torch.sigmoid((1.25 - azimuth.abs()) * 8)
    dark = 0.42 * gauss(side, 15, 5) * gauss(y, -1, 8) + 0.22 * gauss(side, 30, 15) * gauss(y, -8, 4)
    dark = dark + 0.35 * gauss(side, 0, 14) * gauss(y, 53, 4) + 0.28 * gauss(side, 19, 5) * gauss(y, 40, 9)
    dark = dark + 0.32 * gauss(side, 0, 13) * gauss(y, 89, 4.5) + 0.22 * gauss(side, 28, 4) * gauss(y, 73, 4)
    dark = dark * face + 0.55 * torch.sigmoid((y - 121) / 4)
    ear = gauss(azimuth.abs(), 1.62, 0.10) * gauss(y, 22, 13)
    return (1 - dark - 0.45 * ear).clamp(0.25, 1)


def _occlusion(x: Tensor, y: Tensor, azimuth: Tensor) -> Tensor:
    return _still(str(x.device))[None]
