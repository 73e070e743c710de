"""Identities and conditions in, pictures out: project, rasterise, shade, composite, photograph; in batches of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bnas_face.data.synthetic import accessories, background, camera, head, raster, sampling, shading, surface, texture
from bnas_face.data.synthetic.conditions import Drawn
from bnas_face.data.synthetic.identity import Identities
from bnas_face.data.synthetic.texture import gauss

VERSION = 5
"""Raise this number with every change that moves a pixel: it is part of the content hash of every rendered set."""

BATCH = 16
"""Images per pass. Passes are always this full (padded), so an image does not depend on its neighbours."""

TEMPLATE_PX = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where the 5-point alignment puts eyes, nose and corners of the mouth in a 112×112 crop (InsightFace's template)."""

STYLE = {
    # volume (10 mm), top, flare, curls, front limit, side limit, back limit (mm; larger hangs lower)
    "shaved": (-0.45, 0.0, 0.0, 0.0, -200.0, -200.0, -200.0),
    "cropped": (-0.25, 0.0, 0.0, 0.1, -78.0, -30.0, 30.0),
    "short": (0.15, 0.5, 0.0, 0.3, -76.0, -14.0, 42.0),
    "side part": (0.2, 0.9, 0.0, 0.15, -74.0, -8.0, 48.0),
    "fringe": (0.3, 0.5, 0.1, 0.2, -32.0, 12.0, 60.0),
    "bob": (0.5, 0.4, 0.5, 0.1, -70.0, 82.0, 95.0),
    "long": (0.45, 0.4, 0.7, 0.1, -74.0, 200.0, 200.0),
    "afro": (2.0, 1.0, 0.0, 0.9, -72.0, 2.0, 66.0),
}


def render(people: Identities, which: Tensor, drawn: Drawn, size_px: int, device: str = "cpu") -> Tensor:
    """Render images.

    Parameters
    ----------
    people : Identities
        n_people identities, on `device`; shape and skin are worked out once for each.
    which : int64 (n,)
        The person in each image, as a position in `people`.
    drawn : dict of ndarray, shape (n,)
        From `conditions.draw`.
    size_px : int
        A multiple of 8.
    device : str

    Returns
    -------
    Tensor of uint8, shape (n, size_px, size_px, 3)
    """
    n = tuple(drawn)
    table = torch.from_numpy(np.stack([np.asarray(drawn[name], np.float32) for name in n])).to(device)
    model = head.load(str(people.shape.device), size_px)
    heads, marks = (morph.people(people.shape) for morph in (model.points, model.landmarks))
    cast = Cast(model, people, shading.appearance(people), heads, marks, texture.paint(people))
    which = which.to(device)
    out = torch.empty(len(which), size_px, size_px, 3, dtype=torch.uint8, device=device)
    for start in range(0, len(which), BATCH):
        places = torch.arange(start, start + BATCH, device=device).clamp(max=len(which) - 1)
        part = dict(zip(n, table.index_select(1, places).unbind(0), strict=True))
        images = _render_batch(cast, which[places], part, size_px)
        out[start : start + BATCH] = images[: len(which) - start]
    return out


@dataclass(frozen=True)
class Cast:
    """What is worked out once per identity.

    Attributes
    ----------
    model : the head's points
    people : Identities
    looks : their `shading.appearance`
    heads : float32 (n_people, 3 · rows · columns), neutral heads, mm
    marks : float32 (n_people, 15), their landmarks, mm
    skins : float32 table of `texture.paint`
    """

    model: head.HeadModel
    people: Identities
    looks: dict[str, Tensor]
    heads: Tensor
    marks: Tensor
    skins: Tensor


@dataclass(frozen=True)
class View:
    """How heads of a batch are seen: turned, then put into the picture by a similarity (a complex factor and offset).

    Attributes
    ----------
    rotation : (batch, 3, 3); head → camera
    turn_x, turn_y : (batch, 1); real and imaginary part of the similarity's factor, pixels per mm
    move_x, move_y : (batch, 1); its offset, pixels
    distance : (batch, 1); camera to head, mm
    """

    rotation: Tensor
    turn_x: Tensor
    turn_y: Tensor
    move_x: Tensor
    move_y: Tensor
    distance: Tensor


