"""A contact sheet: random images of a dataset side by side, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bnas_face.data.formats import encoded
from bnas_face.data.images import FaceImages, resize
from bnas_face.files import write_bytes

COLUMNS = 10
TILE_PX = 96


def write(images: FaceImages, path: Path, n_images: int = 60, seed: int = 0) -> Path:
    """Write a PNG of `n_images` images drawn by `seed` (fewer if the set is smaller), ten in a row; returns `path`."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(images))[:n_images])
    tiles = resize(images.read(chosen.astype(np.int64)), TILE_PX)
    n_rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((n_rows * COLUMNS, TILE_PX, TILE_PX, 3), 255, np.uint8)
    sheet[: len(tiles)] = tiles
    grid = sheet.reshape(n_rows, COLUMNS, TILE_PX, TILE_PX, 3).swapaxes(1, 2)
    write_bytes(path, encoded.encode_png(np.ascontiguousarray(grid.reshape(n_rows * TILE_PX, COLUMNS * TILE_PX, 3))))
    return path
