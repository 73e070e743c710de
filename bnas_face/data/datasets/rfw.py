"""Racial Faces in the Wild: four lists of pairs, one for each group."""

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

RACES = ("African", "Asian", "Caucasian", "Indian")
CARD = DatasetCard(
    title="Racial Faces in the Wild (RFW)",
    licence="for research, by agreement with the owners; photographs of public figures",
    source="http://www.whdeng.cn/RFW/testing.html",
    layout="""\
African/m.0abc/m.0abc_0001.jpg                    images of some 3,000 people a group, aligned to 112×112 by you:
                                                  bnasface align test/data aligned
txts/African/African_pairs.txt …                  6,000 pairs a group (African, Asian, Caucasian, Indian), lines as in
                                                  LFW (protocols rfw_african …); together: rfw, with the column 'race'
bnasface data import rfw aligned --pairs txts""",
    expected={},
)


def _read_pairs(files: Sequence[Path]) -> dict[str, pd.DataFrame]:
    import pandas as pd

    from bnas_face.data.formats import pair_lists

    given = {path for file in files for path in (file.rglob("*_pairs.txt") if file.is_dir() else [file])}
    found = {path.name.removesuffix("_pairs.txt"): path for path in sorted(given)}
    if len(found) != len(given) or set(found) != set(RACES):
        raise DatasetError(
            f"RFW takes the four lists {', '.join(f'{race}_pairs.txt' for race in RACES)} (--pairs txts); found "
            f"{', '.join(sorted(path.name for path in given)) or 'none'}."
        )
    tables = {f"rfw_{race.lower()}": pair_lists.read_rfw(found[race], race) for race in RACES}
    return {"rfw": pd.concat(tables.values(), ignore_index=True), **tables}


IMPORT = library.ImportRules(
    place=library.last_parts(3),
    read_pairs=_read_pairs,
    protocols={"rfw": (12000, 12000), **{f"rfw_{race.lower()}": (3000, 3000) for race in RACES}},
    identity_level=1,
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; identities are the folders below the groups."""
    return library.open_whole("rfw", CARD, argument)
