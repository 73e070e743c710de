"""The painted skin of an identity: albedo, brows, beard, hairline and wrinkles on the grid of the head's surface."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import surface
from bnas_face.data.synthetic.identity import Identities

TEXELS = 160
"""Rows and columns of a person's textures, about one texel per pixel of a face at 112 px; the nearest is read."""

FINE = 320
"""Rows and columns of the textures that all people share."""

CHANNELS = ("red", "green", "blue", "brow", "beard", "hairline", "wrinkle")
"""Each person's own: albedo (linear), opacity of brow and beard, 1/20 mm inside the hairline, lines of age."""

SHARED = ("occlusion", "x", "y", "strand")
"""The same for all: ambient occlusion, where on the template the texel lies (mm), light and dark strands of hair."""

_SKIN_SRGB = ((245, 203, 174), (234, 186, 150), (213, 158, 118), (180, 124, 87), (134, 87, 59), (80, 52, 38))
Maps = dict[str, Tensor]


def paint(people: Identities) -> Tensor:
    """Textures of the skin: float32 (n, len(CHANNELS), TEXELS, TEXELS)."""
    device = str(people.shape.device)
    still = _still(device)
    a = {name: value[:, None, None] for name, value in people.appearance.items()}
    noise = _noise(device)
    pores, blotches = (_shifted(noise[k], people) for k in (0, 1))
    planes = [
        *_albedo(still, a, pores, blotches, people.moles),
        _brow(still, a, pores),
        _beard(still, a),
        (_hairline(still, a) * (1 / 20) + 0.12 * pores).clamp(-3, 3),
        (still["wrinkle"] * (1 + 0.45 * _shifted(noise[1], people, 2))).clamp(0, 1.3),
    ]
    skins = torch.empty(len(people), len(CHANNELS), TEXELS, TEXELS, device=device)
    for k, plane in enumerate(planes):
        skins[:, k] = plane
    return skins


def skin_colour(tone: Tensor) -> Tensor:
    """Linear RGB (3, …) of a skin tone in [0, 1], light to dark."""
    table = (torch.tensor(_SKIN_SRGB, device=tone.device) / 255.0) ** 2.2
    place = tone.clamp(0, 1) * (len(_SKIN_SRGB) - 1.001)
    low = place.long()
    share = (place - low)[..., None]
    return (table[low] * (1 - share) + table[low + 1] * share).movedim(-1, 0)


def gauss(value: Tensor, centre: Tensor | float, spread: Tensor | float) -> Tensor:
    """exp(−½ ((value − centre) / spread)²), as a power of two because that is several times faster."""
    away = (value - centre) * (0.8493218 / spread)
    return torch.exp2(-(away * away))


def step(value: Tensor, soft: float = 1.0) -> Tensor:
    """A soft step from 0 to 1 around 0, `soft` wide."""
    return torch.sigmoid(value * (4.0 / soft))


@functools.lru_cache(maxsize=4)
def shared(device: str) -> Tensor:
    """Textures that all people share, of skin and shell: float32 (2, len(SHARED), FINE, FINE)."""
    sheets = (surface.skin(TEXELS, TEXELS), surface.shell(surface.SHELL_ROWS, TEXELS))
    tables = []
    for number, sheet in enumerate(sheets):
        x, y = (torch.from_numpy(np.ascontiguousarray(p, np.float32)) for p in (sheet.x, sheet.y))
        sky = torch.ones_like(x) if number else _still("cpu")["occlusion"]
        fine = torch.nn.functional.interpolate(
            torch.stack([sky, x, y])[None], size=(FINE, FINE), mode="bilinear", align_corners=True
        )[0]
        share = torch.linspace(-1, 1, FINE)
        azimuth = torch.pi * share * (surface.FRONT_FOCUS + (1 - surface.FRONT_FOCUS) * share * share)
        tables.append(torch.cat([fine, _strands(azimuth, fine[2])[None]]))
    return torch.stack(tables).to(device)


def _strands(azimuth: Tensor, y: Tensor) -> Tensor:
    """Brightness of hair, around 1."""
    waves = torch.sin(y * 0.09 + 5 * azimuth)
    strand = torch.sin(azimuth * 47 + 2.5 * waves) + torch.sin(azimuth * 83 - 1.5 * waves)
    return 1 + 0.17 * strand + 0.10 * torch.sin(azimuth * 19 + waves)


