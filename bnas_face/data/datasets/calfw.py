"""Cross-Age LFW."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="Cross-Age LFW (CALFW)",
    licence="for research; photographs of public figures, rights remain with their owners",
    source="http://whdeng.cn/CALFW/index.html (or calfw.bin of an InsightFace training set)",
    layout="""\
aligned images/Name_0001.jpg        12,174 images, aligned to 112×112
pairs_CALFW.txt                     6,000 pairs, two lines 'image label' each, all genuine ones first
bnasface data import calfw calfw.zip --pairs pairs_CALFW.txt
bnasface data import calfw calfw.bin""",
    expected={"full": (12174, 0), "bin": (12000, 0)},
)

IMPORT = library.ImportRules(
    place=library.flat_name,
    read_pairs=library.single_list("calfw", "read_calfw"),
    protocols={"calfw": (3000, 3000)},
    identity_level=None,
    identity_pattern=r"(.+)_\d+\.\w+",
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; identities are told by file name."""
    return library.open_whole("calfw", CARD, argument)
