"""Your own images: ``folder:PATH`` reads identity folders where they are, ``folder:NAME`` what was imported as NAME."""

from __future__ import annotations

from pathlib import Path

from bnas_face.data import datasets, library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.formats import folders
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError

CARD = DatasetCard(
    title="your own images",
    licence="yours to know",
    source="your own photographs, one folder per person",
    layout="""\
PATH/<identity>/…/<image>.jpg       all of one size, aligned to 112×112 (bnasface align RAW_DIR PATH)
folder:PATH                         uses the folder where it is; nothing to import
bnasface data import folder photos.zip --name photos        unpacks it; then use folder:photos""",
    expected={},
)

IMPORT = library.ImportRules(place=library.any_image, identity_level=0, by_reference=True)


def load(argument: str | None) -> FaceImages:
    """Open identity folders by path, or an imported set by name."""
    if not argument:
        raise DatasetError(f"Dataset 'folder' needs a path or an imported name: folder:PATH.\n{CARD.layout}")
    if argument not in datasets.names() and library.is_imported(argument):
        return library.open_images(argument, CARD)
    root = Path(argument)
    if not root.is_dir():
        raise DatasetError(
            f"'folder:{argument}' is neither a folder of images nor an imported name.\n{CARD.layout}\n"
            "The dataset 'demo' (rendered faces) needs nothing."
        )
    return _open(root)


def _open(root: Path) -> FaceImages:
    image_ids = folders.list_images(root)
    if not image_ids:
        raise DatasetError(f"Folder '{root}' holds no images ({', '.join(sorted(folders.SUFFIXES))}).")
    labels, names = folders.label_by_folder(image_ids, 0)
    size_px = folders.common_size(root, image_ids)
    counts = {"n_images": len(image_ids), "n_identities": len(names)}
    return FaceImages(
        name=f"folder:{root.name}",
        image_ids=image_ids,
        labels=labels,
        identity_names=names,
        content_hash=folders.quick_hash(root, image_ids),
        size_px=size_px,
        read=folders.FolderReader(root.resolve(), image_ids, size_px),
        provenance={"title": CARD.title, "source": str(root), "licence": CARD.licence, "variant": "other", **counts},
    )
