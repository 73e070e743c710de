"""Things before the face: glasses in the head's frame, a hand or an object in the picture's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bnas_face.data.synthetic.raster import Hits
from bnas_face.data.synthetic.texture import skin_colour, step

if TYPE_CHECKING:
    from bnas_face.data.synthetic.render import View

_LENS_MM = 91.0
"""z of the glasses' plane."""

_BAND = (0.12, 0.76)
"""Rows of the picture, as shares of its height, in which glasses can lie: the alignment puts the eyes at 0.46."""


def add(scene: Tensor, view: View, hits: Hits, n: dict[str, Tensor], size_px: int) -> None:
    """Put glasses and occluders onto scenes (batch, 3, size, size), linear RGB, where an image has them; in place."""
    worn = torch.nonzero(n["glasses"] > 0)[:, 0]
    if len(worn):
        rows = slice(*(round(share * size_px) for share in _BAND))
        band = scene[:, :, rows]
        band[worn] = _glasses(band[worn], view, hits.depth[worn, rows], n, worn, rows)
    held = torch.nonzero(n["occluder"] > 0)[:, 0]
    if len(held):
        scene[held] = _occluder(scene[held], {k: v[held, None, None] for k, v in n.items()}, size_px)


def _glasses(scene: Tensor, view: View, depth: Tensor, n: dict[str, Tensor], worn: Tensor, rows: slice) -> Tensor:
    """Two lenses in a plane before the eyes, and temples to the ears, tested against the head's depth."""
    m = {k: v[worn, None, None] for k, v in n.items()}
    across, down = _camera_mm(view, worn, scene.shape[-1], rows)
    rotation = view.rotation[worn][:, :, :, None, None]
    sun = (m["glasses"] > 1.5).float()
    # the plane z = const of the head: solve row 2 of Rᵀ · (across, down, t) for t
    steep = rotation[:, 2, 2].clamp(min=0.12)
    t = (_LENS_MM - rotation[:, 0, 2] * across - rotation[:, 1, 2] * down) / steep
    x = rotation[:, 0, 0] * across + rotation[:, 1, 0] * down + rotation[:, 2, 0] * t
    y = rotation[:, 0, 1] * across + rotation[:, 1, 1] * down + rotation[:, 2, 1] * t
    before = step(t - depth + 4.0, 4.0) * (rotation[:, 2, 2] > 0.13)
    size = 0.9 + 0.22 * m["frame_size"]
    distance = _lens(x, y, size, m["frame_kind"])
    thick = 1.0 + 1.6 * m["frame_size"]
    frame = step(thick - distance.abs(), 1.6)
    bridge = step(7.5 - x.abs(), 1.5) * step(thick - (y + 2.5 + 0.02 * x * x).abs(), 1.6)
    frame = torch.maximum(frame, bridge) * before
    lens = step(-distance, 1.6) * before
    tone = m["frame_tone"]
    metal = torch.stack([0.02 + 0.35 * tone**3, 0.02 + 0.26 * tone**3, 0.02 + 0.18 * tone**3], 1)
    glint = 0.5 * torch.exp(-(((x.abs() - 26 - 8 * m["light_x"]) + 0.6 * (y + 6)) ** 2) / 18) * (1 - 0.6 * sun)
    tinted = scene * (0.90 - 0.80 * sun)[:, None] + (0.02 * sun + 0.10 * glint)[:, None]
    scene = scene + (tinted - scene) * lens[:, None]
    scene = scene + (metal - scene) * frame[:, None]
    return scene + (metal - scene) * _temple(across, down, depth, rotation, thick)[:, None]


def _lens(x: Tensor, y: Tensor, size: Tensor, kind: Tensor) -> Tensor:
    """Signed distance (mm, negative inside) to a lens: round, rectangular or between."""
    dx, dy = x.abs() - 32.0, y - 2.0
    half_x, half_y = 21.0 * size, (13.0 + 8.0 * (1 - kind)) * size
    power = 2.2 + 3.0 * kind
    reach = _power(_power((dx / half_x).abs(), power) + _power((dy / half_y).abs(), power), 1 / power)
    return (reach - 1) * torch.minimum(half_x, half_y)


