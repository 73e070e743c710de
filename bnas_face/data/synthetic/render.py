"""Identities and conditions in, pictures out: project, rasterise, shade, composite, photograph; in batches of torch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bnas_face.data.synthetic import accessories, background, camera, features, head, raster, surface, texture
from bnas_face.data.synthetic.conditions import Drawn
from bnas_face.data.synthetic.identity import Identities
from bnas_face.data.synthetic.texture import gauss, step

VERSION = 1
"""Raise this number with every change that moves a pixel: it is part of the content hash of every rendered set."""

BATCH = 16
"""Images per pass. Passes are always this full (padded), so an image does not depend on its neighbours."""

TEMPLATE_PX = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
"""Where the 5-point alignment puts eyes, nose and corners of the mouth in a 112×112 crop (InsightFace's template)."""

STYLE = {
    # volume (10 mm), top, flare, curls, front limit, side limit, back limit (mm; larger hangs lower)
    "shaved": (-0.45, 0.0, 0.0, 0.0, -200.0, -200.0, -200.0),
    "cropped": (-0.25, 0.0, 0.0, 0.1, -66.0, -30.0, 30.0),
    "short": (0.25, 0.5, 0.0, 0.3, -64.0, -14.0, 42.0),
    "side part": (0.3, 0.9, 0.0, 0.15, -62.0, -8.0, 48.0),
    "fringe": (0.3, 0.5, 0.1, 0.2, -32.0, 12.0, 60.0),
    "bob": (0.4, 0.4, 0.4, 0.15, -58.0, 82.0, 95.0),
    "long": (0.3, 0.4, 0.55, 0.3, -62.0, 200.0, 200.0),
    "afro": (2.2, 1.0, 0.0, 1.0, -58.0, 2.0, 66.0),
}


def render(people: Identities, textures: Tensor, which: Tensor, drawn: Drawn, size_px: int, device: str = "cpu") -> Tensor:
    """Render images.

    Parameters
    ----------
    people : Identities
        n_people identities, on `device`.
    textures : float32 (n_people, channels, texels, texels)
        From `texture.paint`, once per identity.
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
    n = {name: torch.as_tensor(value, dtype=torch.float32).to(device) for name, value in drawn.items()}
    out = torch.empty(len(which), size_px, size_px, 3, dtype=torch.uint8, device=device)
    for start in range(0, len(which), BATCH):
        places = torch.arange(start, start + BATCH, device=device).clamp(max=len(which) - 1)
        part = {name: value[places] for name, value in n.items()}
        person = which.to(device)[places]
        images = _render_batch(people.take(person), textures[person], part, size_px)
        out[start : start + BATCH] = images[: len(which) - start]
    return out


@dataclass(frozen=True)
class View:
    """How heads of a batch are seen: rotation (batch, 3, 3), then x_px = scale · perspective · x + offset as complex factors.

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


def _render_batch(people: Identities, textures: Tensor, n: dict[str, Tensor], size_px: int) -> Tensor:
    model = head.load(str(textures.device))
    style = _styles(people, n)
    points = model.positions(_coefficients(model, people, n, style))
    view, camera_points, x_px, y_px = _project(model, points, n, size_px)
    shape = (len(points), model.n_rows, surface.COLUMNS)
    keep = _present(model, n, style)
    depth = camera_points[:, 2].view(shape)
    hits = raster.rasterise(x_px.view(shape), y_px.view(shape), depth, keep, size_px)
    planes = _sample(model, textures, camera_points.view(len(points), 3, *shape[1:]), hits)
    a = {name: value[:, None, None] for name, value in _appearance(people).items()}
    m = {name: value[:, None, None] for name, value in n.items()} | {"age_over": _over(n)[:, None, None]}
    colour = _shade(planes, hits, a, m)
    scene = background.draw(n, size_px)
    scene = scene + (colour.movedim(0, 1) - scene) * hits.coverage[:, None]
    scene = accessories.add(scene, view, hits, n, size_px)
    return camera.photograph(scene, n)


def _over(n: dict[str, Tensor]) -> Tensor:
    """Ageing beyond 35 years, 1 at 75."""
    return ((n["age_years"] - 35) / 40).clamp(0, 1.3)


def _styles(people: Identities, n: dict[str, Tensor]) -> Tensor:
    """Hair of each image, (batch, 7) as in `STYLE`: its family, a little different every day, flattened by a hat."""
    table = torch.tensor(list(STYLE.values()), device=n["hat"].device)[people.style]
    table[:, 0] = table[:, 0] + 0.15 * (n["hair_volume"] - 1)
    table[:, 1] = table[:, 1] + 0.25 * n["hair_top"]
    table[:, 2] = table[:, 2] * (1 + 0.3 * n["hair_flare"])
    table[:, 4] = table[:, 4] + 3.0 * people.appearance["fringe"] - 14 * people.appearance["baldness"] ** 3 * _over(n)
    table[:, 5] = table[:, 5] + 6.0 * people.appearance["length"]
    hat = n["hat"] > 0
    table[:, 0] = torch.where(hat, table[:, 0].clamp(max=0.15), table[:, 0])
    table[:, 1] = torch.where(hat, torch.zeros_like(table[:, 1]), table[:, 1])
    return table


def _coefficients(model: head.HeadModel, people: Identities, n: dict[str, Tensor], style: Tensor) -> Tensor:
    """Coefficients of all modes, (batch, n_modes)."""
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
    extra = torch.stack([values[name] for name in model.mode_names[people.shape.shape[1] :]], dim=1)
    return torch.cat([people.shape, extra], dim=1)


def _project(
    model: head.HeadModel, points: Tensor, n: dict[str, Tensor], size_px: int
) -> tuple[View, Tensor, Tensor, Tensor]:
    """Turn heads, see them in perspective, and place them by the 5-point similarity with jittered landmarks."""
    rotation = _rotation(n["yaw_deg"], n["pitch_deg"], n["roll_deg"])
    seen = rotation @ points
    distance = n["distance_mm"].clamp(min=450)[:, None]
    near = distance / (distance - seen[:, 2])
    flat_x, flat_y = seen[:, 0] * near, seen[:, 1] * near
    unit = size_px / 112
    jitter = torch.stack([n[f"jitter{k}"] for k in range(10)], 1)
    target = torch.tensor(TEMPLATE_PX, device=points.device)
    goal_x, goal_y = target[:, 0] + jitter[:, :5], target[:, 1] + jitter[:, 5:]
    mark_x, mark_y = flat_x[:, model.landmarks], flat_y[:, model.landmarks]
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
    return view, seen, turn_x * flat_x - turn_y * flat_y + move_x, turn_y * flat_x + turn_x * flat_y + move_y


def _rotation(yaw_deg: Tensor, pitch_deg: Tensor, roll_deg: Tensor) -> Tensor:
    """Roll · yaw · pitch, (batch, 3, 3); positive yaw turns the nose to the viewer's right."""
    (cy, sy), (cp, sp), (cr, sr) = ((torch.cos(d.deg2rad()), torch.sin(d.deg2rad())) for d in (yaw_deg, pitch_deg, roll_deg))
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).view(-1, 3, 3)
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], -1).view(-1, 3, 3)
    roll = torch.stack([cr, -sr, zero, sr, cr, zero, zero, zero, one], -1).view(-1, 3, 3)
    return roll @ yaw @ pitch


