"""Z-buffered rasteriser: which point of which sheet is seen at each pixel, for a batch at once.

Grid points are splatted to the nearest pixel (one integer key holds depth and point; the largest wins), holes take
their neighbours' points, and one Newton step per pixel moves from the point to the pixel's centre along the surface,
so colours and normals are interpolated smoothly although no triangle is ever built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

DEPTH_RANGE_MM = 400.0
_POINT_BITS = 15
_DEPTH_STEPS = 2**15 - 1
_PINHOLE_MM = 3.0


@dataclass(frozen=True)
class Hits:
    """What each pixel sees; every tensor has shape (batch, size_px, size_px).

    Attributes
    ----------
    row, column : float32; continuous grid coordinates of the seen point
    depth : float32; its z in mm (larger is nearer), about −200 where nothing is seen
    coverage : float32 in [0, 1]; how much of the pixel the head covers
    """

    row: Tensor
    column: Tensor
    depth: Tensor
    coverage: Tensor


def rasterise(x_px: Tensor, y_px: Tensor, depth: Tensor, visible: Tensor, two_sided: Tensor, size_px: int) -> Hits:
    """Splat a grid of projected points.

    Parameters
    ----------
    x_px, y_px, depth : Tensor of float32, shape (batch, rows, columns)
        Projected position in pixels (pixel i covers [i, i+1)) and z in mm.
    visible : Tensor of float32, shape (batch, rows, columns)
        0 for points that are not there (masked hair), else 1; points on the far side are found here.
    two_sided : Tensor of bool, shape (rows, columns)
        Points that are also seen from behind (hair).
    size_px : int
    """
    batch, rows, columns = x_px.shape
    if rows * columns > 2**_POINT_BITS:
        raise ValueError(f"{rows}×{columns} points do not fit {_POINT_BITS} bits")
    x_u, x_v = _slopes(x_px)
    y_u, y_v = _slopes(y_px)
    area = (x_u * y_v).addcmul_(x_v, y_u, value=-1)
    seen = area.sub_(4e-3 - 4e4 * two_sided).gt_(0).mul_(visible)
    keys = _splat(x_px, y_px, depth, seen, size_px)
    filled, covered = _fill(keys)
    point = filled & (2**_POINT_BITS - 1)
    offset = (torch.arange(batch, device=x_px.device, dtype=torch.int32) * (rows * columns))[:, None, None]
    place = (point + offset).view(-1)
    planes = (x_px, y_px, x_u, x_v, y_u, y_v)
    at_x, at_y, x_u, x_v, y_u, y_v = (p.reshape(-1).index_select(0, place).view(point.shape) for p in planes)
    area = (x_u * y_v).addcmul_(x_v, y_u, value=-1)
    centre = torch.arange(size_px, device=x_px.device, dtype=torch.float32) + 0.5
    dx, dy = torch.sub(centre, at_x, out=at_x), torch.sub(centre[:, None], at_y, out=at_y)
    inverse = area.abs().clamp_(min=4e-2).copysign_(area).reciprocal_().mul_(2)  # slopes are doubled
    y_v.mul_(dx).addcmul_(dy, x_v, value=-1).mul_(inverse).clamp_(-1.5, 1.5)
    x_u.mul_(dy).addcmul_(dx, y_u, value=-1).mul_(inverse).clamp_(-1.5, 1.5)
    point = point.to(torch.float32)
    row = (point * (1 / columns)).add_(0.5 / columns).floor_()
    return Hits(
        row=(row + x_u).clamp_(0, rows - 1),
        column=y_v.add_(point).sub_(row, alpha=columns).clamp_(0, columns - 1),
        depth=(filled >> _POINT_BITS) * (DEPTH_RANGE_MM / _DEPTH_STEPS) - 0.5 * DEPTH_RANGE_MM,
        coverage=_coverage(covered),
    )


def _slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the slopes along columns and rows: central differences, one-sided at the border."""
    across = torch.empty_like(values)
    torch.sub(values[..., 2:], values[..., :-2], out=across[..., 1:-1])
    across[..., 0] = 2 * (values[..., 1] - values[..., 0])
    across[..., -1] = 2 * (values[..., -1] - values[..., -2])
    down = torch.empty_like(values)
    torch.sub(values[:, 2:], values[:, :-2], out=down[:, 1:-1])
    down[:, 0] = 2 * (values[:, 1] - values[:, 0])
    down[:, -1] = 2 * (values[:, -1] - values[:, -2])
    return across, down


