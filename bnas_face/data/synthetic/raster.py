"""Z-buffered rasteriser: which point of which sheet is seen at each pixel, for a batch at once.

Grid points are splatted to the nearest pixel (one integer key holds depth and point; the largest wins), holes take
their neighbours' points, and one Newton step per pixel moves from the point to the pixel's centre along the surface,
so colours and normals are interpolated smoothly although no triangle is ever built.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

DEPTH_RANGE_MM = 400.0
_POINT_BITS = 15
_DEPTH_STEPS = 2**15 - 1


@dataclass(frozen=True)
class Hits:
    """What each pixel sees; every tensor has shape (batch, size_px, size_px).

    Attributes
    ----------
    row, column : float32; continuous grid coordinates of the seen point
    depth : float32; its z in mm (larger is nearer), −1e4 where nothing is seen
    coverage : float32 in [0, 1]; how much of the pixel the head covers
    """

    row: Tensor
    column: Tensor
    depth: Tensor
    coverage: Tensor


def rasterise(x_px: Tensor, y_px: Tensor, depth: Tensor, visible: Tensor, size_px: int) -> Hits:
    """Splat a grid of projected points.

    Parameters
    ----------
    x_px, y_px, depth : Tensor of float32, shape (batch, rows, columns)
        Projected position in pixels (pixel i covers [i, i+1)) and z in mm.
    visible : Tensor of bool, shape (batch, rows, columns)
        False for points that are not there (masked hair); points on the far side are found here.
    size_px : int
    """
    batch, rows, columns = x_px.shape
    if rows * columns > 2**_POINT_BITS:
        raise ValueError(f"{rows}×{columns} points do not fit {_POINT_BITS} bits")
    x_u, x_v = _slopes(x_px)
    y_u, y_v = _slopes(y_px)
    area = x_u * y_v - x_v * y_u
    keys = _splat(x_px, y_px, depth, visible & (area > 1e-3), size_px)
    filled = _fill(keys)
    point = (filled & (2**_POINT_BITS - 1)).long()
    offset = (torch.arange(batch, device=x_px.device) * (rows * columns))[:, None, None]
    table = torch.stack([x_px, y_px, depth, x_u, x_v, y_u, y_v], dim=-1).view(-1, 7)
    seen = table[(point + offset).view(-1)].view(batch, size_px, size_px, 7)
    centre = torch.arange(size_px, device=x_px.device, dtype=torch.float32) + 0.5
    dx, dy = centre - seen[..., 0], centre[:, None] - seen[..., 1]
    slope = (seen[..., 3] * seen[..., 6] - seen[..., 4] * seen[..., 5]).clamp(min=1e-2)
    across = ((dx * seen[..., 6] - dy * seen[..., 4]) / slope).clamp(-1.5, 1.5)
    down = ((dy * seen[..., 3] - dx * seen[..., 5]) / slope).clamp(-1.5, 1.5)
    hit = filled > 0
    return Hits(
        row=(torch.div(point, columns, rounding_mode="floor") + down).clamp(0, rows - 1),
        column=(point % columns + across).clamp(0, columns - 1),
        depth=torch.where(hit, seen[..., 2], torch.full_like(dx, -1e4)),
        coverage=_coverage(keys),
    )


def _slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along columns and rows (one-sided at the border)."""
    across = torch.empty_like(values)
    across[..., 1:-1] = 0.5 * (values[..., 2:] - values[..., :-2])
    across[..., 0] = values[..., 1] - values[..., 0]
    across[..., -1] = values[..., -1] - values[..., -2]
    down = torch.empty_like(values)
    down[:, 1:-1] = 0.5 * (values[:, 2:] - values[:, :-2])
    down[:, 0] = values[:, 1] - values[:, 0]
    down[:, -1] = values[:, -1] - values[:, -2]
    return across, down


def _splat(x_px: Tensor, y_px: Tensor, depth: Tensor, visible: Tensor, size_px: int) -> Tensor:
    """The nearest point's key per pixel, int32 (batch, size, size); 0 where there is none."""
    batch = len(x_px)
    inside = visible & (x_px >= 0) & (x_px < size_px) & (y_px >= 0) & (y_px < size_px)
    pixel = y_px.to(torch.int32) * size_px + x_px.to(torch.int32)
    pixel = torch.where(inside, pixel, torch.full_like(pixel, size_px * size_px)).view(batch, -1)
    steps = ((depth / DEPTH_RANGE_MM + 0.5) * _DEPTH_STEPS).clamp(1, _DEPTH_STEPS).to(torch.int32)
    number = torch.arange(pixel.shape[1], device=pixel.device, dtype=torch.int32)
    keys = (steps.view(batch, -1) << _POINT_BITS) | number
    buffer = torch.zeros(batch, size_px * size_px + 1, dtype=torch.int32, device=pixel.device)
    buffer.scatter_reduce_(1, pixel.long(), keys, "amax")
    return buffer[:, :-1].view(batch, size_px, size_px)


def _fill(keys: Tensor) -> Tensor:
    """Give empty pixels a neighbour's point, and close pinholes through which a far surface shows."""
    padded = torch.nn.functional.pad(keys, (1, 1, 1, 1))
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    up, down = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    bridge = torch.maximum(torch.minimum(left, right), torch.minimum(up, down))
    behind = (bridge >> _POINT_BITS) - (keys >> _POINT_BITS) > int(8.0 / DEPTH_RANGE_MM * _DEPTH_STEPS)
    keys = torch.where(behind, bridge, keys)
    for _ in range(2):
        padded = torch.nn.functional.pad(keys, (1, 1, 1, 1))
        wide = torch.maximum(torch.maximum(padded[..., :-2], padded[..., 2:]), padded[..., 1:-1])
        near = torch.maximum(torch.maximum(wide[:, :-2], wide[:, 2:]), wide[:, 1:-1])
        keys = torch.where(keys == 0, near, keys)
    return keys


def _coverage(keys: Tensor) -> Tensor:
    """Soft silhouette: the closed mask, smoothed over 3×3 pixels."""
    mask = (keys > 0).float()[:, None]
    closed = -torch.nn.functional.max_pool2d(-torch.nn.functional.max_pool2d(mask, 3, 1, 1), 3, 1, 1)
    smooth = torch.nn.functional.avg_pool2d(closed, 3, 1, 1)
    return ((smooth[:, 0] - 0.17) * 1.5).clamp(0, 1)
