"""A contact sheet of rendered faces: identities by conditions, then one nuisance at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bnas_face.data.synthetic import conditions, identity, render
from bnas_face.data.synthetic.conditions import Conditions, Drawn
from bnas_face.data.synthetic.hashing import Integers
from bnas_face.errors import DatasetError
from bnas_face.files import write_bytes

COLUMNS = 12
PLAIN = Conditions(
    yaw_deg=(0.0, 12.0), pitch_sd_deg=3.0, roll_sd_deg=2.0, jitter_px=0.3, expression=0.0, glasses=0.0, sunglasses=0.0,
    hat=0.0, occluder=0.0, light=0.5, camera=0.1,
)  # fmt: skip
EXPRESSIONS = ("mouth_open", "smile", "frown", "pucker", "brow_raise", "brow_knit")


def write(path: Path, *, seed: int = 5, n_people: int = 4) -> Path:
    """Write a PNG: two rows of people, rows of one person each under all nuisances, then yaw, age, expression, worn
    things and light, one varied along each row.

    Parameters
    ----------
    path : Path
        Written atomically.
    seed : int
    n_people : int
        Rows with a person of their own.
    """
    rows = [_row(seed, np.arange(first, first + COLUMNS), PLAIN, {}) for first in (0, COLUMNS)]
    rows += [_row(seed, np.full(COLUMNS, who), Conditions(), {}) for who in range(n_people)]
    rows += [_row(seed, np.full(COLUMNS, who), PLAIN, varied) for who, varied in enumerate(_varied(), n_people)]
    grid = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    done, encoded = cv2.imencode(".png", cv2.cvtColor(grid, cv2.COLOR_RGB2BGR))
    if not done:
        raise DatasetError(f"The contact sheet '{path}' cannot be encoded as PNG.")
    write_bytes(path, encoded.tobytes())
    return path


def _row(seed: int, numbers: Integers, ranges: Conditions, varied: Drawn) -> NDArray[np.uint8]:
    """Twelve images: the people `numbers`, with the conditions of `varied` in place of the drawn ones."""
    people, which = np.unique(numbers, return_inverse=True)
    ranges = replace(ranges, yaw_deg=(0.0, 0.0)) if varied else ranges
    drawn = conditions.draw(ranges, seed, numbers.astype(np.int64), np.arange(len(numbers))) | varied
    with torch.inference_mode():
        images = render.render(identity.draw(seed, people), torch.from_numpy(which), drawn, 112)
    return images.numpy()


def _varied() -> list[Drawn]:
    """One nuisance along each row."""
    steps = np.linspace(0, 1, COLUMNS)
    place = np.arange(COLUMNS)
    faces = {name: np.where(place % 6 == k, 1.0, 0.0) for k, name in enumerate(EXPRESSIONS)}
    worn = {
        "glasses": np.array([1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 1, 0.0]),
        "hat": np.array([0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0.0]),
        "hat_kind": np.where(place % 2 == 0, 0.2, 0.8),
        "occluder": np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 2.0]),
    }
    angle = (steps - 0.5) * 3.4
    light = {"light_x": np.sin(angle), "light_y": np.full(COLUMNS, -0.35), "light_z": np.cos(angle)}
    length = np.sqrt(sum(value**2 for value in light.values()))
    return [
        {"yaw_deg": np.linspace(-90, 90, COLUMNS)},
        {"yaw_deg": np.linspace(90, -90, COLUMNS)},
        {"age_years": np.linspace(20, 80, COLUMNS)},
        {"age_years": np.linspace(20, 80, COLUMNS)},
        faces | {"blink": np.where(place == 11, 0.95, 0.1)},
        worn,
        {name: value / length for name, value in light.items()},
    ]
