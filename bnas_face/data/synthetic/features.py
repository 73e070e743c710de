"""Eyes and mouth, painted per pixel because they move: lids, gaze, lips, teeth. In millimetres of the template."""

from __future__ import annotations

import torch
from torch import Tensor

from bnas_face.data.synthetic.surface import EYE_X_MM, MOUTH_Y_MM
from bnas_face.data.synthetic.texture import gauss, step

Planes = dict[str, Tensor]
"""Name → (batch, 1, 1), one number per image."""


def eyes(x: Tensor, y: Tensor, a: Planes, n: Planes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour of the open eye and the darkness its lids and lashes add to the skin.

    Returns
    -------
    colour : (3, batch, h, w) linear RGB of the eye ball
    opacity : (batch, h, w) of the eye ball over the skin
    lines : (batch, h, w) darkness of lashes and lid fold, in [0, 1]
    sparkle : (batch, h, w) wet highlight, to be added
    """
    inward = x.abs() - EYE_X_MM
    half = 14.4 + 0.9 * a["eye_width"]
    tilt = y - 1.0 + (0.09 * a["eye_tilt"] - 0.03) * inward
    place = inward / half
    lens = (1 - place * place).clamp(min=0)
    open_share = 1 - n["blink"]
    high, low = (6.0 + 0.9 * a["eye_upper"]) * open_share, 4.1 + 0.5 * a["eye_lower"]
    upper = -high * (lens * torch.rsqrt(lens + 0.02)) * (1 - 0.12 * place) + 1.6 * n["blink"]
    lower = low * lens
    upper = torch.minimum(upper, lower)
    opacity = step(torch.minimum(tilt - upper, lower - tilt), 1.6) * step(1.02 - place.abs(), 0.12)
    gaze_x = torch.sign(x) * n["gaze_x_mm"]
    square = (inward - gaze_x) ** 2 + (tilt - n["gaze_y_mm"] + 0.4) ** 2 + 1e-6
    radius = square * torch.rsqrt(square)
    size = 5.9 + 0.25 * a["iris_size"]
    iris, pupil = step(size - radius, 1.4), step(2.2 - radius, 1.2)
    ring = 1 - 0.55 * gauss(radius, size, 1.1)
    white = (0.44 - 0.21 * gauss(tilt, upper, 2.4) - 0.16 * place.abs() * place * place) * (1 - iris)
    veins = 0.05 * place.abs()
    grain = ring * (0.75 + 0.5 * step(tilt - 0.5, 5.0)) * iris * (1 - pupil)
    colour = (
        torch.stack(
            [
                (white * (1 - veins)) + grain * a["iris_r"],
                white * (0.93 - 2 * veins) + grain * a["iris_g"],
                white * (0.90 - 2 * veins) + grain * a["iris_b"],
            ]
        )
        + 0.006
    )
    sparkle = (
        0.85 * gauss(inward - gaze_x - 1.7 * n["light_x"] * torch.sign(x), 0, 0.9) * gauss(tilt, -2.0, 0.9) * opacity
    )
    lash = (1.0 + 0.35 * a["lashes"] + 0.5 * n["make_up"]).clamp(min=0.4)
    wide = step(1.12 - place.abs(), 0.25)
    lines = 0.85 * gauss(tilt, upper - 0.5, 1.0 * lash) * wide
    crease = upper - 3.6 - 0.6 * a["lid_crease"]
    lines = lines + 0.38 * gauss(tilt, crease, 1.0) * wide * open_share + 0.22 * gauss(tilt, lower + 0.6, 0.9) * wide
    lines = lines + 0.30 * n["make_up"] * gauss(tilt, upper - 2.5, 2.5) * wide
    return colour, opacity, lines.clamp(0, 0.92), sparkle


def lips(x: Tensor, y: Tensor, a: Planes, n: Planes) -> Tensor:
    """Opacity of lip colour, (batch, h, w)."""
    place, lens, line, apart = _mouth_line(x, n)
    bow = 1 + (0.16 + 0.08 * a["cupid"]) * (gauss(x.abs(), 5.5, 3.5) - gauss(x, 0, 2.2))
    thin = 1 - 0.25 * n["age_over"]
    high, low = (5.6 + 1.3 * a["upper_lip"]).clamp(2.2) * thin, (6.8 + 1.5 * a["lower_lip"]).clamp(2.8) * thin
    steep = lens * torch.rsqrt(lens + 0.05)
    upper = line - 0.22 * apart * lens - high * (0.2 * lens + 0.8 * steep) * bow
    lower = line + 0.70 * apart * lens + low * steep
    return step(y - upper, 1.8) * step(lower - y, 2.2) * step(1.03 - place.abs(), 0.1)


def mouth(x: Tensor, y: Tensor, a: Planes, n: Planes) -> tuple[Tensor, Tensor]:
    """The line between the lips, or what is seen between open lips.

    Returns
    -------
    inside : (batch, h, w) opacity
    teeth : (batch, h, w) share of teeth in it
    """
    place, lens, line, apart = _mouth_line(x, n)
    top, bottom = line - 0.22 * apart * lens, line + 0.70 * apart * lens
    ends = step(1.03 - place.abs(), 0.1)
    is_open = step(apart - 0.8, 1.2)
    inside = step(torch.minimum(y - top, bottom - y) + 0.15, 1.3) * is_open
    closed = gauss(y, line, 0.9) * (0.8 * (1 - is_open))
    teeth = step(top + 5.5 - y, 1.2) * step(0.80 - place.abs(), 0.15)
    return (inside + closed).clamp(0, 1) * ends, teeth * step(apart - 1.5, 1.5)


def _mouth_line(x: Tensor, n: Planes) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place along the mouth (±1 at its corners), 1 − place², height of its line, and how far it is open (mm)."""
    place = (x * (1 / 24.5)).clamp(-1.2, 1.2)
    square = place * place
    line = MOUTH_Y_MM + 0.4 * gauss(x, 0, 4.0) - n["smile"] * square
    return place, (1 - square).clamp(min=0), line, 8.0 * n["mouth_open"] + 3.2 * n["smile"]