def _present(model: head.HeadModel, n: dict[str, Tensor], style: Tensor) -> Tensor:
    """Which points exist: all skin, and the part of the shell that hair or hat fills. Bool (batch, rows, columns)."""
    y, turn = model.coordinates[1], model.coordinates[2].abs()
    front, side, back = (style[:, k, None, None] for k in (4, 5, 6))
    to_side = torch.sigmoid((turn - 1.02) * 14)
    to_back = torch.sigmoid((turn - 1.95) * 9)
    ear = 18 * gauss(turn, 1.6, 0.22) * (side < 30)
    limit = front + (side - front) * to_side - ear
    limit = limit + (back - limit) * to_back
    hat = n["hat"][:, None, None]
    wears = (hat > 0) & (y < hat_line(turn))
    keep = ((y < limit) & (style[:, 6, None, None] > -100)) | wears
    inner = torch.ones_like(model.is_shell)
    inner[[0, surface.ROWS - 1, surface.ROWS, -1]] = False
    return (keep | ~model.is_shell) & inner


def hat_line(turn: Tensor) -> Tensor:
    """Lower rim of a hat by azimuth, template y in mm."""
    return -40 + 22 * torch.sigmoid((turn - 1.9) * 4)


def _sample(model: head.HeadModel, textures: Tensor, points: Tensor, hits: raster.Hits) -> dict[str, Tensor]:
    """Look up template coordinates, normals and skin texture at each pixel."""
    batch = len(points)
    normals = _normals(points)
    grid_x = hits.column * (2 / (surface.COLUMNS - 1)) - 1
    fields = torch.cat([normals, model.coordinates.expand(batch, -1, -1, -1)], 1)
    shell = hits.row > surface.ROWS - 1.5
    grid = torch.stack([grid_x, hits.row * (2 / (model.n_rows - 1)) - 1], -1)
    seen = torch.nn.functional.grid_sample(fields, grid, align_corners=True, padding_mode="border")
    grid = torch.stack([grid_x, hits.row * (2 / (surface.ROWS - 1)) - 1], -1)
    paint = torch.nn.functional.grid_sample(textures, grid, align_corners=True, padding_mode="border")
    normal = seen[:, :3] / seen[:, :3].norm(dim=1, keepdim=True).clamp(min=1e-6)
    names = ("red", "green", "blue", "brow", "beard", "hairline", "wrinkle", "occlusion")
    return {
        "nx": normal[:, 0], "ny": normal[:, 1], "nz": normal[:, 2],
        "x": seen[:, 3], "y": seen[:, 4], "azimuth": seen[:, 5], "shell": shell.float(),
        **{name: paint[:, k] for k, name in enumerate(names)},
    }  # fmt: skip