@functools.lru_cache(maxsize=4)
def _still(device: str) -> Maps:
    """Maps that all people share, each (TEXELS, TEXELS)."""
    sheet = surface.skin(TEXELS, TEXELS)
    x, y, azimuth = (torch.from_numpy(np.ascontiguousarray(p, np.float32)) for p in (sheet.x, sheet.y, sheet.azimuth))
    side, turn = x.abs(), azimuth.abs()
    maps = {
        "x": x, "y": y, "azimuth": azimuth, "side": side, "turn": turn,
        "cheek": gauss(side, 40, 14) * gauss(y, 36, 13), "nose": gauss(side, 0, 11) * gauss(y, 40, 9),
        "freckle": gauss(y, 22, 30) * gauss(side, 0, 55),
        "bags": gauss(side, 30, 11) * gauss(y, 11, 4.0), "lids": gauss(side, 31, 13) * gauss(y, -6, 4),
        "nostrils": 0.8 * gauss(side, 7.2, 3.4) * gauss(y, 49, 2.0),
        "wings": 0.30 * gauss(side, 20.5, 2.0) * gauss(y, 44, 4.5),
        "jaw": y + 0.35 * (turn - 0.9).clamp(min=0) * 85,
        "beard": step(1.75 - turn, 0.2) * step(118 - y, 8) * (1 - 0.85 * gauss(side, 0, 17) * gauss(y, 72, 8)),
        "moustache": gauss(side, 9, 11) * gauss(y, 60.5, 4.4),
        "peak": gauss(side, 0, 12), "temple": gauss(turn, 0.62, 0.2),
        "hairline": 40 * torch.sigmoid((turn - 0.98) * 11) + 34 * torch.sigmoid((turn - 1.22) * 14)
        - 30 * gauss(turn, 1.75, 0.2) + 78 * torch.sigmoid((turn - 2.0) * 9),
        "wrinkle": _wrinkles(x, y, _noise("cpu")[1]), "occlusion": _occlusion(side, y, turn),
    }  # fmt: skip
    return {name: value.to(device) for name, value in maps.items()}


@functools.lru_cache(maxsize=4)
def _noise(device: str) -> Tensor:
    """Fine and coarse noise, zero mean and unit variance, (2, TEXELS, TEXELS); wraps around."""
    random = np.random.default_rng(7)
    white = np.fft.rfft2(random.normal(size=(2, TEXELS, TEXELS)))
    frequency = np.hypot(np.fft.fftfreq(TEXELS)[:, None], np.fft.rfftfreq(TEXELS)[None])
    filters = np.stack([np.exp(-((frequency / 0.30) ** 2)), np.exp(-((frequency / 0.045) ** 2))])
    noise = np.fft.irfft2(white * filters, s=(TEXELS, TEXELS))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    return torch.from_numpy(noise.astype(np.float32)).to(device)


def _shifted(noise: Tensor, people: Identities, mole: int = 0) -> Tensor:
    """The noise moved by an offset of each person's own: (n, TEXELS, TEXELS)."""
    offsets = (people.moles[:, mole : mole + 2, :2].abs() * 7919).long() % TEXELS
    lines = torch.arange(TEXELS, device=noise.device)
    rows = (lines + offsets[:, 0, :1]) % TEXELS
    columns = (lines + offsets[:, 1, :1]) % TEXELS
    places = (rows[:, :, None] * TEXELS + columns[:, None, :]).view(-1)
    return noise.reshape(-1).index_select(0, places).view(len(people), TEXELS, TEXELS)


