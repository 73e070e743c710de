"""IARPA Janus Benchmark C, as InsightFace's package has it."""

from __future__ import annotations

from bnas_face.data import library, template_sets
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="IARPA Janus Benchmark C (IJB-C)",
    licence="by agreement with NIST; photographs and videos from the web, rights remain with their owners",
    source="https://www.nist.gov/programs-projects/face-challenges (crops and lists: IJB package of InsightFace)",
    layout="""\
loose_crop/1.jpg … 469375.jpg              469,375 crops of any shape, aligned by their five points while they are read
meta/ijbc_face_tid_mid.txt                 image, template, medium (needed)
meta/ijbc_name_5pts_score.txt              image, five points, detector score (needed)
meta/ijbc_template_pair_label.txt          15,658,489 pairs of templates (protocol ijbc)
meta/ijbc_1N_gallery_G1.csv G2.csv ijbc_1N_probe_mixed.csv       galleries and probes (protocols ijbc_1n_g1, ijbc_1n_g2)
bnasface data import ijbc IJBC/loose_crop --pairs IJBC/meta      the folder of crops is read where it is""",
    expected={"full": (469375, 0)},
)

IMPORT = library.ImportRules(
    place=library.flat_name,
    read_pairs=library.no_pairs,
    identity_level=None,
    by_reference=True,
    crop_px=112,
    write_lists=template_sets.ijb_lists(
        "ijbc",
        n_pairs=(19557, 15638932),
        galleries={"ijbc_1n_g1": ("ijbc_1N_gallery_G1.csv", 1772), "ijbc_1n_g2": ("ijbc_1N_gallery_G2.csv", 1759)},
        n_probes=19593,
    ),
)


def load(argument: str | None) -> FaceImages:
    """Open the imported crops, aligned to 112×112; people are told by the lists, not by the images."""
    return template_sets.open_aligned("ijbc", CARD, argument)
