"""What an import must hold before it is shown: the counts of the card, and the images that the lists name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from bnas_face.data import datasets
from bnas_face.data.library import ImportRules, Manifest
from bnas_face.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

    from bnas_face.data.importing import Request

Tell = Callable[[str], None]


def check_counts(request: Request, manifest: Manifest) -> None:
    """As many images and identities as a variant of the card has."""
    expected = datasets.card(request.dataset).expected
    if manifest.variant != "other" or not expected or request.allow_other_counts:
        return
    known = " or ".join(
        f"{images:,} images{f' of {people:,} identities' if people else ''} ({variant})"
        for variant, (images, people) in expected.items()
    )
    raise DatasetError(
        f"'{request.source}' holds {manifest.n_images:,} images of {manifest.n_identities:,} identities; "
        f"'{request.dataset}' has {known}. Give the complete file, or add --allow-other-counts to import it as it is."
    )


def check_pair_counts(request: Request, rules: ImportRules, pairs: dict[str, pd.DataFrame]) -> None:
    """As many genuine and impostor pairs as the protocol card promises."""
    for protocol, table in pairs.items():
        n_genuine = int(table["is_genuine"].sum())
        found, expected = (n_genuine, len(table) - n_genuine), rules.protocols[protocol]
        if found != expected and not request.allow_other_counts:
            raise DatasetError(
                f"The pair list of '{protocol}' holds {found[0]:,} genuine and {found[1]:,} impostor pairs, not "
                f"{expected[0]:,} and {expected[1]:,}. Give the published list, or add --allow-other-counts."
            )


def check_pairs(request: Request, pairs: dict[str, pd.DataFrame], image_ids: Sequence[str], tell: Tell) -> None:
    """Every image that a pair names must be there."""
    present = set(image_ids)
    for protocol, table in pairs.items():
        used = set(table["reference_id"]) | set(table["probe_id"])
        missing = sorted(used - present)
        if not missing:
            continue
        message = (
            f"{len(missing):,} of {len(used):,} images in the pairs of '{protocol}' are not in '{request.source}', "
            f"first '{missing[0]}'"
        )
        if not request.allow_other_counts:
            raise DatasetError(f"{message}. Give the list that belongs to these images, or add --allow-other-counts.")
        tell(f"{message}.")


def check_lists(request: Request, problems: Iterable[str], tell: Tell) -> None:
    """What is wrong with lists of the set's own format is an error, or told where other counts are allowed."""
    for problem in problems:
        if not request.allow_other_counts:
            raise DatasetError(f"{problem} Give the published files, or add --allow-other-counts.")
        tell(problem)
