"""Light and colour per pixel: skin, lips, eyes, hair and hats under a key light, sky and fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import features
from bnas_face.data.synthetic.identity import Identities
from bnas_face.data.synthetic.texture import gauss, step

Planes = dict[str, Tensor]
"""Name → (batch, h, w) of a pixel's surface, or (batch, 1, 1) of a person or an image."""


def hat_line(turn: Tensor) -> Tensor:
    """Lower rim of a hat by azimuth, template y in mm."""
    return -40 + 22 * torch.sigmoid((turn - 1.9) * 4)


def appearance(people: Identities) -> Planes:
    """Appearance with the colours of iris and hair worked out (linear RGB); each (n,)."""
    a = dict(people.appearance)
    blue, light = a["iris_hue"] < 0.3, 0.5 + a["iris_light"]
    green = (a["iris_hue"] >= 0.3) & (a["iris_hue"] < 0.42)
    dark = torch.where(a["skin_tone"] > 0.6, 1.0, 0.0)
    for name, b, g, brown in (
        ("iris_r", 0.10, 0.13, 0.09),
        ("iris_g", 0.19, 0.16, 0.045),
        ("iris_b", 0.30, 0.08, 0.02),
    ):
        a[name] = torch.where(blue, b, torch.where(green, g, brown)) * (1 - dark) * light + dark * brown * 0.6
    tone = (1 - a["hair_tone"]) ** 2.2 * (1 - 0.85 * a["skin_tone"].clamp(0.2, 1) ** 0.7) * 1.3
    a["hair_r"] = 0.018 + tone * (0.42 + 0.12 * a["hair_red"])
    a["hair_g"] = 0.014 + tone * (0.30 - 0.14 * a["hair_red"] ** 2)
    a["hair_b"] = 0.012 + tone * (0.17 - 0.13 * a["hair_red"])
    a["male"] = (a["sex"] <= 0.5).float()
    a["shaved"] = (people.style == 0).float()
    return a


def shade(p: Planes, a: Planes, m: Planes) -> Tensor:
    """Light on skin, hair and hat: linear RGB (3, batch, h, w)."""
    hair = _hair_colour(p, a, m)
    skin, shine, sparkle = _skin_colour(p, hair, a, m)
    gleam = p["shell"] * 0.10
    _put_on_hats(hair, gleam, p, m)
    albedo = skin.lerp_(hair, p["shell"])
    shine = shine.addcmul_(shine, p["shell"], value=-1).add_(gleam)
    facing = (p["nx"] * m["light_x"]).addcmul_(p["ny"], m["light_y"]).addcmul_(p["nz"], m["light_z"])
    half = (facing + p["nz"]).mul_(torch.rsqrt(2 + 2 * m["light_z"]))
    gloss = half.clamp_(min=0)
    for _ in range(3):
        gloss = gloss.mul_(gloss)
    gloss = gloss * gloss * gloss  # cosine to the 24th
    sky = (p["ny"] * -0.25).add_(0.75).mul_(m["ambient"])
    dark = torch.maximum(p["occlusion"], p["shell"]).sub_(p["inside"], alpha=0.6)
    back = (p["nz"] * 0.6).sub_(p["nx"] * (0.8 * m["light_x"].sign())).clamp_(min=0)
    soft = sky.addcmul_(back, m["fill"]).mul_(dark)
    dark = dark.mul_(0.55).add_(0.45)
    shiny = gloss.mul_(shine).add_(sparkle, alpha=0.5).mul_(m["key"])
    for channel, wrap in zip(albedo, (0.28, 0.16, 0.12), strict=True):  # red light travels furthest under the skin
        direct = (facing + wrap).clamp_(min=0).mul_(dark).mul_(m["key"] / (1 + wrap)).add_(soft)
        torch.addcmul(shiny, channel, direct, out=channel)
    return albedo


def _put_on_hats(hair: Tensor, gleam: Tensor, p: Planes, m: Planes) -> None:
    """Colour the shell above the rim of a hat, in place, in the images that have one."""
    worn = torch.nonzero(m["hat"].view(-1) > 0)[:, 0]
    if not len(worn):
        return
    azimuth, y = p["azimuth"][worn], p["y"][worn]
    is_hat = p["shell"][worn] * m["hat"][worn] * step(hat_line(azimuth.abs()) - y, 2.0)
    weave = 0.85 + 0.15 * torch.sin(azimuth * 70) * (m["hat_kind"][worn] <= 0.5)
    for channel, name in zip(hair, ("hat_r", "hat_g", "hat_b"), strict=True):
        bare = channel[worn]
        channel[worn] = bare + ((0.02 + 0.6 * m[name][worn] ** 2) * weave - bare) * is_hat
    gleam[worn] *= 1 - is_hat


def _hair_colour(p: Planes, a: Planes, m: Planes) -> Tensor:
    """Hair with strands, greying with age: (3, batch, h, w)."""
    grey = ((m["age_years"] - 38 - 22 * (1 - a["greying"])) / 28).clamp(0, 0.92)
    colour = torch.stack([a[f"hair_{c}"] * (1 - grey) + 0.42 * grey for c in "rgb"])
    return colour * p["strand"]


