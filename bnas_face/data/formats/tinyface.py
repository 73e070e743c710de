"""TinyFace's lists of test images: MATLAB files with the names of images and the numbers of their people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats import mat5
from bnas_face.errors import FormatError

SETS = ("gallery", "probe")


def read_ids(path: Path) -> tuple[str, NDArray[np.str_], NDArray[np.int32]]:
    """``gallery_match_img_ID_pairs.mat`` or ``probe_img_ID_pairs.mat``.

    Returns
    -------
    which : str
        ``"gallery"`` or ``"probe"``: the file holds ``gallery_set`` and ``gallery_ids``, or the same of ``probe``.
    names : ndarray of str, shape (n_images,)
        File names ``"1_1.jpg"``.
    people : ndarray of int32, shape (n_images,)

    Raises
    ------
    FormatError
        If the file is damaged, of another kind, or its two lists disagree.
    """
    content = mat5.read(path, [f"{which}_{part}" for which in SETS for part in ("set", "ids")])
    found = [which for which in SETS if f"{which}_set" in content and f"{which}_ids" in content]
    if len(found) != 1:
        raise FormatError(
            f"'{path}' holds neither gallery_set and gallery_ids nor probe_set and probe_ids; expected TinyFace's "
            "gallery_match_img_ID_pairs.mat or probe_img_ID_pairs.mat."
        )
    cells, people = content[f"{found[0]}_set"], content[f"{found[0]}_ids"]
    if not isinstance(cells, list) or not isinstance(people, np.ndarray) or len(people) != len(cells) or not cells:
        raise FormatError(f"'{path}' does not hold as many names ({found[0]}_set) as people ({found[0]}_ids).")
    numbers = people.astype(np.float64)
    if not ((numbers == np.rint(numbers)) & (numbers >= 0) & (numbers <= np.iinfo(np.int32).max)).all():
        raise FormatError(f"'{path}' holds people that are no whole numbers from 0.")
    return found[0], np.array([_name(path, cell) for cell in cells], np.str_), numbers.astype(np.int32)


def person_of(name: str) -> int | None:
    """The person that a file name ``id_n.jpg`` tells; None for another name."""
    first, underscore, _ = name.partition("_")
    return int(first) if underscore and first.isascii() and first.isdecimal() and len(first) < 10 else None


def _name(path: Path, cell: Any) -> str:
    """The text of a cell, however deep the file nests it."""
    while isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    name = cell.strip() if isinstance(cell, str) else ""
    if not name or "/" in name or "\\" in name or "\0" in name or name.startswith("."):
        shown = cell if isinstance(cell, str) else type(cell).__name__
        raise FormatError(f"'{path}' holds {shown[:40]!r} where the name of an image file was expected.")
    return name
