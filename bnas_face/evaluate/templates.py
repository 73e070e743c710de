"""Templates: several images of one person as one vector, pooled medium by medium; and the scores of their pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.config import cache_root, data_root
from bnas_face.data.formats import template_files
from bnas_face.data.formats.template_files import TemplateRows
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, FormatError, MetricError, ProtocolError
from bnas_face.evaluate.cards import POOLINGS, SearchCard, TemplateCard

if TYPE_CHECKING:
    from bnas_face.evaluate.embed import Embeddings

ROWS_AT_ONCE = 4096
PAIRS_AT_ONCE = 1 << 14
BLOCK = 256
"""References scored against all probes in one product."""
STEP = 2.0**-20
"""Scores are rounded to it (1e-6): float32 products of equal templates differ in their last digits, but are ties."""
DENSE = 1 / 16
"""From this share of all possible pairs on, whole blocks are scored and the pairs looked up in them."""


@dataclass(frozen=True, kw_only=True)
class Pooling:
    """How the images of a template become one vector, in the words of InsightFace's IJB script.

    Attributes
    ----------
    norm : bool
        N1: embeddings keep their length; N0: each is brought to unit length first.
    detector : bool
        D1: each is weighted with the detector score of its image.
    flip : bool
        F1: an image's embedding is f(x) + f(flip x); F0: f(x) alone. The convention says so, not the card.
    """

    norm: bool
    detector: bool
    flip: bool

    @classmethod
    def of(cls, name: str, *, flip: bool) -> Pooling:
        """``"N0D1"`` with the flip of the convention.

        Raises
        ------
        ConfigError
            For a flip of its own, and for another name.
        """
        if name not in POOLINGS:
            raise ConfigError(
                f"Pooling '{name}' is not known; expected one of {', '.join(POOLINGS)}. The flip is the "
                "convention's: F1, with --convention facex F0."
            )
        return cls(norm="N1" in name, detector="D1" in name, flip=flip)

    @property
    def name(self) -> str:
        """``"N0D1F1"``."""
        return f"N{int(self.norm)}D{int(self.detector)}F{int(self.flip)}"

    @property
    def stamp(self) -> str:
        """What a result says of it."""
        weighted = "weighted with its detector score" if self.detector else "unweighted"
        view = "f(x) + f(flip x)" if self.flip else "f(x)"
        length = "as it is" if self.norm else "at unit length"
        return (
            f"{self.name}: the embedding of an image is {view} {length}, {weighted}; images of one medium are "
            "averaged, media added, the sum brought to unit length; an image without embedding is left out, a template "
            "without any fails; the score is the cosine in float32, to 1e-6"
        )


def check_counts(card: TemplateCard | SearchCard, *counts: tuple[str, int, int]) -> None:
    """Raise `ProtocolError` unless every (what, found, expected) of a protocol's lists is what its card promises."""
    for what, n, expected in counts:
        if n != expected:
            raise ProtocolError(
                f"The lists of '{card.dataset}' hold {n:,} {what}; protocol '{card.name}' version {card.version} "
                f"expects {expected:,}. Import the published lists: bnasface data where {card.dataset}."
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateSet:
    """Which images of a set make up which template, sorted by template and medium.

    Attributes
    ----------
    number : ndarray of int32, shape (n_templates,)
        As published, ascending; elsewhere a template is its position here.
    image : ndarray of int64, shape (n_rows,)
        Position in the image set.
    template, medium : ndarray of int32, shape (n_rows,)
        Position of the template; number of the medium.
    detector_score : ndarray of float32, shape (n_rows,)
    """

    number: NDArray[np.int32]
    image: NDArray[np.int64]
    template: NDArray[np.int32]
    medium: NDArray[np.int32]
    detector_score: NDArray[np.float32]

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """Positions of the images that take part, ascending."""
        return np.unique(self.image)

    def positions(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Positions of templates by number; all must be there."""
        return np.searchsorted(self.number, numbers).astype(np.int32)

    @property
    def n_images(self) -> NDArray[np.int64]:
        """Images of each template, shape (n_templates,)."""
        return np.bincount(self.template, minlength=len(self.number)).astype(np.int64)

    @property
    def n_media(self) -> NDArray[np.int64]:
        """Media of each template, shape (n_templates,)."""
        return np.bincount(self.template[self.media_starts], minlength=len(self.number)).astype(np.int64)

    @cached_property
    def media_starts(self) -> NDArray[np.int64]:
        """First row of every medium of every template."""
        changed = (self.template[1:] != self.template[:-1]) | (self.medium[1:] != self.medium[:-1])
        return np.flatnonzero(np.append(True, changed)[: len(self.template)]).astype(np.int64)


def list_path(dataset: str, name: str) -> Path:
    """Where an imported set keeps a list; the pooling of ``"ijbc:N0D0"`` is no part of it."""
    return data_root() / dataset / "pairs" / f"{name.partition(':')[0]}.npz"


def load_rows(dataset: str) -> TemplateRows:
    """The templates of an imported set; `ProtocolError` if they are absent or damaged."""
    try:
        return TemplateRows.load(list_path(dataset, template_files.TEMPLATES))
    except FormatError as error:
        raise ProtocolError(str(error)) from None


def template_set(rows: TemplateRows, images: FaceImages, needed: NDArray[np.int32]) -> TemplateSet:
    """The templates `needed` (numbers, any order) with the positions of their images.

    Raises
    ------
    ProtocolError
        If a template has no images, or one of them is not in `images`.
    """
    number = np.unique(needed).astype(np.int32)
    chosen = np.flatnonzero(np.isin(rows.template, number))
    chosen = chosen[np.lexsort((rows.medium[chosen], rows.template[chosen]))]
    template = np.searchsorted(number, rows.template[chosen]).astype(np.int32)
    empty = np.flatnonzero(np.bincount(template, minlength=len(number)) == 0)
    if len(empty):
        raise ProtocolError(f"Template {number[empty[0]]} is compared, but has no images. Import the dataset again.")
    image = pd.Index(images.image_ids).get_indexer(pd.Index(rows.image_id[chosen]))
    absent = np.flatnonzero(image < 0)
    if len(absent):
        raise ProtocolError(
            f"{len(absent):,} images of templates are not in dataset '{images.name}' ({len(images):,} images), first "
            f"'{rows.image_id[chosen[absent[0]]]}'. Import the complete set: bnasface data where {images.name}."
        )
    return TemplateSet(
        number=number,
        image=image.astype(np.int64),
        template=template,
        medium=rows.medium[chosen],
        detector_score=rows.detector_score[chosen],
    )


def pool(templates: TemplateSet, embeddings: Embeddings, how: Pooling) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One unit vector for each template, in float64, a few thousand images at a time.

    v = Σ_media mean_images(w · e) / ‖·‖ with w the detector score (D1) or 1, times the embedding's length (N1) or 1,
    over images that have an embedding, whose direction is e.

    Parameters
    ----------
    templates : TemplateSet
    embeddings : Embeddings
        Of `TemplateSet.used`, in that order.
    how : Pooling

    Returns
    -------
    values : ndarray of float32, shape (n_templates, embedding_dim)
        Zeros where failed.
    failed : ndarray of bool, shape (n_templates,)
        No image has an embedding, all weights are zero, or the sum is.
    """
    row = np.searchsorted(templates.used, templates.image)
    weight = templates.detector_score.astype(np.float64) if how.detector else np.ones(len(row))
    is_there = ~embeddings.failed[row]
    if how.norm:
        weight = weight * np.where(is_there, _lengths(embeddings)[row], 0.0)
    values = np.zeros((len(templates.number), embeddings.values.shape[1]), np.float32)
    first = np.searchsorted(templates.template, np.arange(len(templates.number) + 1))
    for begin, end in _spans(first):
        rows = slice(first[begin], first[end])
        weighted = embeddings.values[row[rows]] * (weight[rows] * is_there[rows])[:, None]
        starts = templates.media_starts
        starts = starts[np.searchsorted(starts, first[begin]) : np.searchsorted(starts, first[end])]
        n_there = np.add.reduceat(is_there[rows].astype(np.int64), starts - first[begin])
        media = np.add.reduceat(weighted, starts - first[begin], axis=0) / np.maximum(n_there, 1)[:, None]
        sums = np.add.reduceat(media, np.searchsorted(starts, first[begin:end]), axis=0)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        values[begin:end] = sums / np.where(length > 0, length, 1.0)
    return values, np.asarray(~values.any(axis=1))


def _lengths(embeddings: Embeddings) -> NDArray[np.float64]:
    lengths = embeddings.lengths
    if lengths is None or np.isnan(lengths[~embeddings.failed]).any():
        raise MetricError(
            "N1 weighs images by the length of their embeddings, and some of the cached embeddings were kept without. "
            f"Delete the folder '{cache_root() / 'embeddings'}' to have them computed again, or choose N0."
        )
    return lengths.astype(np.float64)


def _spans(first: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs of templates with some `ROWS_AT_ONCE` images, at least one template each."""
    spans, begin = [], 0
    while begin < len(first) - 1:
        end = max(begin + 1, int(np.searchsorted(first, first[begin] + ROWS_AT_ONCE, side="right")) - 1)
        spans.append((begin, end))
        begin = end
    return spans


def pair_scores(
    values: NDArray[np.float32], failed: NDArray[np.bool_], reference: NDArray[np.int32], probe: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Cosines of pairs of templates, whether there are a few or 15 million.

    Parameters
    ----------
    values : ndarray of float32, shape (n_templates, embedding_dim)
        Unit length; rows of failed templates are not looked at.
    failed : ndarray of bool, shape (n_templates,)
    reference, probe : ndarray of int32, shape (n_pairs,)
        Positions of templates.

    Returns
    -------
    ndarray of float32, shape (n_pairs,)
        In [-1, 1], rounded to `STEP`; NaN where either template failed.
    """
    n_possible = np.count_nonzero(np.bincount(reference)) * np.count_nonzero(np.bincount(probe))
    scoring = _by_blocks if len(reference) > DENSE * n_possible else _one_by_one
    scores = scoring(values, reference, probe)
    scores /= np.float32(STEP)
    np.rint(scores, out=scores)
    scores *= np.float32(STEP)
    scores[failed[reference] | failed[probe]] = np.nan
    return scores


def _one_by_one(
    values: NDArray[np.float32], reference: NDArray[np.int32], probe: NDArray[np.int32]
) -> NDArray[np.float32]:
    scores = np.empty(len(reference), np.float32)
    for start in range(0, len(reference), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        np.einsum("pd,pd->p", values[reference[part]], values[probe[part]], out=scores[part])
    return scores


def _by_blocks(
    values: NDArray[np.float32], reference: NDArray[np.int32], probe: NDArray[np.int32]
) -> NDArray[np.float32]:
    """A few references against all probes in one product, then the pairs that are wanted of it."""
    probes, at_probe = _places(probe)
    references, at_reference = _places(reference)
    block_of = (at_reference // BLOCK).astype(np.uint16 if len(references) < BLOCK << 16 else np.uint32)
    order = np.argsort(block_of, kind="stable").astype(np.int32)
    bounds = np.concatenate(([0], np.cumsum(np.bincount(block_of))))
    columns = np.ascontiguousarray(values[probes].T)
    scores = np.empty(len(reference), np.float32)
    for block, (begin, end) in enumerate(pairwise(bounds)):
        pairs = order[begin:end]
        products = values[references[block * BLOCK : (block + 1) * BLOCK]] @ columns
        scores[pairs] = products[at_reference[pairs] - block * BLOCK, at_probe[pairs]]
    return scores


def _places(positions: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The different positions, ascending, and the place of each among them: as `np.unique`, without a sort."""
    different = np.flatnonzero(np.bincount(positions))
    place = np.zeros(int(different[-1]) + 1, np.int32)
    place[different] = np.arange(len(different), dtype=np.int32)
    return different, place[positions]
