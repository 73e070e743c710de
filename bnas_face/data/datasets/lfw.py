"""Labeled Faces in the Wild."""

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
    title="Labeled Faces in the Wild",
    licence="for research; photographs of public figures, rights remain with their owners",
    source="https://vis-www.cs.umass.edu/lfw/ (also through scikit-learn: bnasface data fetch lfw)",
    layout="""\
Name/Name_0001.jpg                     13,233 images of 5,749 people, aligned to 112×112
pairs.txt                              View 2: 10 folds of 300 + 300 pairs (protocol lfw)
pairsDevTrain.txt pairsDevTest.txt     View 1, for choosing models (protocol lfw_dev)
bnasface data import lfw lfw_aligned_112.tar.gz --pairs pairs.txt --pairs pairsDevTrain.txt --pairs pairsDevTest.txt
Unaligned originals: unpack them and run 'bnasface align RAW_DIR OUT_DIR' first.""",
    expected={"full": (13233, 5749), "bin": (12000, 0)},
)


def _read_pairs(files: Sequence[Path]) -> dict[str, pd.DataFrame]:
    from bnas_face.data.formats import pair_lists

    view_1 = [file for file in files if pair_lists.is_lfw_view_1(file)]
    view_2 = [file for file in files if file not in view_1]
    if len(view_2) > 1 or len(view_1) not in (0, 2):
        raise DatasetError(
            "LFW takes one View 2 list (pairs.txt), and both of View 1 (pairsDevTrain.txt, pairsDevTest.txt) or none; "
            f"found {len(view_2)} of View 2 and {len(view_1)} of View 1."
        )
    tables = {"lfw": pair_lists.read_lfw(view_2[0])} if view_2 else {}
    if view_1:
        tables["lfw_dev"] = pair_lists.read_lfw_dev(*view_1)
    return tables


IMPORT = library.ImportRules(
    place=library.last_parts(2),
    read_pairs=_read_pairs,
    protocols={"lfw": (3000, 3000), "lfw_dev": (1600, 1600)},
    identity_level=0,
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; as a training set its identities are its folders."""
    return library.open_whole("lfw", CARD, argument)
