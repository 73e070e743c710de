"""The template head: two smooth sheets (skin, and a shell for hair and hats) over a grid of azimuth and profile.

Units are millimetres: x to the viewer's right, y down, z towards the viewer; the eyes' centres lie at (±31.5, 0).
The proportions are those of an average adult (head breadth 152 mm, head length 190 mm, pupil distance 63 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Floats = NDArray[np.float64]

ROWS, SHELL_ROWS, COLUMNS = 120, 84, 140
"""The finest grid: landmarks and textures are laid out on it, whatever grid is rasterised."""

EYE_X_MM, MOUTH_Y_MM = 31.5, 72.0
FRONT_FOCUS = 0.56
"""Share of a uniform azimuth; the rest is cubic, which crowds the columns on the face."""

# front (y, z) · side (x, y, z) · back (y, z) · roundness of the horizontal section in front (2 is an ellipse)
_HEAD = np.array(
    [
        (-117, -12, 0.5, -117, -12, -117, -13, 2.0),
        (-113, 26, 32, -113, -13, -113, -48, 2.1),
        (-99, 57, 56, -99, -15, -97, -80, 2.2),
        (-80, 75, 69, -78, -16, -70, -98, 2.3),
        (-60, 84, 75, -54, -15, -40, -104, 2.4),
        (-38, 88, 76.5, -31, -13, -12, -100, 2.4),
        (-18, 88, 75, -12, -11, 12, -90, 2.35),
        (-2, 83, 72, 4, -8, 32, -79, 2.3),
        (14, 82, 70.5, 18, -6, 50, -72, 2.3),
        (30, 83, 68.5, 32, -4, 64, -68, 2.3),
        (46, 85, 65.5, 45, -2, 78, -67, 2.25),
        (60, 87, 62, 57, 0, 90, -67, 2.2),
        (74, 88, 58, 68, 1, 100, -68, 2.05),
        (88, 86, 53, 79, 1, 110, -69, 1.92),
        (101, 86, 47.5, 90, -2, 118, -70, 1.82),
        (111, 80, 43.5, 100, -8, 125, -71, 1.8),
        (116, 65, 43.5, 110, -14, 132, -72, 1.9),
        (119, 44, 46, 120, -18, 140, -74, 2.0),
        (128, 33, 49, 132, -20, 148, -77, 2.0),
        (150, 31, 54, 152, -22, 160, -82, 2.0),
        (185, 34, 70, 185, -24, 190, -90, 2.0),
    ]
)
_SHELL = np.array(
    [
        (-122, -12, 0.5, -122, -12, -122, -13, 2.0),
        (-118, 28, 34, -118, -13, -118, -50, 2.1),
        (-104, 61, 60, -103, -15, -101, -84, 2.2),
        (-83, 80, 74, -80, -16, -72, -103, 2.3),
        (-61, 90, 80, -56, -16, -42, -110, 2.4),
        (-38, 94.5, 82, -32, -15, -12, -107, 2.4),
        (-18, 96, 83, -8, -14, 15, -99, 2.4),
        (2, 97, 84, 16, -14, 40, -93, 2.4),
        (22, 98, 84, 40, -16, 64, -90, 2.4),
        (42, 98, 84, 64, -18, 86, -90, 2.4),
        (66, 98, 84, 90, -20, 108, -92, 2.4),
        (95, 98, 85, 120, -22, 132, -96, 2.4),
        (140, 98, 88, 165, -24, 172, -100, 2.4),
    ]
)


@dataclass(frozen=True)
class Grid:
    """Numbers of points of the two sheets: rows of skin and shell, and columns of both."""

    rows: int
    shell_rows: int
    columns: int


def grid(size_px: int) -> Grid:
    """The grid for pictures of this size: neighbouring points of a face lie about a pixel and a half apart."""
    return Grid(80, 56, 92) if size_px <= 64 else Grid(112, 78, 130)


@dataclass(frozen=True)
class Sheet:
    """A grid of points with its coordinates; every array has shape (rows, columns).

    Attributes
    ----------
    x, y, z : position, mm
    azimuth : angle about the vertical, rad in [−π, π]; 0 is the middle of the face
    """

    x: Floats
    y: Floats
    z: Floats
    azimuth: Floats

    def points(self, places: list[int]) -> Sheet:
        """Some points as a sheet of one row; `places` count row by row."""
        x, y, z, azimuth = (
            np.broadcast_to(plane, self.x.shape).ravel()[np.array(places, np.int64)][None]
            for plane in (self.x, self.y, self.z, self.azimuth)
        )
        return Sheet(x=x, y=y, z=z, azimuth=azimuth)


def skin(rows: int, columns: int) -> Sheet:
    """The skin of head and neck with the average person's features."""
    sheet = _sweep(_HEAD, rows, columns)
    return _with_ears(_with_features(sheet))


def shell(rows: int, columns: int) -> Sheet:
    """A surface a few millimetres outside the skull, hanging down to the shoulders, of which styles use a part."""
    return _sweep(_SHELL, rows, columns)


def front(sheet: Sheet) -> Floats:
    """1 on the face, falling to 0 at the ears: confines facial features to the front."""
    return smooth_step(np.abs(sheet.azimuth), 1.6, 1.05)


