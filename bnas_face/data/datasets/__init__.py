"""Datasets a user can name: one file each; the file name is the registered name.

Each module has a ``CARD`` (`DatasetCard`) and ``load(argument: str | None) -> FaceImages``. ``argument`` is what
follows the colon in ``folder:PATH``; None without a colon.
"""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face import tables
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError

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
    kind : str
        ``"faces"``, or ``"objects"``: identities are classes of things, to be recognised and not verified.
    training_split, test_split : str
        Splits of a set that brings its own test images: the one to learn from and the one never to learn from; empty
        where the set has none.
    size_px : int
        Side of the network's input that fits the set; 0 where nothing is usual.
    """

    title: str
    licence: str
    source: str
    layout: str
    expected: dict[str, tuple[int, int]]
    kind: str = "faces"
    training_split: str = ""
    test_split: str = ""
    size_px: int = 0


def names() -> tuple[str, ...]:
    """Names of all datasets."""
    return tables.names(PACKAGE)


def card(name: str) -> DatasetCard:
    """The card of a dataset; raises `UnknownNameError` for a typo."""
    found: DatasetCard = tables.load(PACKAGE, "dataset", name).CARD
    return found


def training_spec(spec: str) -> str:
    """What to open in order to learn: ``"cifar10"`` becomes ``"cifar10:train"``; a set without splits stays as it is.

    Raises
    ------
    UnknownNameError
        For a typo.
    ConfigError
        If `spec` names the test split.
    """
    name, _, argument = spec.partition(":")
    known = card(name)
    if known.test_split and argument == known.test_split:
        raise ConfigError(
            f"'{spec}' is what '{name}' is tested on; nothing may learn from it. Use '{name}:{known.training_split}'."
        )
    return f"{name}:{known.training_split}" if known.training_split and not argument else spec


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
