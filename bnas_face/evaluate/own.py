"""Bring your own: ``csv:PATH`` (pairs with any metadata) and ``folder:PATH`` (identity folders; pairs are drawn)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bnas_face import tables
from bnas_face.data.formats import folders
from bnas_face.data.images import FaceImages
from bnas_face.errors import ProtocolError
from bnas_face.evaluate import cards, drawn_pairs, own_csv
from bnas_face.evaluate.cards import ProtocolCard
from bnas_face.evaluate.protocol import PAIR_COLUMNS, Protocol, assemble
from bnas_face.files import sha256_file

KINDS = ("csv", "folder")


def is_own(name: str) -> bool:
    """Whether a protocol's name has the form ``kind:PATH``; ``card:POOLING`` is a card's."""
    return ":" in name and name.partition(":")[0] not in cards.names()


def check_kind(name: str) -> None:
    """Raise `UnknownNameError` unless the kind of ``kind:PATH`` is known."""
    tables.check_known("kind of protocol", name.partition(":")[0], KINDS)


def load(name: str) -> Protocol:
    """Open one of `KINDS`.

    Raises
    ------
    UnknownNameError
        If the kind is not known.
    ProtocolError
        If a line of the file is wrong (names it), an image is absent, or too little is there for two folds.
    DatasetError, BrokenImageError
        If the images cannot be opened at all.
    """
    check_kind(name)
    kind, _, argument = name.partition(":")
    if not argument:
        raise ProtocolError(
            f"Protocol '{name}' names no {'file' if kind == 'csv' else 'folder'}; expected {kind}:PATH."
        )
    return _csv(name, Path(argument)) if kind == "csv" else _folder(name)


def _csv(name: str, path: Path) -> Protocol:
    table = own_csv.read(path)
    images = _images(name, path, table)
    notes = (
        "" if "fold" in table else f"The file has no column fold: pairs were dealt to {own_csv.N_FOLDS} folds in order."
    )
    if "fold" not in table:
        table["fold"] = own_csv.dealt(table["is_genuine"].to_numpy(np.bool_), path)
    own_csv.check_folds(table, path)
    pairs = table.rename(columns={"probe": "probe_id", "reference": "reference_id"}).drop(
        columns=list(own_csv.SUBJECTS), errors="ignore"
    )
    pairs["fold"] = np.unique(pairs["fold"].to_numpy(), return_inverse=True)[1]
    pairs = pairs[[*PAIR_COLUMNS, *(column for column in pairs if column not in PAIR_COLUMNS)]]
    card = _card(
        name, pairs, images, title=f"{path.name}, own pairs", source=str(path), sha256=sha256_file(path), notes=notes
    )
    return assemble(card, images, pairs, origin=f"'{path}'")


def _folder(name: str) -> Protocol:
    from bnas_face.data import datasets

    images = datasets.load(name)
    pairs = drawn_pairs.draw(images)
    n = len(pairs) // (2 * (int(pairs["fold"].max()) + 1))
    notes = f"{n} genuine and {n} impostor pairs a fold, drawn with seed {drawn_pairs.SEED}; nobody is in two folds."
    card = _card(name, pairs, images, title=f"{images.name}, drawn pairs", source=name, sha256="", notes=notes)
    return assemble(card, images, pairs, origin=f"'{name}'")


def _card(
    name: str, pairs: pd.DataFrame, images: FaceImages, *, title: str, source: str, sha256: str, notes: str
) -> ProtocolCard:
    n_genuine = int(pairs["is_genuine"].sum())
    return ProtocolCard(
        name=name,
        title=title,
        version=1,
        dataset=images.name,
        source=source,
        licence="yours to know",
        format="own",
        pairs_sha256=sha256,
        n_pairs=len(pairs),
        n_genuine=n_genuine,
        n_impostor=len(pairs) - n_genuine,
        n_folds=pairs["fold"].nunique(),
        scheme="k_fold",
        size_px=images.size_px,
        alignment="as given",
        colour_order="RGB",
        fmr_targets=(0.1, 0.01, 0.001),
        notes=notes,
    )


def _images(name: str, path: Path, table: pd.DataFrame) -> FaceImages:
    root = path.parent
    image_ids = tuple(sorted({*table["probe"], *table["reference"]}))
    for image_id in image_ids:
        if not _is_file(root / image_id):
            row = int(np.argmax((table["probe"].eq(image_id) | table["reference"].eq(image_id)).to_numpy()))
            raise ProtocolError(
                f"'{path}' line {table.index[row]} names image '{image_id}', and there is no file '{root / image_id}'. "
                "Paths are relative to the folder of the CSV file."
            )
    labels, names = own_csv.identities(path, table, image_ids)
    size_px = folders.common_size(root, image_ids)
    return FaceImages(
        name=name,
        image_ids=image_ids,
        labels=labels,
        identity_names=names,
        content_hash=folders.content_hash(image_ids, folders.digests(root, image_ids)),
        size_px=size_px,
        read=folders.FolderReader(root.resolve(), image_ids, size_px),
        provenance={"title": "own pairs", "source": str(path), "licence": "yours to know"},
    )


def _is_file(path: Path) -> bool:
    """Whether a file is there and may be looked at; a name that no file can have (too long) is an absent one."""
    try:
        return path.is_file()
    except OSError:
        return False
