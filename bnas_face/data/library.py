"""Imported datasets on disk: the manifest, the layout, and opening one as `FaceImages`.

data/lfw/images/<identity>/…/x.jpg   as unpacked
data/lfw/pairs/<protocol>.csv        fold,reference_id,probe_id,is_genuine
data/lfw/source/…                    the original pair lists, unchanged
data/lfw/dataset.json                the manifest, written last
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.config import data_root
from bnas_face.data.formats import folders
from bnas_face.data.images import FaceImages, Reader
from bnas_face.errors import DatasetError, FormatError
from bnas_face.files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from bnas_face.data.datasets import DatasetCard

SCHEMA = "bnas_face.dataset/1"
MANIFEST = "dataset.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What ``dataset.json`` says of an imported set.

    Attributes
    ----------
    name, variant : str
        Folder below the data root; which of the card's variants the counts fit ("other" if none).
    n_images, n_identities, size_px : int
        Counts (0 identities: unknown, as in a ``.bin``); side of the first image.
    content_hash : str
        SHA-256 over ids and bytes at import.
    imported_from : mapping of str to str
        File → SHA-256 of every file that was imported.
    identity_level : int or None
        Which folder of an image id is the identity (0 = first); None: identities unknown.
    identity_names_file : str or None
        File below the set's folder whose line n is the name of identity n.
    identity_pattern : str or None
        Regular expression whose group 1 is the identity where ids are file names; used if `identity_level` is None.
    reference : str or None
        Folder of images, or ``.rec`` file, that stays where it is; None: ``images/``.
    crop_px : int or None
        Images of any shape are read as their central square of this side, see `folders.CentreCropReader`; None: all
        are squares of `size_px`.
    """

    name: str
    variant: str
    n_images: int
    n_identities: int
    size_px: int
    content_hash: str
    imported_from: Mapping[str, str] = field(default_factory=dict)
    identity_level: int | None = 0
    identity_names_file: str | None = None
    identity_pattern: str | None = None
    reference: str | None = None
    crop_px: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON content."""
        return {"schema": SCHEMA, **asdict(self)}


PairReader = Callable[[Sequence[Path]], "dict[str, pd.DataFrame]"]
ListWriter = Callable[[Path, Sequence[str]], Iterable[str]]


@dataclass(frozen=True, kw_only=True)
class ImportRules:
    """How ``bnasface data import`` treats a dataset; ``IMPORT`` of a module in `bnas_face.data.datasets`.

    Attributes
    ----------
    place : callable
        Path inside the archive → image id, or None for a file that is no image of the set.
    read_pairs : callable or None
        Files and folders given with ``--pairs`` → protocol name → table. None: the set has no pair lists.
    protocols : mapping of str to (n_genuine, n_impostor)
        Protocols the set can hold and their numbers of pairs; a ``.bin`` becomes the one of its name, else the first.
    identity_level, identity_pattern : int or None, str or None
        See `Manifest`.
    identity_names_file : str or None
        See `Manifest`; used if that file was imported.
    by_reference : bool
        A folder (or ``.rec``) stays where it is instead of being copied.
    finish : callable or None
        Called with the folder of images when everything is unpacked; turns files of the set's own format into images
        there and returns how many.
    crop_px : int or None
        See `Manifest`.
    write_lists : callable or None
        Called with the folder of the import (its ``source/`` holds the originals given with ``--pairs``) and the image
        ids; writes what the set compares to ``pairs/``, for sets whose lists are no pairs of images. Yields a sentence
        for every count that is not the published one and every image that is absent.
    """

    place: Callable[[PurePosixPath], str | None]
    read_pairs: PairReader | None = None
    protocols: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    identity_level: int | None = 0
    identity_names_file: str | None = None
    identity_pattern: str | None = None
    by_reference: bool = False
    finish: Callable[[Path], int] | None = None
    crop_px: int | None = None
    write_lists: ListWriter | None = None


def no_pairs(files: Sequence[Path]) -> dict[str, pd.DataFrame]:
    """A `read_pairs` rule for sets whose lists `ImportRules.write_lists` reads."""
    return {}


def last_parts(n: int) -> Callable[[PurePosixPath], str | None]:
    """A `place` rule: an image's last `n` parts are its id, whatever folders the archive puts around them."""

    def place(path: PurePosixPath) -> str | None:
        is_wanted = len(path.parts) >= n and folders.is_image_name(path.name)
        return "/".join(path.parts[-n:]) if is_wanted else None

    return place


