"""AgeDB with an age gap of 30 years."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="AgeDB-30",
    licence="for research, by agreement with the owners; photographs of public figures",
    source="https://ibug.doc.ic.ac.uk/resources/agedb/ (or agedb_30.bin of an InsightFace training set)",
    layout="""\
12_MariaCallas_35_f.jpg             16,488 images of 568 people, aligned to 112×112 (number_name_age_gender)
agedb_30_pair.txt                   6,000 pairs, one line 'image image label' each; label 1 genuine, -1 or 0 impostor
bnasface data import agedb_30 agedb.zip --pairs agedb_30_pair.txt
bnasface data import agedb_30 agedb_30.bin""",
    expected={"full": (16488, 0), "bin": (12000, 0)},
)

IMPORT = library.ImportRules(
    place=library.flat_name,
    read_pairs=library.single_list("agedb_30", "read_agedb"),
    protocols={"agedb_30": (3000, 3000)},
    identity_level=None,
    identity_pattern=r"\d+_(.+?)_\d+_[mf]\.\w+",
)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; identities are told by file name."""
    return library.open_whole("agedb_30", CARD, argument)
