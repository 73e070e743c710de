"""Rendered identities for training: needs no download. ``demo``, ``demo:IDENTITIESxIMAGES``, ``demo:500x20@64``."""

from __future__ import annotations

import re

import numpy as np

from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

DEFAULT = "500x20@112"
MAX_IDENTITIES = 1_000_000
"""Numbers below this are for training; protocols use identities from here on."""

CARD = DatasetCard(
    title="Rendered faces",
    licence="none needed: the faces are computed",
    source="bnas_face itself",
    layout="Nothing to fetch: 'demo' renders 500 identities × 20 images. More: demo:IDENTITIESxIMAGES, e.g.\n"
    "demo:2000x10; at 64 px instead of 112: demo:500x20@64.",
    expected={"default": (10_000, 500)},
)


def load(argument: str | None) -> FaceImages:
    """Rendered training identities, disjoint from those of the demo protocols.

    Parameters
    ----------
    argument : str or None
        ``"IDENTITIESxIMAGES"`` or ``"IDENTITIESxIMAGES@SIZE"`` with SIZE 64 or 112; None for 500x20@112.

    Raises
    ------
    DatasetError
        If the argument reads otherwise.
    """
    from bnas_face.data.synthetic import faces, protocols

    n_identities, n_images, size_px = _parse(argument or DEFAULT)
    return faces.rendered(
        "demo" if argument is None else f"demo:{argument}",
        np.arange(n_identities, dtype=np.int64),
        protocols.training_groups(n_images),
        seed=protocols.SEED,
        size_px=size_px,
        provenance={"variant": argument or DEFAULT, "n_images": n_identities * n_images, "n_identities": n_identities},
    )


def _parse(argument: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d{1,7})x(\d{1,4})(?:@(64|112))?", argument)
    counts = tuple(int(part) for part in found.groups("112")) if found else (0, 0, 0)
    if not (1 < counts[0] <= MAX_IDENTITIES and counts[1] > 0):
        raise DatasetError(
            f"'demo:{argument}' is no size of the rendered set; expected IDENTITIESxIMAGES with 2 to {MAX_IDENTITIES}"
            " identities, and @64 or @112 if wanted. Try 'demo:500x20@64'."
        )
    return counts[0], counts[1], counts[2]