def _render_batch(cast: Cast, person: Tensor, n: dict[str, Tensor], size_px: int) -> Tensor:
    model, people = cast.model, cast.people.take(person)
    style = _styles(people, n)
    coefficients = _coefficients(model, people, n, style)
    points = model.points.positions(cast.heads.index_select(0, person), coefficients)
    marks = model.landmarks.positions(cast.marks.index_select(0, person), coefficients)
    view, camera_points, x_px, y_px = _project(points, marks, n, size_px)
    shape = (len(points), *model.is_shell.shape)
    keep = _present(model, n, style)
    depth = camera_points[:, 2].view(shape)
    hits = raster.rasterise(x_px.view(shape), y_px.view(shape), depth, keep, model.is_shell, size_px)
    planes = _sample(cast, person, camera_points.view(len(points), 3, *shape[1:]), hits)
    a, m = _planes(cast.looks, person), _planes(n | {"age_over": _over(n)})
    colour = shading.shade(planes, a, m)
    scene = background.draw(n, size_px)
    scene = scene.lerp_(colour.movedim(0, 1), hits.coverage[:, None])
    accessories.add(scene, view, hits, n, size_px)
    return camera.photograph(scene, n)


def _planes(values: dict[str, Tensor], person: Tensor | None = None) -> dict[str, Tensor]:
    """Numbers per image, or per person, (n,) each, ready to meet planes: (batch, 1, 1) each."""
    table = torch.stack(list(values.values()))
    table = table if person is None else table.index_select(1, person)
    return dict(zip(values, table[..., None, None].unbind(0), strict=True))


def _over(n: dict[str, Tensor]) -> Tensor:
    """Ageing beyond 35 years, 1 at 75."""
    return ((n["age_years"] - 35) / 40).clamp(0, 1.3)


def _styles(people: Identities, n: dict[str, Tensor]) -> Tensor:
    """Hair of each image, (batch, 7) as in `STYLE`: its family, a little different every day, flattened by a hat."""
    table = torch.tensor(list(STYLE.values()), device=n["hat"].device)[people.style]
    table[:, 0] = table[:, 0] + 0.15 * (n["hair_volume"] - 1)
    table[:, 1] = table[:, 1] + 0.25 * n["hair_top"]
    table[:, 2] = table[:, 2] * (1 + 0.3 * n["hair_flare"])
    table[:, 4] = (
        table[:, 4]
        + 3.0 * people.appearance["fringe"]
        + 4.0 * people.appearance["hairline"]
        - 14 * people.appearance["baldness"] ** 3 * _over(n)
    )
    table[:, 5] = table[:, 5] + 6.0 * people.appearance["length"]
    hat = n["hat"] > 0
    table[:, 0] = torch.where(hat, table[:, 0].clamp(max=0.15), table[:, 0])
    table[:, 1] = torch.where(hat, torch.zeros_like(table[:, 1]), table[:, 1])
    return table


def _coefficients(model: head.HeadModel, people: Identities, n: dict[str, Tensor], style: Tensor) -> Tensor:
    """Coefficients of the modes that are new in each image, (batch, n_modes − n_identity_modes)."""
    over = _over(n)
    peaked = (n["hat_kind"] > 0.5) & (n["hat"] > 0)
    beanie = (n["hat_kind"] <= 0.5) & (n["hat"] > 0)
    values = {
        "mouth_open": n["mouth_open"], "smile": n["smile"], "frown": n["frown"], "pucker": n["pucker"],
        "brow_raise": n["brow_raise"], "brow_knit": n["brow_knit"],
        "sagging": over, "old_nose_and_ears": over, "folds": over - 0.15, "thin_lips": over,
        "volume": style[:, 0], "top": style[:, 1], "flare": style[:, 2], "curls": style[:, 3],
        "hat": n["hat"], "crown": beanie.float() * (0.3 + n["hat_r"]), "visor": peaked.float(),
    }  # fmt: skip
    return torch.stack([values[name] for name in model.mode_names[people.shape.shape[1] :]], dim=1)


