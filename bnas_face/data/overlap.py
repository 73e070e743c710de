"""People that two sets share, found by normalised name."""

from __future__ import annotations

import unicodedata

import numpy as np

from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError


def normalised_name(name: str) -> str:
    """A person's name as lower-case letters only: ``"Queen_Latifah"`` and ``"Quéen Latifah"`` are the same.

    Accents are dropped by compatibility decomposition (NFKD); digits, spaces and punctuation are dropped.
    """
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in decomposed if character.isalpha())


def has_names(images: FaceImages) -> bool:
    """Whether the identities have names that tell people apart: ``"0000045"`` and ``"person_17"`` do not."""
    found = {normalised_name(name) for name in images.identity_names} - {""}
    return 2 * len(found) >= max(images.n_identities, 1)


def shared_names(images: FaceImages, other: FaceImages) -> tuple[str, ...]:
    """Normalised names that both sets have, sorted."""
    ours = {normalised_name(name) for name in images.identity_names}
    theirs = {normalised_name(name) for name in other.identity_names}
    return tuple(sorted((ours & theirs) - {""}))


def exclude_names_of(images: FaceImages, other: FaceImages) -> FaceImages:
    """`images` without the people whose normalised name `other` has too.

    Raises
    ------
    DatasetError
        If either set has no names of people (a ``.bin``, CASIA's numbers), or nobody is left.
    """
    for unnamed in (images, other):
        if not has_names(unnamed):
            raise DatasetError(
                f"Dataset '{unnamed.name}' carries no names of people, so who '{images.name}' and '{other.name}' share "
                "cannot be told by name. Leave out --exclude-names-of and say so beside the result."
            )
    shared = set(shared_names(images, other))
    keep = np.array([normalised_name(name) not in shared for name in images.identity_names], bool)
    if not keep.any():
        raise DatasetError(f"Nobody is left of '{images.name}' without the {len(shared)} people of '{other.name}'.")
    return images.select_identities(keep)
