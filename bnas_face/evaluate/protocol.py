"""Protocols: who is compared with whom. One card per protocol in ``protocols/``; the file name is the name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.config import data_root
from bnas_face.data.formats import pair_lists
from bnas_face.data.images import FaceImages
from bnas_face.errors import FormatError, ProtocolError
from bnas_face.evaluate import identification, objects, template_pairs
from bnas_face.evaluate.cards import ObjectCard, ProtocolCard, SearchCard, TemplateCard, card, names
from bnas_face.evaluate.identification import SearchProtocol
from bnas_face.evaluate.objects import ObjectProtocol
from bnas_face.evaluate.template_pairs import TemplateProtocol
from bnas_face.files import sha256_text

__all__ = [
    "PAIR_COLUMNS",
    "ObjectCard",
    "ObjectProtocol",
    "Protocol",
    "ProtocolCard",
    "assemble",
    "card",
    "load",
    "names",
    "read_pairs",
]

PAIR_COLUMNS = pair_lists.COLUMNS


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A card with its images and pairs, checked against each other.

    Attributes
    ----------
    card : ProtocolCard
    images : FaceImages
        The whole image set, of which `used` are compared.
    pairs : DataFrame with n_pairs rows
        Columns fold (int), reference_id, probe_id (str), is_genuine (bool), then metadata.
    reference, probe : ndarray of int64, shape (n_pairs,)
        Position of each pair's images in `images`.
    """

    card: ProtocolCard
    images: FaceImages
    pairs: pd.DataFrame
    reference: NDArray[np.int64]
    probe: NDArray[np.int64]

    @property
    def fold(self) -> NDArray[np.int64]:
        """Fold of each pair, shape (n_pairs,)."""
        return self.pairs["fold"].to_numpy(np.int64)

    @property
    def is_genuine(self) -> NDArray[np.bool_]:
        """Whether each pair shows one person, shape (n_pairs,)."""
        return self.pairs["is_genuine"].to_numpy(np.bool_)

    @property
    def metadata_columns(self) -> list[str]:
        """Names of the columns that ride along."""
        return [str(column) for column in self.pairs.columns if column not in PAIR_COLUMNS]

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """Positions in `images` of all images that take part, ascending."""
        return np.unique(np.concatenate((self.reference, self.probe)))

    @property
    def used_ids(self) -> list[str]:
        """Ids of those images, in the same order."""
        return [self.images.image_ids[i] for i in self.used]

    @cached_property
    def pairs_hash(self) -> str:
        """SHA-256 of the pairs as used: fold, ids and class of every pair in order."""
        rows = self.pairs[list(PAIR_COLUMNS)].itertuples(index=False)
        return sha256_text(*(f"{int(r[0])}\t{r[1]}\t{r[2]}\t{int(r[3])}" for r in rows))

    def subjects(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Subject of each pair's reference and probe, for the cluster bootstrap, both of shape (n_pairs,).

        An image of unknown identity (label −1) is a subject of its own.
        """
        labels = self.images.labels
        subject = np.where(labels >= 0, labels, self.images.n_identities + np.arange(len(labels)))
        return subject[self.reference], subject[self.probe]


def kind_of(name: str) -> str:
    """The kind of a protocol, a module of `bnas_face.evaluate.kinds`; raises `UnknownNameError` for a typo."""
    from bnas_face.evaluate import own

    if own.is_own(name):
        own.check_kind(name)
        return ProtocolCard.kind
    return card(name).kind


def load(name: str) -> Protocol | ObjectProtocol | TemplateProtocol | SearchProtocol:
    """Open a protocol: with its images and pairs, or with its images and their classes, templates or gallery.

    Parameters
    ----------
    name : str
        Of a card; or ``"csv:PATH"``, ``"folder:PATH"``.

    Raises
    ------
    UnknownNameError
        If there is no such protocol.
    DatasetError
        If its images are not on this machine; the message says how to get them.
    ProtocolError
        If the card or the pair list is damaged, absent, or does not hold what the card promises.
    """
    from bnas_face.evaluate import own

    if own.is_own(name):
        return own.load(name)
    found = card(name)
    if isinstance(found, ObjectCard):
        return objects.load(found)
    if isinstance(found, TemplateCard):
        return template_pairs.load(found)
    if isinstance(found, SearchCard):
        return identification.load(found)
    if found.format == "rendered":
        from bnas_face.data.synthetic import protocols as rendered

        images, pairs = rendered.build(name)
        return assemble(found, images, pairs, origin=f"the rendered protocol '{name}'")
    from bnas_face.data import datasets

    images = datasets.load(found.dataset)
    path = data_root() / found.dataset / "pairs" / f"{name}.csv"
    return assemble(found, images, read_pairs(path, found), origin=f"'{path}'")


def read_pairs(path: Path, of: ProtocolCard) -> pd.DataFrame:
    """Read a normalised pair list: CSV with the columns of `PAIR_COLUMNS`, then metadata.

    Raises
    ------
    ProtocolError
        If it is absent or damaged; names the file and the line.
    """
    if not path.exists():
        raise ProtocolError(
            f"Protocol '{of.name}' has no pair list at '{path}'. Import it with the images: "
            f"bnasface data import {of.dataset} ARCHIVE --pairs PAIR_LIST (see: bnasface data where {of.dataset})."
        )
    try:
        return pair_lists.read_csv(path)
    except FormatError as error:
        raise ProtocolError(str(error)) from None


def assemble(of: ProtocolCard, images: FaceImages, pairs: pd.DataFrame, *, origin: str = "the pair list") -> Protocol:
    """Join a card, images and pairs.

    Parameters
    ----------
    of : ProtocolCard
    images : FaceImages
    pairs : DataFrame
        With the columns of `PAIR_COLUMNS`.
    origin : str
        What errors call the pair list.

    Raises
    ------
    ProtocolError
        If the counts differ from the card's or an image id is not in `images`.
    """
    pairs = pairs.assign(is_genuine=pairs["is_genuine"].astype(bool), fold=pairs["fold"].astype(np.int64))
    _check_counts(of, pairs, origin)
    position = {image_id: index for index, image_id in enumerate(images.image_ids)}
    sides: list[NDArray[np.int64]] = []
    for column in ("reference_id", "probe_id"):
        found = pairs[column].map(position)
        if found.isna().any():
            absent = pairs[column][found.isna()]
            raise ProtocolError(
                f"{origin} names image '{absent.iloc[0]}'"
                + (f" and {len(absent) - 1} more {column}s" if len(absent) > 1 else "")
                + f" that dataset '{images.name}' ({len(images)} images) does not hold. Import the dataset again: "
                f"bnasface data check {of.dataset}."
            )
        sides.append(found.to_numpy().astype(np.int64))
    return Protocol(card=of, images=images, pairs=pairs.reset_index(drop=True), reference=sides[0], probe=sides[1])


def _check_counts(of: ProtocolCard, pairs: pd.DataFrame, origin: str) -> None:
    n_genuine = int(pairs["is_genuine"].sum())
    folds = sorted(int(fold) for fold in pairs["fold"].unique())
    for what, found, expected in (
        ("pairs", len(pairs), of.n_pairs),
        ("genuine pairs", n_genuine, of.n_genuine),
        ("impostor pairs", len(pairs) - n_genuine, of.n_impostor),
        ("folds", folds, list(range(of.n_folds))),
    ):
        if found != expected:
            raise ProtocolError(
                f"{origin} has {what} {found}; protocol '{of.name}' version {of.version} expects {expected}. "
                f"Import the dataset again, or check which release of the list it is."
            )
