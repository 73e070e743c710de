"""Any training set in record files, read where it is: ``records:PATH`` (InsightFace's format, rendered sets)."""

from __future__ import annotations

from pathlib import Path

from bnas_face import files
from bnas_face.config import cache_root
from bnas_face.data.datasets import DatasetCard, _records
from bnas_face.data.formats import encoded, folders, record_sets, recordio
from bnas_face.data.images import FaceImages
from bnas_face.errors import BrokenImageError, DatasetError, FormatError

CARD = DatasetCard(
    title="A training set in record files",
    licence="yours to know",
    source="sets in InsightFace's format, or 'bnasface data render'",
    layout="""\
PATH/train.rec train.idx            read in place; nothing to import
records:PATH                        the folder, or the .rec itself
bnasface data render --images 500000 --identities 10000 --to PATH      renders one of any size""",
    expected={},
)


def load(argument: str | None) -> FaceImages:
    """Open a folder with a ``.rec``, or the ``.rec`` itself; keys and labels are kept in the cache for next time."""
    if not argument:
        raise DatasetError(f"Dataset 'records' needs a path: records:PATH.\n{CARD.layout}")
    path = _rec_of(Path(argument))
    recordio.check_two_files(path)
    key = _key(path)
    listing, size_px = _listed(path, cache_root() / "records" / f"{key[:32]}.npz")
    counts = {"n_images": len(listing.keys), "n_identities": len(set(listing.labels.tolist()))}
    provenance = {"title": CARD.title, "source": str(path), "licence": CARD.licence, "variant": "other", **counts}
    return _records.face_images(f"records:{path.parent.name}", path, listing, size_px, key, provenance)


def _rec_of(path: Path) -> Path:
    if path.is_dir():
        inside = sorted(path.glob("*.rec"))
        if len(inside) != 1:
            raise DatasetError(f"Folder '{path}' holds {len(inside)} .rec files; expected one. Name the file itself.")
        return inside[0]
    if path.suffix != ".rec":
        raise DatasetError(f"'records:{path}' is neither a folder nor a .rec file.\n{CARD.layout}")
    return path


def _key(path: Path) -> str:
    """A hash over the names, sizes and times of both files, and over the content of the ``.idx``."""
    index = path.with_suffix(".idx")
    stat = path.stat()
    return files.sha256_text(str(path.resolve()), str(stat.st_size), str(stat.st_mtime_ns), files.sha256_file(index))


def _listed(path: Path, kept: Path) -> tuple[record_sets.Listing, int]:
    """Listing and side length, in px, of the first image that can be decoded."""
    with recordio.RecordFile(path) as file:
        listing = _kept_listing(kept)
        if listing is None:
            listing = record_sets.list_images(file)
            record_sets.save_listing(kept, listing)
        broken: DatasetError | None = None
        for key in listing.keys.tolist():
            try:
                pixels = encoded.decode(file.read(key).payload, str(key))
                return listing, folders.native_size(pixels, str(key))
            except (FormatError, BrokenImageError) as error:
                broken = broken or error
    raise broken or DatasetError(f"'{path}' holds no images.")


def _kept_listing(kept: Path) -> record_sets.Listing | None:
    try:
        return record_sets.load_listing(kept)
    except FormatError:
        return None