def _power(value: Tensor, power: Tensor) -> Tensor:
    """value^power for values ≥ 0; much faster than the exact function."""
    return torch.exp2(torch.log2(value + 1e-6) * power)


def _temple(across: Tensor, down: Tensor, depth: Tensor, rotation: Tensor, thick: Tensor) -> Tensor:
    """Opacity of the side arm towards the viewer: a plane that leads from the frame back to the ear."""
    side = torch.sign(rotation[:, 2, 0])
    normal = [side * rotation[:, k, 0] + 0.22 * rotation[:, k, 2] for k in range(3)]
    lean = normal[2].clamp(min=0.05)
    t = (76.0 - normal[0] * across - normal[1] * down) / lean
    y = rotation[:, 0, 1] * across + rotation[:, 1, 1] * down + rotation[:, 2, 1] * t
    z = rotation[:, 0, 2] * across + rotation[:, 1, 2] * down + rotation[:, 2, 2] * t
    along = step(_LENS_MM + 1 - z, 3) * step(z + 8, 3)
    return along * step(thick * 1.1 - (y + 3).abs(), 1.6) * step(t - depth + 5.0, 4.0) * (normal[2] > 0.25)


def _camera_mm(view: View, worn: Tensor, size_px: int, rows: slice) -> tuple[Tensor, Tensor]:
    """Camera-frame x and y of each pixel at the depth of the glasses, mm, (n, rows, size) each."""
    line = torch.arange(size_px, device=worn.device, dtype=torch.float32) + 0.5
    dx = line[None, None, :] - view.move_x[worn, :, None]
    dy = line[None, rows, None] - view.move_y[worn, :, None]
    turn_x, turn_y = view.turn_x[worn, :, None], view.turn_y[worn, :, None]
    near = (view.distance[worn] - _LENS_MM * view.rotation[worn, 2, 2, None])[:, :, None] / view.distance[worn, :, None]
    power = (turn_x**2 + turn_y**2) / near
    return (dx * turn_x + dy * turn_y) / power, (dy * turn_x - dx * turn_y) / power


def _occluder(scene: Tensor, m: dict[str, Tensor], size_px: int) -> Tensor:
    """A hand (four fingers and a palm) or a plain object that reaches in from the border."""
    line = (torch.arange(size_px, device=scene.device, dtype=torch.float32) + 0.5) * (112 / size_px)
    side = torch.where(m["hand_angle"] < 0.5, -1.0, 1.0)
    x = (line[None, None, :] - 56) * side - (14 + 30 * m["hand_x"])
    y = line[None, :, None] - (62 + 42 * m["hand_y"])
    lean = 0.5 * (m["hand_tone"] - 0.3)
    along, across = x + lean * y, y - lean * x
    fingers = [_capsule(along - reach, across - place, 5.0) for reach, place in ((4, -17), (0, -6), (1, 5), (7, 15.5))]
    hand = torch.minimum(torch.stack(fingers).amin(0), _capsule(along - 30, across, 24.0))
    thing = torch.maximum(across.abs() - (9 + 14 * m["hand_x"]), -along)
    is_hand = m["occluder"] < 1.5
    distance = torch.where(is_hand, hand, thing)
    red, green, blue = skin_colour(m["hand_tone"])
    plain = [0.03 + 0.5 * m[f"hat_{c}"] ** 2 for c in "rgb"]
    colour = torch.stack([torch.where(is_hand, s, o) for s, o in zip((red, green, blue), plain, strict=True)], 1)
    light = (m["ambient"] + m["key"] * (0.55 + 0.05 * (-distance).clamp(0, 6))) * (1 - 0.35 * step(distance + 1.6, 1.6))
    opacity = step(-distance, 1.6)[:, None]
    shadow = 1 - 0.35 * step(5 - distance, 8.0)[:, None] * (1 - opacity)
    return scene * shadow * (1 - opacity) + colour * light[:, None] * opacity


def _capsule(along: Tensor, across: Tensor, radius: float) -> Tensor:
    """Signed distance to a half-infinite bar with a round end at the origin, pointing to −along."""
    return (along.clamp(max=0) ** 2 + across**2 + 1e-6).sqrt() - radius
