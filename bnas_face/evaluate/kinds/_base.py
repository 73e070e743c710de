"""The contract of a kind of protocol.

A module of this folder has the name that its cards have as ``kind`` and defines the members of `Kind`. A protocol of
any kind has `card` and `images`; what was measured has `model`, `protocol` and `entry`, its entry of ``results``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from bnas_face.data.images import FaceImages
from bnas_face.evaluate.breakdown import Development, People
from bnas_face.evaluate.cards import Card
from bnas_face.evaluate.conventions import Convention
from bnas_face.evaluate.embed import Embedder, Embeddings


@dataclass(frozen=True, kw_only=True)
class How:
    """What the numbers of a whole report have in common.

    Attributes
    ----------
    convention : Convention
    n_replicates, seed : int
        Of the bootstrap.
    people : People or None
        Whom the model that is measured was trained on.
    development : Development or None
        A threshold of that model from another protocol.
    """

    convention: Convention
    n_replicates: int
    seed: int
    people: People | None = None
    development: Development | None = None


class AnyProtocol(Protocol):
    """A protocol of any kind."""

    @property
    def card(self) -> Card:
        """Its card; `kind` names the module here."""

    @property
    def images(self) -> FaceImages:
        """The whole image set."""


@runtime_checkable
class AnyMeasured(Protocol):
    """What was measured of one model on a protocol of any kind."""

    @property
    def model(self) -> str:
        """Its id."""

    @property
    def protocol(self) -> Any:
        """The protocol."""

    @property
    def entry(self) -> dict[str, Any]:
        """Its entry of ``results``."""


class Kind(Protocol):
    """What a module of this folder defines."""

    TASK: str
    """What a network must do: ``"embedding"`` or ``"classification"``."""
    TABLE: str
    """File of the report folder that lists every case: ``"pairs.csv"``."""

    def image_ids(self, protocol: Any) -> list[str]:
        """The images that have to be embedded."""

    def check(self, model: str, embedder: Embedder, protocol: Any) -> None:
        """Raise `ConfigError` where a network of the right task does not fit this very protocol."""

    def measure(self, model: str, embedder: Embedder, protocol: Any, embeddings: Embeddings, how: How) -> Any:
        """Every number of one model; `embeddings` are of `image_ids`, in that order."""

    def compare(self, first: Any, twin: Any, how: How) -> dict[str, Any]:
        """One entry of ``comparisons``: a model against another on the same cases."""

    def protocol_entry(self, protocol: Any) -> dict[str, Any]:
        """One entry of ``protocols``."""

    def table(self, measured: Any) -> pd.DataFrame:
        """Every case with what was decided of it."""

    def failures(self, measured: Any, thumbnails: Any) -> list[dict[str, Any]]:
        """Wrongly decided cases worth showing; `thumbnails` writes their images, or is None."""

    def summary_row(self, entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
        """The row of ``summary.csv``, from the entries of ``results``, ``models`` and ``comparisons``."""