def any_image(path: PurePosixPath) -> str | None:
    """A `place` rule: every image keeps its path."""
    return str(path) if folders.is_image_name(path.name) else None


def flat_name(path: PurePosixPath) -> str | None:
    """A `place` rule for uniquely named files: the name alone; CALFW's and CPLFW's raw copies are left out."""
    is_wanted = folders.is_image_name(path.name) and "images&landmarks" not in path.parts
    return path.name if is_wanted else None


def single_list(protocol: str, reader: str) -> PairReader:
    """A `read_pairs` rule: one text file for the function `reader` of `pair_lists`; image paths become file names."""

    def read(files: Sequence[Path]) -> dict[str, pd.DataFrame]:
        from bnas_face.data.formats import pair_lists

        if len(files) != 1 or not files[0].is_file():
            raise DatasetError(f"'{protocol}' takes one --pairs, a text file; found {len(files)}.")
        pairs = getattr(pair_lists, reader)(files[0])
        for column in ("reference_id", "probe_id"):
            pairs[column] = [PurePosixPath(image_id).name for image_id in pairs[column]]
        return {protocol: pairs}

    return read


def folder_of(name: str) -> Path:
    """Folder of an imported set below the data root."""
    return data_root() / name


def is_imported(name: str) -> bool:
    """Whether a set of this name is completely imported."""
    return NAME.fullmatch(name) is not None and (folder_of(name) / MANIFEST).is_file()


def manifest(name: str) -> Manifest:
    """Read and validate a manifest; `DatasetError` if the set is not imported, `FormatError` if it is damaged."""
    path = folder_of(name) / MANIFEST
    if not is_imported(name):
        raise DatasetError(f"Dataset '{name}' is not imported ('{path}' does not exist).")
    content = read_json(path)
    if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
        raise FormatError(f"'{path}' is no manifest of schema '{SCHEMA}'. Import the dataset again.")
    try:
        found = Manifest(**content)
    except TypeError as error:
        raise FormatError(f"'{path}' does not fit schema '{SCHEMA}' ({error}). Import the dataset again.") from None
    return found


def images_root(found: Manifest) -> Path:
    """Where the images (or the ``.rec`` file) of an imported set lie."""
    return Path(found.reference) if found.reference else folder_of(found.name) / "images"


def absent(name: str, card: DatasetCard) -> DatasetError:
    """The error for a set that is not on this machine: where to get it, its layout, and that demo needs nothing."""
    return DatasetError(
        f"Dataset '{name}' ({card.title}) is not in '{data_root()}'.\n"
        f"Get it from: {card.source}\nTerms: {card.licence}\nLayout and import:\n{_indent(card.layout)}\n"
        "The dataset 'demo' (rendered faces) needs nothing: use --dataset demo or run 'bnasface demo'."
    )


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def open_images(name: str, card: DatasetCard, under: str | None = None) -> FaceImages:
    """Open an imported set of image files.

    Parameters
    ----------
    name : str
        Folder below the data root.
    card : DatasetCard
        Says where to get the set if it is absent.
    under : str or None
        Only images below this folder of the set (a split); None: all.

    Raises
    ------
    DatasetError
        If it is absent, or holds another number of images than were imported.
    """
    if not is_imported(name):
        raise absent(name, card)
    found = manifest(name)
    root = images_root(found)
    image_ids = folders.list_images(root)
    if len(image_ids) != found.n_images:
        raise DatasetError(
            f"'{root}' holds {len(image_ids):,} images, but {found.n_images:,} were imported. Import '{name}' again."
        )
    if under is not None:
        image_ids = tuple(image_id for image_id in image_ids if image_id.startswith(f"{under}/"))
    labels, names = _identities(found, image_ids)
    return FaceImages(
        name=f"{name}:{under}" if under else name,
        image_ids=image_ids,
        labels=labels,
        identity_names=names,
        content_hash=folders.quick_hash(root, image_ids) if found.reference else found.content_hash,
        size_px=found.size_px,
        read=_reader(found, root.resolve(), image_ids),
        provenance=provenance(found, card),
    )


