"""Templates and what is compared of them, as numpy files that hold numbers and names only (no pickle).

pairs/templates.npz       image_id, template, medium, detector_score    one row for every image of a template
pairs/points.npz          image_id, points                              five points of every image that has any
pairs/<1:1 protocol>.npz  reference, probe, is_genuine                  one row for every pair of templates
pairs/<1:N protocol>.npz  gallery, gallery_subject, probe, probe_subject
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import FormatError
from bnas_face.files import atomic_path

SCHEMA = "bnas_face.templates/1"
TEMPLATES, POINTS = "templates", "points"
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Arrays:
    """Arrays of equal length, written to and read from one ``.npz``."""

    def save(self, path: Path) -> None:
        """Write beside and rename."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez(file, schema=np.array(SCHEMA), **content)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check types and lengths.

        Raises
        ------
        FormatError
            If the file is absent, damaged, or of another kind.
        """
        names = [field.name for field in fields(cls)]
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                schema, found = str(content["schema"]), {name: content[name] for name in names}
        except FileNotFoundError:
            raise FormatError(f"'{path}' does not exist. Import the dataset again, with its lists (--pairs).") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
            raise FormatError(f"'{path}' is damaged ({error}). Import the dataset again.") from None
        problem = f"schema '{schema}'" if schema != SCHEMA else cls._problem(found)
        if problem:
            raise FormatError(f"'{path}' does not fit schema '{SCHEMA}' ({problem}). Import the dataset again.")
        return cls(**found)

    @classmethod
    def _problem(cls, found: Mapping[str, NDArray[Any]]) -> str:
        """What is wrong with the arrays; nothing if they are sound."""
        for name, array in found.items():
            kind, n_axes = cls._kinds().get(name, ("i", 1))
            if array.ndim != n_axes or array.dtype.kind != kind:
                return f"{name} is an array of {array.dtype} with {array.ndim} axes"
        for group in cls._groups():
            lengths = {len(found[name]) for name in group}
            if len(lengths) != 1:
                return f"{', '.join(group)} differ in length"
        return ""

    @staticmethod
    def _kinds() -> dict[str, tuple[str, int]]:
        """Letter of numpy and number of axes of the arrays that are no rows of whole numbers."""
        return {"image_id": ("U", 1), "detector_score": ("f", 1), "is_genuine": ("b", 1), "points": ("f", 3)}

    @classmethod
    def _groups(cls) -> tuple[tuple[str, ...], ...]:
        """Names of arrays that go together row by row."""
        return (tuple(field.name for field in fields(cls)),)


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateRows(_Arrays):
    """Which images make up which template.

    Attributes
    ----------
    image_id : ndarray of str, shape (n_rows,)
    template, medium : ndarray of int32, shape (n_rows,)
        Numbers as published; images of one template and one medium (frames of one video) belong together.
    detector_score : ndarray of float32, shape (n_rows,)
        How sure the detector was of the face, in [0, 1]; 1 where the set does not say.
    """

    image_id: NDArray[np.str_]
    template: NDArray[np.int32]
    medium: NDArray[np.int32]
    detector_score: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class FivePoints(_Arrays):
    """Where the eyes, the nose tip and the corners of the mouth are.

    Attributes
    ----------
    image_id : ndarray of str, shape (n_images,)
    points : ndarray of float32, shape (n_images, 5, 2)
        x, y in px.
    """

    image_id: NDArray[np.str_]
    points: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplatePairs(_Arrays):
    """Which templates are compared.

    Attributes
    ----------
    reference, probe : ndarray of int32, shape (n_pairs,)
        Numbers of templates as published.
    is_genuine : ndarray of bool, shape (n_pairs,)
    """

    reference: NDArray[np.int32]
    probe: NDArray[np.int32]
    is_genuine: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateSearches(_Arrays):
    """Which templates are searched in which gallery.

    Attributes
    ----------
    gallery, gallery_subject : ndarray of int32, shape (n_gallery,)
        Number of each template of the gallery, and whose it is; −1: unknown, a person of their own (a distractor).
    probe, probe_subject : ndarray of int32, shape (n_probes,)
    """

    gallery: NDArray[np.int32]
    gallery_subject: NDArray[np.int32]
    probe: NDArray[np.int32]
    probe_subject: NDArray[np.int32]

    @classmethod
    def _groups(cls) -> tuple[tuple[str, ...], ...]:
        return ("gallery", "gallery_subject"), ("probe", "probe_subject")

    @property
    def is_mated(self) -> NDArray[np.bool_]:
        """Whether each probe's subject is in the gallery."""
        return np.isin(self.probe_subject, self.gallery_subject) & (self.probe_subject >= 0)