def _skin_colour(p: Planes, hair: Tensor, a: Planes, m: Planes) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo (3, batch, h, w), strength of the skin's shine and of the eyes' sparkle (batch, h, w)."""
    over = m["age_over"]
    growth = 1 - (1 - _scalp(p, a, over)) * (1 - p["brow"] * (1 - 0.25 * over)) * (1 - _beard_density(p, a, m))
    lines = 1 - (0.42 * over + 0.04 + 0.10 * m["brow_knit"]) * p["wrinkle"]
    albedo = torch.empty_like(hair)
    for channel, root, name in zip(albedo, hair, ("red", "green", "blue"), strict=True):
        torch.mul(p[name], lines, out=channel).lerp_(root * 0.85, growth)
    shine = (0.06 + 0.05 * gauss(p["x"], 0, 10)) * (1 - growth)
    sparkle = torch.zeros_like(shine)
    canvas = (albedo.view(3, -1), shine.view(-1), sparkle.view(-1))
    side = p["x"].abs()
    behind = torch.maximum(p["azimuth"].abs().sub_(1.5), p["shell"] - 0.5)
    mouth = torch.maximum((p["y"] - 76).abs_().sub_(19.5), side - 28).maximum(behind)
    _paint_mouth(canvas, _Spot.where(mouth, p, a, m), growth)
    eyes = torch.maximum(side.sub_(31.5).abs_().sub_(21), (p["y"] + 3).abs_().sub_(14.5)).maximum(behind)
    _paint_eyes(canvas, _Spot.where(eyes, p, a, m))
    return albedo, shine, sparkle


@dataclass(frozen=True)
class _Spot:
    """A few pixels of a batch with all they need, as flat tensors (n,): eyes and mouth cover a tenth of a picture.

    Attributes
    ----------
    pixels : int64 (n,); places in the flattened batch
    x, y, facing : float32 (n,); template coordinates, and 0 where the surface turns to the side of the head
    a, m : name → float32 (n,); of the pixel's person and image
    """

    pixels: Tensor
    x: Tensor
    y: Tensor
    facing: Tensor
    a: Planes
    m: Planes

    @classmethod
    def where(cls, outside: Tensor, p: Planes, a: Planes, m: Planes) -> _Spot:
        """The pixels where `outside` (batch, h, w), which says how far out of the spot they are, is negative."""
        pixels = _places(outside.view(-1) < 0)
        image = torch.div(pixels, outside[0].numel(), rounding_mode="floor")
        x, y, azimuth = (p[name].reshape(-1).index_select(0, pixels) for name in ("x", "y", "azimuth"))
        return cls(pixels, x, y, step(1.3 - azimuth.abs(), 0.2), _Spread(a, image), _Spread(m, image))


def _places(mask: Tensor) -> Tensor:
    """Indices of the true elements (n,); numpy finds them several times faster than torch does on a CPU."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return torch.nonzero(mask)[:, 0]


class _Spread(dict[str, Tensor]):
    """Numbers per image, looked up per pixel when asked for."""

    def __init__(self, values: Planes, image: Tensor) -> None:
        super().__init__(values)
        self.image = image

    def __getitem__(self, name: str) -> Tensor:
        return super().__getitem__(name).view(-1).index_select(0, self.image)


def _scalp(p: Planes, a: Planes, over: Tensor) -> Tensor:
    """Opacity of the hair's roots: recedes with age, thin where the head is shaved."""
    recede = 1.1 * a["male"] * a["baldness"] ** 2 * over
    return step(p["hairline"] - recede, 0.55) * (0.93 - 0.25 * a["shaved"])


def _paint_mouth(canvas: tuple[Tensor, Tensor, Tensor], spot: _Spot, growth: Tensor) -> None:
    """Tint the lips and open the mouth, in place."""
    albedo, shine, _ = canvas
    a, m, pixels = spot.a, spot.m, spot.pixels
    lips = features.lips(spot.x, spot.y, a, m) * spot.facing * (1 - growth.view(-1)[pixels])
    inside, teeth = features.mouth(spot.x, spot.y, a, m)
    inside = inside * spot.facing
    dark, red, painted = a["lip_dark"], a["lip_red"], m["make_up"]
    tints = (
        0.80 - 0.05 * dark + 0.16 * painted,
        0.44 - 0.06 * dark - 0.05 * red - 0.22 * painted,
        0.47 - 0.06 * dark - 0.04 * red - 0.20 * painted,
    )
    for channel, tint, gum, tooth in zip(albedo, tints, (0.06, 0.018, 0.018), (0.48, 0.47, 0.42), strict=True):
        colour = channel[pixels] * (1 - lips * (0.85 * (1 - tint.clamp(0.1, 1))))
        channel[pixels] = colour + (gum + tooth * teeth - colour) * inside
    shine[pixels] *= 1 + 0.2 * lips


def _paint_eyes(canvas: tuple[Tensor, Tensor, Tensor], spot: _Spot) -> None:
    """Paint lids and eye balls, in place."""
    albedo, shine, sparkle = canvas
    ball, opacity, lines, wet = features.eyes(spot.x, spot.y, spot.a, spot.m)
    opacity, keep = opacity * spot.facing, 1 - lines * spot.facing
    for channel, colour in zip(albedo, ball, strict=True):
        skin = channel[spot.pixels] * keep
        channel[spot.pixels] = skin + (colour - skin) * opacity
    shine[spot.pixels] *= 1 - opacity
    sparkle[spot.pixels] = wet * spot.facing


def _beard_density(p: Planes, a: Planes, m: Planes) -> Tensor:
    """Opacity of the beard: stubble varies from day to day, a full beard is the person's."""
    full = step(a["beard_density"] - 0.75, 0.5) * 0.92
    stubble = 0.10 + 0.22 * m["stubble"]
    return a["male"] * p["beard"] * torch.maximum(full, stubble)