def _splat(x_px: Tensor, y_px: Tensor, depth: Tensor, seen: Tensor, size_px: int) -> Tensor:
    """The nearest point's key per pixel, int32 (batch, size, size); 0 where there is none."""
    batch, wide = len(x_px), size_px + 2  # a border of one pixel takes what lies outside and what is not seen
    pixel = (y_px + 1).clamp_(0, size_px + 1).floor_().mul_(wide)
    pixel += (x_px + 1).clamp_(0, size_px + 1).floor_()
    pixel = pixel.mul_(seen).to(torch.int64)  # exact: whole numbers below 2²⁴
    scale = _DEPTH_STEPS / DEPTH_RANGE_MM
    keys = (depth * scale).add_(0.5 * _DEPTH_STEPS).clamp_(1, _DEPTH_STEPS).to(torch.int32)
    keys = keys.bitwise_left_shift_(_POINT_BITS).view(batch, -1)
    keys |= torch.arange(keys.shape[1], device=keys.device, dtype=torch.int32)
    buffer = torch.zeros(batch, wide * wide, dtype=torch.int32, device=pixel.device)
    buffer.scatter_reduce_(1, pixel.view(batch, -1), keys, "amax")
    return buffer.view(batch, wide, wide)[:, 1:-1, 1:-1].contiguous()


def _fill(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Close pinholes through which a far surface shows, then give empty pixels a neighbour's point.

    Returns
    -------
    The filled keys, and the keys before the silhouette grew.
    """
    far = int(_PINHOLE_MM / DEPTH_RANGE_MM * _DEPTH_STEPS) << _POINT_BITS
    for reach in (2, 1):
        keys = keys + torch.threshold(_bridge(keys, reach).sub_(keys), far, 0)
    covered = keys
    for _ in range(2):
        p = torch.nn.functional.pad(keys, (1, 1, 1, 1))
        wide = torch.maximum(torch.maximum(p[..., :-2], p[..., 2:]), p[..., 1:-1])
        near = torch.maximum(torch.maximum(wide[:, :-2], wide[:, 2:]), wide[:, 1:-1])
        keys = torch.addcmul(keys, near, keys.clone().eq_(0))
    return keys, covered


def _bridge(keys: Tensor, reach: int) -> Tensor:
    """The nearest surface that lies on two opposite sides of a pixel, within `reach` pixels in any of 4 directions."""
    size_px = keys.shape[-1]
    padded = torch.nn.functional.pad(keys, (reach,) * 4)

    def moved(down: int, right: int) -> Tensor:
        return padded[:, reach + down : reach + down + size_px, reach + right : reach + right + size_px]

    found = torch.zeros_like(keys)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one, other = moved(down, right), moved(-down, -right)
        if reach == 2:
            one = torch.maximum(one, moved(2 * down, 2 * right))
            other = torch.maximum(other, moved(-2 * down, -2 * right))
        found = torch.maximum(found, torch.minimum(one, other))
    return found


def _coverage(keys: Tensor) -> Tensor:
    """Soft silhouette: the mask with its small holes closed, smoothed over 3×3 pixels."""
    mask = keys > 0
    for join, border in ((torch.bitwise_or, 0.0), (torch.bitwise_and, 1.0)):
        for _ in range(2):
            mask = _both_ways(torch.nn.functional.pad(mask, (1, 1, 1, 1), value=border), join)
    padded = torch.nn.functional.pad(mask.float()[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    return _both_ways(padded, torch.add).mul_(1.5 / 9).sub_(0.17 * 1.5).clamp_(0, 1)


def _both_ways(padded: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Join each pixel with its 3×3 neighbours; the border of one pixel goes."""
    wide = join(join(padded[..., :-2], padded[..., 2:]), padded[..., 1:-1])
    return join(join(wide[:, :-2], wide[:, 2:]), wide[:, 1:-1])