def _normals(points: Tensor) -> Tensor:
    """Outward normals (not unit length) of a grid of points (batch, 3, rows, columns)."""
    across, down = torch.zeros_like(points), torch.zeros_like(points)
    across[..., 1:-1] = points[..., 2:] - points[..., :-2]
    across[..., 0] = across[..., -1] = points[..., 1] - points[..., -2]
    down[:, :, 1:-1] = points[:, :, 2:] - points[:, :, :-2]
    (ax, ay, az), (dx, dy, dz) = across.unbind(1), down.unbind(1)
    return torch.stack([ay * dz - az * dy, az * dx - ax * dz, ax * dy - ay * dx], 1)


def _appearance(people: Identities) -> dict[str, Tensor]:
    """Appearance with the colours of iris and hair worked out (linear RGB)."""
    a = dict(people.appearance)
    blue, light = a["iris_hue"] < 0.3, 0.5 + a["iris_light"]
    green = (a["iris_hue"] >= 0.3) & (a["iris_hue"] < 0.42)
    dark = torch.where(a["skin_tone"] > 0.6, 1.0, 0.0)
    for name, b, g, brown in (("iris_r", 0.10, 0.13, 0.09), ("iris_g", 0.19, 0.16, 0.045), ("iris_b", 0.30, 0.08, 0.02)):
        a[name] = torch.where(blue, b, torch.where(green, g, brown)) * (1 - dark) * light + dark * brown * 0.6
    tone = (1 - a["hair_tone"]) ** 2.2 * (1 - 0.85 * a["skin_tone"].clamp(0.2, 1) ** 0.7) * 1.3
    a["hair_r"] = 0.018 + tone * (0.42 + 0.12 * a["hair_red"])
    a["hair_g"] = 0.014 + tone * (0.30 - 0.14 * a["hair_red"] ** 2)
    a["hair_b"] = 0.012 + tone * (0.17 - 0.13 * a["hair_red"])
    a["male"] = (a["sex"] <= 0.5).float()
    return a


def _shade(p: dict[str, Tensor], hits: raster.Hits, a: dict[str, Tensor], m: dict[str, Tensor]) -> Tensor:
    """Light on skin, hair and hat: linear RGB (3, batch, h, w)."""
    hair = _hair_colour(p, a, m)
    skin, shine, sparkle = _skin_colour(p, hair, a, m)
    fabric = torch.stack([(0.02 + 0.6 * m[f"hat_{c}"] ** 2) * torch.ones_like(p["x"]) for c in "rgb"])
    fabric = fabric * (0.85 + 0.15 * torch.sin(p["azimuth"] * 70) * (m["hat_kind"] <= 0.5))
    is_hat = p["shell"] * m["hat"] * step(hat_line(p["azimuth"].abs()) - p["y"], 2.0)
    cover = hair + (fabric - hair) * is_hat
    albedo = skin + (cover - skin) * p["shell"]
    shine = shine * (1 - p["shell"]) + 0.10 * p["shell"] * (1 - is_hat)
    facing = p["nx"] * m["light_x"] + p["ny"] * m["light_y"] + p["nz"] * m["light_z"]
    half_z = (2 + 2 * m["light_z"]).sqrt()
    half = (p["nx"] * m["light_x"] + p["ny"] * m["light_y"] + p["nz"] * (m["light_z"] + 1)) / half_z
    gloss = shine * half.clamp(min=0) ** 22
    sky = 0.75 - 0.25 * p["ny"]
    dark = p["occlusion"] + (1 - p["occlusion"]) * p["shell"]
    back = (p["nz"] * 0.6 - p["nx"] * m["light_x"].sign() * 0.8).clamp(min=0) * m["fill"]
    light = []
    for wrap in (0.28, 0.16, 0.12):  # red light travels furthest under the skin
        direct = ((facing + wrap) / (1 + wrap)).clamp(min=0) * m["key"]
        light.append((m["ambient"] * sky + back) * dark + direct * (0.45 + 0.55 * dark))
    return albedo * torch.stack(light) + (gloss * m["key"] + 0.5 * sparkle * m["key"])