def _reader(found: Manifest, root: Path, image_ids: tuple[str, ...]) -> Reader:
    kind = folders.CentreCropReader if found.crop_px else folders.FolderReader
    return kind(root, image_ids, found.size_px)


def open_whole(name: str, card: DatasetCard, argument: str | None) -> FaceImages:
    """Open an imported set that has no splits; `DatasetError` for ``name:argument``."""
    if argument:
        raise DatasetError(f"Dataset '{name}' takes no argument, found '{name}:{argument}'.")
    return open_images(name, card)


def provenance(found: Manifest, card: DatasetCard) -> dict[str, Any]:
    """What a result file should say of an imported set."""
    counts = {"n_images": found.n_images, "n_identities": found.n_identities}
    return {
        "title": card.title,
        "source": card.source,
        "licence": card.licence,
        "variant": found.variant,
        **counts,
        "imported_from": dict(found.imported_from),
    }


def identities(
    image_ids: Sequence[str], level: int | None, pattern: str | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels and identity names by folder, else by file name, else unknown (labels −1, no names)."""
    if level is not None:
        return folders.label_by_folder(image_ids, level)
    found = folders.label_by_pattern(image_ids, pattern) if pattern else None
    return found or (np.full(len(image_ids), -1, np.int64), ())


def _identities(found: Manifest, image_ids: tuple[str, ...]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    labels, names = identities(image_ids, found.identity_level, found.identity_pattern)
    if found.identity_names_file:
        names = _named(folder_of(found.name) / found.identity_names_file, names)
    return labels, names


def _named(path: Path, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """Names of identities "001", "002", … from a file whose line n names person n."""
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"The file of names '{path}' cannot be read: {error}. Import the dataset again.") from None
    outside = next((n for n in numbers if not n.isdecimal() or not 1 <= int(n) <= len(names)), None)
    if outside is not None:
        raise DatasetError(f"Identity '{outside}' has no line in '{path}' ({len(names)} names).")
    return tuple(names[int(number) - 1].strip() for number in numbers)


def read_pairs(name: str, protocol: str) -> pd.DataFrame:
    """The normalised pair list of a protocol of an imported set, as `pair_lists.read_csv` gives it.

    Raises
    ------
    DatasetError
        If the set was imported without that pair list.
    FormatError
        If the CSV is damaged.
    """
    from bnas_face.data.formats import pair_lists

    path = folder_of(name) / "pairs" / f"{protocol}.csv"
    if not path.is_file():
        raise DatasetError(
            f"Dataset '{name}' has no pair list '{path}'. Import it again with --pairs (bnasface data where {name})."
        )
    return pair_lists.read_csv(path)


def list_names(name: str) -> list[str]:
    """Names of the protocols whose lists an imported set holds: pairs of images, or templates."""
    files = (path for path in (folder_of(name) / "pairs").glob("*") if path.suffix in (".csv", ".npz"))
    return sorted(path.stem for path in files if path.stem not in ("templates", "points"))


def check_name(name: str) -> str:
    """A name a set may be imported under, unchanged; `DatasetError` if it is no plain word."""
    if not NAME.fullmatch(name):
        raise DatasetError(f"'{name}' is no name for a dataset; use letters, digits, '_' and '-'.")
    return name