def _project(points: Tensor, marks: Tensor, n: dict[str, Tensor], size_px: int) -> tuple[View, Tensor, Tensor, Tensor]:
    """Turn heads, see them in perspective, and place them by the 5-point similarity with jittered landmarks."""
    rotation = _rotation(n["yaw_deg"], n["pitch_deg"], n["roll_deg"])
    distance = n["distance_mm"].clamp(min=450)[:, None]
    marks = rotation @ marks
    near = distance / (distance - marks[:, 2])
    mark_x, mark_y = marks[:, 0] * near, marks[:, 1] * near
    unit = size_px / 112
    jitter = torch.stack([n[f"jitter{k}"] for k in range(10)], 1)
    target = torch.tensor(TEMPLATE_PX, device=points.device)
    goal_x, goal_y = target[:, 0] + jitter[:, :5], target[:, 1] + jitter[:, 5:]
    centre_x, centre_y = mark_x.mean(1, keepdim=True), mark_y.mean(1, keepdim=True)
    at_x, at_y = goal_x.mean(1, keepdim=True), goal_y.mean(1, keepdim=True)
    p_x, p_y, q_x, q_y = mark_x - centre_x, mark_y - centre_y, goal_x - at_x, goal_y - at_y
    power = (p_x**2 + p_y**2).sum(1, keepdim=True)
    zoom = n["zoom"][:, None] * unit / power
    turn_x = (p_x * q_x + p_y * q_y).sum(1, keepdim=True) * zoom
    turn_y = (p_x * q_y - p_y * q_x).sum(1, keepdim=True) * zoom
    move_x = at_x * unit - (turn_x * centre_x - turn_y * centre_y)
    move_y = at_y * unit - (turn_y * centre_x + turn_x * centre_y)
    view = View(rotation, turn_x, turn_y, move_x, move_y, distance)
    turned_x = turn_x * rotation[:, 0] - turn_y * rotation[:, 1]
    turned_y = turn_y * rotation[:, 0] + turn_x * rotation[:, 1]
    seen = torch.cat([rotation, torch.stack([turned_x, turned_y], 1)], 1) @ points
    near = (distance - seen[:, 2]).reciprocal_().mul_(distance)
    return view, seen[:, :3], torch.addcmul(move_x, seen[:, 3], near), torch.addcmul(move_y, seen[:, 4], near)


def _rotation(yaw_deg: Tensor, pitch_deg: Tensor, roll_deg: Tensor) -> Tensor:
    """Roll · yaw · pitch, (batch, 3, 3); positive yaw turns the nose to the viewer's right."""
    (cy, sy), (cp, sp), (cr, sr) = (
        (torch.cos(d.deg2rad()), torch.sin(d.deg2rad())) for d in (yaw_deg, pitch_deg, roll_deg)
    )
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).view(-1, 3, 3)
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1).view(-1, 3, 3)
    roll = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).view(-1, 3, 3)
    return roll @ yaw @ pitch


def _present(model: head.HeadModel, n: dict[str, Tensor], style: Tensor) -> Tensor:
    """Where points exist: all skin, and the part of the shell that hair or hat fills. 0 or 1 (batch, rows, columns)."""
    rows, y, azimuth = model.grid.rows, model.shell_y, model.azimuth
    turn = azimuth.abs()
    front, side, back = (style[:, k, None] for k in (4, 5, 6))
    limit = (
        front
        + (side - front) * torch.sigmoid((turn - 1.02 + 0.17 * (side > 60)) * 14)
        - 18 * gauss(turn, 1.6, 0.22) * (side < 30)
    )
    limit = limit + (back - limit) * torch.sigmoid((turn - 1.95) * 9)
    limit = limit + 2.5 * torch.sin(turn * 83) + 2.5 * torch.sin(azimuth * 47 + 1)
    limit = torch.maximum(limit, (shading.hat_line(turn) + 300) * n["hat"][:, None] - 300)
    present = torch.ones(len(style), *model.is_shell.shape, device=y.device)
    torch.sub(limit[:, None, :], y, out=present[:, rows:]).gt_(0)
    present[:, [0, rows - 1, rows, -1]] = 0.0
    return present