def _hair_colour(p: dict[str, Tensor], a: dict[str, Tensor], m: dict[str, Tensor]) -> Tensor:
    """Hair with strands, greying with age: (3, batch, h, w)."""
    grey = ((m["age_years"] - 38 - 22 * (1 - a["greying"])) / 28).clamp(0, 0.92)
    strand = torch.sin(p["azimuth"] * 61 + 3 * torch.sin(p["y"] * 0.11)) * torch.sin(p["azimuth"] * 37 + p["y"] * 0.05)
    strand = 1 + 0.30 * strand
    return torch.stack([(a[f"hair_{c}"] * (1 - grey) + 0.42 * grey) * strand for c in "rgb"])


def _skin_colour(
    p: dict[str, Tensor], hair: Tensor, a: dict[str, Tensor], m: dict[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo (3, batch, h, w), strength of the skin's shine and of the eyes' sparkle (batch, h, w)."""
    x, y = p["x"], p["y"]
    facing = step(1.3 - p["azimuth"].abs(), 0.2)
    over = m["age_over"]
    albedo = torch.stack([p["red"], p["green"], p["blue"]])
    albedo = albedo * (1 - (0.42 * over + 0.04 + 0.10 * m["brow_knit"] * gauss(x, 0, 12)) * p["wrinkle"])
    recede = 1.1 * a["male"] * a["baldness"] ** 2 * over
    scalp = step(p["hairline"] - recede, 0.55) * (0.93 - 0.25 * (a["style_pick"] < 0.1) * a["male"])
    beard = _beard_density(p, a, m)
    brow = p["brow"] * (1 - 0.25 * over)
    growth = 1 - (1 - scalp) * (1 - brow) * (1 - beard)
    lips, inside, teeth = features.mouth(x, y, a, m)
    lips, inside = lips * facing, inside * facing
    lip = albedo * torch.stack([
        0.80 - 0.05 * a["lip_dark"] + 0.16 * m["make_up"],
        0.50 - 0.06 * a["lip_dark"] - 0.05 * a["lip_red"] - 0.22 * m["make_up"],
        0.52 - 0.06 * a["lip_dark"] - 0.04 * a["lip_red"] - 0.20 * m["make_up"],
    ]).clamp(0.1, 1)  # fmt: skip
    albedo = albedo + (lip - albedo) * (0.85 * lips)
    albedo = albedo + (hair * 0.85 - albedo) * growth
    cavity = torch.stack([0.06 + 0.48 * teeth, 0.018 + 0.47 * teeth, 0.018 + 0.42 * teeth])
    albedo = albedo + (cavity - albedo) * inside
    ball, opacity, lines, sparkle = features.eyes(x, y, a, m)
    opacity, lines = opacity * facing, lines * facing
    albedo = albedo * (1 - lines)
    albedo = albedo + (ball - albedo) * opacity
    shine = (0.09 + 0.05 * gauss(x, 0, 10)) * (1 - growth) * (1 + 0.6 * lips) * (1 - opacity)
    return albedo, shine, sparkle * facing


def _beard_density(p: dict[str, Tensor], a: dict[str, Tensor], m: dict[str, Tensor]) -> Tensor:
    """Opacity of the beard: stubble varies from day to day, a full beard is the person's."""
    full = step(a["beard_density"] - 0.75, 0.5) * 0.92
    stubble = 0.10 + 0.22 * m["stubble"]
    return a["male"] * p["beard"] * torch.maximum(full, stubble)