def _albedo(still: Maps, a: Maps, pores: Tensor, blotches: Tensor, moles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    red, green, blue = skin_colour(a["skin_tone"] ** 1.25)
    mottled = (1 + 0.5 * a["mottling"]).clamp(min=0.2)
    ruddy = 0.05 * a["skin_red"] + (0.10 + 0.06 * a["blush"]) * (still["cheek"] + 0.8 * still["nose"])
    ruddy = ruddy + 0.03 * mottled * blotches
    shade = 1.0 + 0.035 * mottled * pores + 0.03 * blotches
    speckle = (pores + 0.35 * blotches - 1.3).clamp(0, 1) * ((a["freckles"] - 0.3).clamp(min=0) * 0.42)
    shade = shade * (1 - speckle * still["freckle"])
    shade = shade * (1 - 0.6 * _spots(still, moles))
    bags = (0.14 + 0.08 * a["eye_bags"]).clamp(0.03, 0.4) * still["bags"]
    shade = shade * (1 - bags - 0.08 * still["lids"]) * ((1 - still["nostrils"]) * (1 - still["wings"]))
    return (
        red * shade * (1 + 0.4 * ruddy),
        green * shade * (1 - ruddy),
        blue * shade * ((1 - 0.05 * a["skin_yellow"]) * (1 - 0.9 * ruddy - 0.15 * bags)),
    )


def _spots(still: Maps, moles: Tensor) -> Tensor:
    """Moles (n, 8, (x mm, y mm, strength)) as spots with a standard deviation of 1.5 mm: (n, TEXELS, TEXELS)."""
    x, y, strength = moles.unbind(2)
    sharp = 0.7213475 / 1.5**2  # exp(−½ d²/σ²) as a power of two
    quadratic = torch.stack([torch.full_like(x, -sharp), 2 * sharp * x, 2 * sharp * y, -sharp * (x * x + y * y)], 2)
    points = torch.stack([still["x"] ** 2 + still["y"] ** 2, still["x"], still["y"], torch.ones_like(still["x"])])
    spots = torch.exp2_(torch.bmm(quadratic, points.view(1, 4, -1).expand(len(moles), -1, -1)))
    return torch.bmm(strength.clamp(0, 1)[:, None], spots).view(-1, TEXELS, TEXELS).clamp_(max=1)


def _brow(still: Maps, a: Maps, pores: Tensor) -> Tensor:
    """Opacity of the eyebrows: an arch that thins outwards, with the texture of hairs."""
    side, y = still["side"], still["y"]
    inner = 11.5 + 2.2 * a["brow_gap"]
    outer = 52 + 3.0 * a["brow_length"]
    along = ((side - inner) / (outer - inner)).clamp(-0.3, 1.3)
    rise = (along - 0.62) * (1 / 0.62)
    middle = -14.5 + 1.6 * a["brow_height"] - (3.2 + 2.0 * a["brow_arch"]) * (1 - rise * rise)
    middle = middle + 16.0 * (along - 0.85).clamp(min=0)
    half = (3.3 + 1.1 * a["brow_thickness"]).clamp(1.2, 6) * (1.0 - 0.55 * along.clamp(0, 1))
    inside = step(half - (y - middle).abs(), 2.6) * step(along + 0.02, 0.16) * step(1.0 - along, 0.2)
    return inside * (0.86 + 0.14 * a["brow_density"] + 0.14 * pores).clamp(0.15, 1)


def _beard(still: Maps, a: Maps) -> Tensor:
    """Where a beard grows: moustache, chin, jaw up to the sideburns."""
    jaw = step(still["jaw"] - (62 + 4 * a["beard_edge"]), 8) * still["beard"]
    return (jaw + still["moustache"] * (1.1 + 0.4 * a["moustache"]).clamp(0.1, 1.6)).clamp(0, 1)


def _hairline(still: Maps, a: Maps) -> Tensor:
    """Millimetres inside the hair at age 30 (negative outside)."""
    line = -66 + 5.0 * a["hairline"] + (2 + 3.0 * a["peak"]) * still["peak"]
    return line - (5 + 4 * a["temples"]).clamp(min=0) * still["temple"] + (still["hairline"] - still["y"])


def _wrinkles(x: Tensor, y: Tensor, blotches: Tensor) -> Tensor:
    """Darkness of lines that deepen with age, in [0, 1.2]."""
    side, wander = x.abs(), 1.6 * blotches
    lines = [gauss(y + 0.004 * x**2 + wander, line, 0.9) for line in (-33.0, -42.0, -51.0)]
    total = 0.6 * (lines[0] + lines[1] + lines[2]) * gauss(side, 0, 34)
    total = total + 0.7 * gauss(side + 0.3 * wander, 5.5 + 0.10 * (y + 20).abs(), 1.0) * gauss(y, -15, 7)
    fold = 19.5 + (y - 45) * 0.48 + 0.4 * wander
    total = total + 1.2 * gauss(side, fold, 1.5) * gauss(y, 60, 12)
    feet = torch.cos((y - 2 + 0.25 * (side - 50)) * 1.3 + wander * 0.4).clamp(min=0) ** 3
    total = total + 0.65 * feet * gauss(side, 54, 5.5) * gauss(y, 2, 9)
    total = total + 0.8 * gauss(y - 0.012 * (side - 30) ** 2, 12.5 + 0.3 * wander, 1.1) * gauss(side, 30, 10)
    total = total + 0.5 * gauss(side, 31 + 0.25 * (y - 80), 1.2) * gauss(y, 86, 9)
    return total.clamp(0, 1.2)


def _occlusion(side: Tensor, y: Tensor, turn: Tensor) -> Tensor:
    """Share of the sky that a point of the skin sees."""
    dark = 0.36 * gauss(side, 15, 5) * gauss(y, -1, 8) + 0.20 * gauss(side, 30, 15) * gauss(y, -8, 4)
    dark = dark + 0.35 * gauss(side, 0, 14) * gauss(y, 54, 4) + 0.28 * gauss(side, 19, 5) * gauss(y, 40, 9)
    dark = dark + 0.32 * gauss(side, 0, 13) * gauss(y, 89, 4.5) + 0.22 * gauss(side, 28, 4) * gauss(y, 73, 4)
    dark = dark * torch.sigmoid((1.25 - turn) * 8) + 0.55 * torch.sigmoid((y - 121) / 4)
    ear = gauss(turn, 1.62, 0.10) * gauss(y, 22, 13)
    return (1 - dark - 0.45 * ear).clamp(0.25, 1)
