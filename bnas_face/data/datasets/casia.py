"""CASIA-WebFace: the field's small training set, as record files or identity folders."""

from __future__ import annotations

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard, _records
from bnas_face.data.formats import record_sets, recordio
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

CARD = DatasetCard(
    title="CASIA-WebFace",
    licence="for research, by agreement with the Institute of Automation, Chinese Academy of Sciences",
    source="the owners (CASIA); the aligned copy is 'faces_webface_112x112' of InsightFace's dataset list",
    layout="""\
faces_webface_112x112/train.rec train.idx     490,623 images of 10,572 identities, read in place
  or <identity>/<image>.jpg                   aligned to 112×112; a folder is read in place
bnasface data import casia faces_webface_112x112/
bnasface data check casia                     counts, broken images, identity records""",
    expected={"faces_webface_112x112": (490623, 10572), "original": (494414, 10575), "cleaned": (453580, 10575)},
)

IMPORT = library.ImportRules(place=library.last_parts(2), identity_level=0, by_reference=True)


def load(argument: str | None) -> FaceImages:
    """Open the imported set; the run's provenance says which of the circulating sizes it is."""
    if argument:
        raise DatasetError(f"Dataset 'casia' takes no argument, found 'casia:{argument}'.")
    if not library.is_imported("casia"):
        raise library.absent("casia", CARD)
    found = library.manifest("casia")
    if found.reference is None or not found.reference.endswith(".rec"):
        return library.open_images("casia", CARD)
    return _open_records(found)


def _open_records(found: library.Manifest) -> FaceImages:
    path = library.images_root(found)
    recordio.check_two_files(path)
    listing = record_sets.load_listing(library.folder_of(found.name) / "records.npz")
    if path.stat().st_size != listing.n_bytes:
        raise DatasetError(
            f"'{path}' has {path.stat().st_size:,} bytes, {listing.n_bytes:,} at import. Import 'casia' again."
        )
    return _records.face_images(
        found.name, path, listing, found.size_px, found.content_hash, library.provenance(found, CARD)
    )
