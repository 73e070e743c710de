"""Datasets a user can name: one file each; the file name is the registered name.

Each module has a ``CARD`` (`DatasetCard`) and ``load(argument: str | None) -> FaceImages``. ``argument`` is what
follows the colon in ``folder:PATH``; None without a colon.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face import tables
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

PACKAGE = "bnas_face.data.datasets"


@dataclass(frozen=True, kw_only=True)
class DatasetCard:
    """What to know of a dataset before one has it.

    Attributes
    ----------
    title, licence, source : str
        Full name; terms of use; where the owners offer it.
    layout : str
        Several lines that show which files are expected and where, and the import command.
    expected : dict of str to (n_images, n_identities)
        Known variants of the set by name; an import whose counts fit none of them is reported.
    """

    title: str
    licence: str
    source: str
    layout: str
    expected: dict[str, tuple[int, int]]


def names() -> tuple[str, ...]:
    """Names of all datasets."""
    return tables.names(PACKAGE)


def card(name: str) -> DatasetCard:
    """The card of a dataset; raises `UnknownNameError` for a typo."""
    found: DatasetCard = tables.load(PACKAGE, "dataset", name).CARD
    return found


def load(spec: str) -> FaceImages:
    """Open a dataset: ``"lfw"``, ``"demo"``, ``"folder:PATH"``.

    Raises
    ------
    UnknownNameError
        If no such dataset is known.
    DatasetError
        If it is not on this machine; the message says where to get it, which layout, and that ``demo`` needs nothing.
    """
    name, _, argument = spec.partition(":")
    images: FaceImages = tables.load(PACKAGE, "dataset", name).load(argument or None)
    if len(images) == 0:
        raise DatasetError(f"Dataset '{spec}' holds no images.")
    return images
