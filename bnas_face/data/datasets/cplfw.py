"""Cross-Pose LFW."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="Cross-Pose LFW (CPLFW)",
    licence="for research; photographs of public figures, rights remain with their owners",
    source="http://www.whdeng.cn/CPLFW/index.html (or cplfw.bin of an InsightFace training set)",
    layout="""\
aligned images/Name_1.jpg           11,652 images, aligned to 112×112
pairs_CPLFW.txt                     6,000 pairs, two lines 'image label' each, all genuine ones first
bnasface data import cplfw cplfw.zip --pairs pairs_CPLFW.txt
bnasface data import cplfw cplfw.bin""",
    expected={"full": (11652, 0), "bin": (12000, 0)},
)

IMPORT = library.ImportRules(
    place=library.flat_name,
    read_pairs=library.single_list("cplfw", "read_cplfw"),
    protocols={"cplfw": (3000, 3000)},
    identity_level=None,
    identity_pattern=r"(.+?)[_-]\d[^_]*",
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; identities are told by file name."""
    return library.open_whole("cplfw", CARD, argument)
