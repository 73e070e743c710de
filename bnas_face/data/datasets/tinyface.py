"""TinyFace: faces of some 20×16 px found in the wild, and a gallery with 153,428 distractors."""

from __future__ import annotations

from pathlib import PurePosixPath

from bnas_face.data import library, template_sets
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.formats import folders
from bnas_face.data.images import FaceImages

CARD = DatasetCard(
    title="TinyFace, test set",
    licence="for research; photographs from the web, rights remain with their owners",
    source="https://qmul-tinyface.github.io/",
    layout="""\
Testing_Set/Probe/1_1.jpg                  3,728 probes, file name person_number.jpg
Testing_Set/Gallery_Match/1_2.jpg          4,443 images of the same 2,569 people
Testing_Set/Gallery_Distractor/…           153,428 images of others
gallery_match_img_ID_pairs.mat probe_img_ID_pairs.mat            who is who (optional: the file names say it, too)
bnasface data import tinyface Testing_Set.zip --pairs gallery_match_img_ID_pairs.mat --pairs probe_img_ID_pairs.mat
Images of any shape are fitted into a black square of 112 px. Aligned copies in the same folders score higher: their
numbers are no numbers of the plain set, and the other way round.""",
    expected={"full": (161599, 0)},
)


def _place(path: PurePosixPath) -> str | None:
    is_wanted = path.parent.name in template_sets.TINYFACE_FOLDERS and folders.is_image_name(path.name)
    return "/".join(path.parts[-2:]) if is_wanted else None


IMPORT = library.ImportRules(
    place=_place,
    read_pairs=library.no_pairs,
    identity_level=None,
    crop_px=112,
    write_lists=template_sets.tinyface_lists,
)


def load(argument: str | None) -> FaceImages:
    """Open the imported images, fitted into squares of 112 px; people are told by the lists."""
    return template_sets.open_fitted("tinyface", CARD, argument)