def bump(sheet: Sheet, x: float, y: float, wide: float, high: float) -> Floats:
    """Gaussian of height 1 around (±x, y) with standard deviations `wide` and `high`, mm."""
    sides = [np.exp(-0.5 * ((sheet.x - side) / wide) ** 2) for side in ({x, -x} if x else {0.0})]
    return np.asarray(sum(sides)) * np.exp(-0.5 * ((sheet.y - y) / high) ** 2) * front(sheet)


def smooth_step(value: Floats, low: float, high: float) -> Floats:
    """0 at `low`, 1 at `high`, cubic between (`low` may exceed `high`)."""
    share = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share))


def _sweep(table: Floats, rows: int, columns: int) -> Sheet:
    """Sweep the table's profiles around the vertical axis with superelliptic sections."""
    curve = PchipInterpolator(np.linspace(0, 1, len(table)), table)(np.linspace(0, 1, rows))
    front_y, front_z, side_x, side_y, side_z, back_y, back_z, roundness = curve.T[:, :, None]
    share = np.linspace(-1, 1, columns)[None, :]
    azimuth = np.pi * (FRONT_FOCUS * share + (1 - FRONT_FOCUS) * share**3)
    sine, cosine = np.sin(azimuth), np.cos(azimuth)
    ahead = cosine >= 0
    depth = np.where(ahead, front_z - side_z, side_z - back_z)
    power = np.where(ahead, roundness, 2.0)
    radius = (np.abs(sine / side_x) ** power + np.abs(cosine / np.maximum(depth, 0.4)) ** power) ** (-1 / power)
    end_y = np.where(ahead, front_y, back_y)
    return Sheet(
        x=radius * sine,
        y=side_y + (end_y - side_y) * cosine**2,
        z=side_z + radius * cosine,
        azimuth=np.broadcast_to(azimuth, radius.shape),
    )


def _with_features(sheet: Sheet) -> Sheet:
    """Raise nose, lips, chin, cheek bones and brow ridge; sink the eye sockets."""
    relief = (
        nose(sheet)
        - 8.0 * bump(sheet, 30, 0, 14, 9.5)  # eye sockets
        - 3.0 * bump(sheet, 15, 2, 5, 9)  # inner corners
        + 5.5 * bump(sheet, EYE_X_MM, 1, 10.5, 6.5)  # eye balls under their lids
        + 3.0 * bump(sheet, 27, -17, 17, 5)  # brow ridge
        + 4.5 * bump(sheet, 46, 24, 14, 12)  # cheek bones
        - 2.5 * bump(sheet, 44, 56, 12, 14)  # hollow of the cheek
        + 3.0 * bump(sheet, 0, 68, 24, 12)  # the dental arch
        + 3.6 * bump(sheet, 7, 66.5, 10, 3.4)  # upper lip
        - 3.0 * bump(sheet, 0, 72.3, 20, 1.7)  # line of the mouth
        + 4.6 * bump(sheet, 0, 78.5, 14, 4.0)  # lower lip
        - 3.2 * bump(sheet, 0, 89, 14, 4)  # fold above the chin
        + 4.5 * bump(sheet, 0, 102, 13, 8)  # chin
        - 1.4 * bump(sheet, 0, 58, 3.2, 6)  # philtrum
    )
    fold_x = 19.0 + (sheet.y - 45.0) * 0.45
    fold = np.exp(-0.5 * ((np.abs(sheet.x) - fold_x) / 2.6) ** 2) * np.exp(-0.5 * ((sheet.y - 58) / 9) ** 2)
    relief = relief - 1.6 * fold * front(sheet)
    temple = bump(sheet, 70, -26, 10, 18)
    return Sheet(x=sheet.x - 3.0 * np.sign(sheet.x) * temple, y=sheet.y, z=sheet.z + relief, azimuth=sheet.azimuth)


def nose(sheet: Sheet) -> Floats:
    """Height of the average nose above the face, mm."""
    heights = PchipInterpolator(
        [-20, -6, 10, 26, 35, 40, 44, 48, 52, 57], [0, 1.8, 9.0, 17.5, 22.5, 23.5, 21, 13.5, 4.5, 0], extrapolate=False
    )
    along = np.nan_to_num(heights(sheet.y))
    half_width = PchipInterpolator([-200, -10, 0, 15, 30, 40, 50, 200], [8.5, 8, 6.4, 6.8, 8.4, 9.6, 9, 9])(sheet.y)
    ridge = along * np.exp(-0.5 * np.abs(sheet.x / half_width) ** 2.3)
    wings = 8.5 * bump(sheet, 14, 43.5, 4.2, 5.0)
    return np.asarray(ridge * front(sheet) + wings)


def _with_ears(sheet: Sheet) -> Sheet:
    """Fold a flap out of each side of the head: steep behind, shallow in front, with a hollow."""
    side = np.sign(sheet.x) * (np.abs(sheet.azimuth) > 0.9)
    along, across = (sheet.y - 21.0) / 30.0, (sheet.z + 12.0) / 15.0
    across = across + 0.25 * along  # ears lean back
    distance = np.sqrt(along**2 + across**2)
    flap = smooth_step(distance, 1.15, 0.8) * smooth_step(across, 1.0, -0.9)
    hollow = np.exp(-0.5 * ((along - 0.05) / 0.32) ** 2 - 0.5 * ((across - 0.15) / 0.3) ** 2)
    out = 17.0 * flap - 7.0 * hollow * smooth_step(distance, 1.0, 0.7)
    return Sheet(x=sheet.x + side * out, y=sheet.y, z=sheet.z - np.abs(side) * 5.0 * flap, azimuth=sheet.azimuth)
