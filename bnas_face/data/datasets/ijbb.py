"""IARPA Janus Benchmark B, as InsightFace's package has it."""

from __future__ import annotations

from bnas_face.data import library, template_sets
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="IARPA Janus Benchmark B (IJB-B)",
    licence="by agreement with NIST; photographs and videos from the web, rights remain with their owners",
    source="https://www.nist.gov/programs-projects/face-challenges (crops and lists: IJB package of InsightFace)",
    layout="""\
loose_crop/1.jpg … 227630.jpg              227,630 crops of any shape, aligned by their five points while they are read
meta/ijbb_face_tid_mid.txt                 image, template, medium (needed)
meta/ijbb_name_5pts_score.txt              image, five points, detector score (needed)
meta/ijbb_template_pair_label.txt          8,010,270 pairs of templates (protocol ijbb)
meta/ijbb_1N_gallery_S1.csv S2.csv ijbb_1N_probe_mixed.csv       galleries and probes (protocols ijbb_1n_s1, ijbb_1n_s2)
bnasface data import ijbb IJBB/loose_crop --pairs IJBB/meta      the folder of crops is read where it is""",
    expected={"full": (227630, 0)},
)

IMPORT = library.ImportRules(
    place=library.flat_name,
    read_pairs=library.no_pairs,
    identity_level=None,
    by_reference=True,
    crop_px=112,
    write_lists=template_sets.ijb_lists(
        "ijbb",
        n_pairs=(10270, 8000000),
        galleries={"ijbb_1n_s1": ("ijbb_1N_gallery_S1.csv", 931), "ijbb_1n_s2": ("ijbb_1N_gallery_S2.csv", 914)},
        n_probes=10270,
    ),
)


def load(argument: str | None) -> FaceImages:
    """Open the imported crops, aligned to 112×112; people are told by the lists, not by the images."""
    return template_sets.open_aligned("ijbb", CARD, argument)