def _sample(cast: Cast, person: Tensor, points: Tensor, hits: raster.Hits) -> dict[str, Tensor]:
    """Look up skin, template coordinates and normals at each pixel."""
    n_rows, n_columns = points.shape[2:]
    place = sampling.lookup(hits.row, hits.column, n_rows, n_columns)
    nx, ny, nz = (place(plane.view(-1)) for plane in _normals(points))
    shell = (hits.row - (cast.model.grid.rows - 1.5)).gt_(0)
    inside = nz.clone().lt_(0).mul_(shell)
    unit = (nx * nx).addcmul_(ny, ny).addcmul_(nz, nz).add_(1e-9).rsqrt_().mul_(1 - 2 * inside)
    seen = _textures(cast.skins, person, hits, shell, cast.model.grid)
    share = hits.column * (2 / (n_columns - 1)) - 1
    azimuth = share * (math.pi * surface.FRONT_FOCUS + math.pi * (1 - surface.FRONT_FOCUS) * share * share)
    seen |= {"azimuth": azimuth, "shell": shell, "inside": inside}
    return seen | {"nx": nx * unit, "ny": ny * unit, "nz": nz * unit}


def _textures(skins: Tensor, person: Tensor, hits: raster.Hits, shell: Tensor, grid: surface.Grid) -> dict[str, Tensor]:
    """The nearest texel of each pixel, in the planes of its person and in those that all share."""
    per_row, per_shell_row = 1 / (grid.rows - 1), 1 / (grid.shell_rows - 1)
    down = (hits.row - shell * grid.rows).clamp_(min=0).mul_(per_row + shell * (per_shell_row - per_row)).clamp_(max=1)
    across = hits.column * (1 / (grid.columns - 1))
    common, own = texture.shared(str(person.device)), (person * skins[0].numel()).to(torch.int32)[:, None, None]
    nearest = _nearest(down, across, texture.FINE).add_((shell * common[0].numel()).to(torch.int32))
    seen = _texels(texture.SHARED, common, nearest)
    return seen | _texels(texture.CHANNELS, skins, _nearest(down, across, texture.TEXELS).add_(own))


def _nearest(down: Tensor, across: Tensor, side: int) -> Tensor:
    """Place of the nearest texel of a texture (side, side) from its shares of the height and the width, int32."""
    rows, columns = ((share * (side - 1)).add_(0.5).floor_() for share in (down, across))
    return rows.mul_(side).add_(columns).to(torch.int32)  # exact: whole numbers below 2²⁴


def _texels(names: tuple[str, ...], table: Tensor, place: Tensor) -> dict[str, Tensor]:
    """Planes of a table (n, len(names), side, side) at `place` (batch, h, w), given as for the first plane."""
    flat, size = table.view(-1), table[0, 0].numel()
    return {name: flat[k * size :].index_select(0, place.view(-1)).view(place.shape) for k, name in enumerate(names)}


def _normals(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outward normals (not unit length) of points (batch, 3, rows, columns): three planes (batch, rows, columns)."""
    across, down = torch.empty_like(points), torch.empty_like(points)
    torch.sub(points[..., 2:], points[..., :-2], out=across[..., 1:-1])
    across[..., 0] = across[..., -1] = points[..., 1] - points[..., -2]
    torch.sub(points[:, :, 2:], points[:, :, :-2], out=down[:, :, 1:-1])
    down[:, :, 0], down[:, :, -1] = 0.0, 0.0
    (ax, ay, az), (dx, dy, dz) = across.unbind(1), down.unbind(1)
    return (
        (ay * dz).addcmul_(az, dy, value=-1),
        (az * dx).addcmul_(ax, dz, value=-1),
        (ax * dy).addcmul_(ay, dx, value=-1),
    )
