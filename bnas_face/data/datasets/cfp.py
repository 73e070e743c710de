"""Celebrities in Frontal-Profile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

CARD = DatasetCard(
    title="Celebrities in Frontal-Profile (CFP)",
    licence="for research, by agreement with the owners; photographs of public figures",
    source="http://www.cfpw.io/",
    layout="""\
001/frontal/01.jpg … 500/profile/04.jpg       7,000 images of 500 people (10 frontal + 4 profile), aligned to 112×112
Split/{FF,FP}/01..10/{same,diff}.txt          10 folds of 350 + 350 pairs (protocols cfp_ff, cfp_fp)
Pair_list_F.txt Pair_list_P.txt               the images those pairs number
list_name.txt                                 line n is the name of person n (used by --exclude-names-of cfp)
bnasface data import cfp cfp_aligned_112.tar.gz --pairs cfp_protocol.tar.gz""",
    expected={"full": (7000, 500), "bin": (14000, 0)},
)


def _read_pairs(files: Sequence[Path]) -> dict[str, pd.DataFrame]:
    from bnas_face.data.formats import pair_lists

    roots = [found.parent for file in files if file.is_dir() for found in sorted(file.rglob("Pair_list_F.txt"))]
    if len(roots) != 1:
        raise DatasetError(
            "CFP takes one --pairs: the archive or folder with Pair_list_F.txt, Pair_list_P.txt and Split/; "
            f"found {len(roots)}."
        )
    return pair_lists.read_cfp(roots[0])


IMPORT = library.ImportRules(
    place=library.last_parts(3),
    read_pairs=_read_pairs,
    protocols={"cfp_ff": (3500, 3500), "cfp_fp": (3500, 3500)},
    identity_level=0,
    identity_names_file="source/list_name.txt",
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; identities are the 500 people, named by ``list_name.txt`` where it was imported."""
    return library.open_whole("cfp", CARD, argument)
