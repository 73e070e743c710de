"""Import a dataset of others: unpack safely, normalise its pair lists, check its counts, and only then show it.

Everything is written to ``.<name>.importing`` beside the final place. Whenever the import is stopped, the next call
goes on with the files that are complete; an earlier import stays usable until the new one takes its place by a rename.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from bnas_face import tables
from bnas_face.config import data_root
from bnas_face.data import datasets, library
from bnas_face.data.formats import archives, encoded, folders
from bnas_face.data.import_checks import check_counts as _check_counts
from bnas_face.data.import_checks import check_lists as _check_lists
from bnas_face.data.import_checks import check_pair_counts as _check_pair_counts
from bnas_face.data.import_checks import check_pairs as _check_pairs
from bnas_face.data.library import ImportRules, Manifest
from bnas_face.errors import BnasFaceError, DatasetError
from bnas_face.files import read_json, sha256_file, sha256_text, write_bytes, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

Tell = Callable[[str], None]
_STARTED = "import.json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of ``bnasface data import``.

    Attributes
    ----------
    dataset : str
        Name in `bnas_face.data.datasets`; its ``IMPORT`` says how.
    source : Path
        Archive, folder, ``.bin`` or ``.rec``.
    pairs : sequence of Path
        Pair lists: files, archives or folders.
    name : str or None
        Name to import under; None: the dataset's.
    allow_other_counts : bool
        Accept counts that fit no variant of the card, and pair lists that name absent images.
    """

    dataset: str
    source: Path
    pairs: Sequence[Path] = ()
    name: str | None = None
    allow_other_counts: bool = False


def import_dataset(
    request: Request, tell: Tell = lambda _: None, progress: archives.Progress | None = None
) -> Manifest:
    """Import a dataset below the data root and return its manifest.

    Parameters
    ----------
    request : Request
        What to import from where.
    tell : callable
        Called with sentences for the user (what was kept, passed over, missing).
    progress : callable or None
        Called with (bytes of the source read, its size).

    Raises
    ------
    UnknownNameError
        If no such dataset is known.
    DatasetError, FormatError
        If the source or a pair list is absent, damaged, or not what the card promises; the earlier import is unchanged.
    """
    rules = rules_of(request.dataset)
    name = _target_name(request)
    with _only_one(name):
        _finish_interrupted(name)
        stage = data_root() / f".{name}.importing"
        origin = _start(stage, request)
        pairs = _stage_pairs(stage / "source", request, rules)
        content = _stage_images(stage, request, rules, origin, tell, progress)
        pairs |= content.pairs
        manifest = _manifest(request, name, rules, content, origin, stage)
        _check_counts(request, manifest)
        _check_pair_counts(request, rules, pairs)
        _check_pairs(request, pairs, content.image_ids, tell)
        if rules.write_lists is not None:
            _check_lists(request, rules.write_lists(stage, content.image_ids), tell)
        for protocol, table in pairs.items():
            write_text(stage / "pairs" / f"{protocol}.csv", table.to_csv(index=False, lineterminator="\n"))
        write_json(stage / library.MANIFEST, manifest.to_json())
        _replace(name, stage)
    return manifest


def _target_name(request: Request) -> str:
    if request.dataset == "folder" and not request.name:
        raise DatasetError("Give your images a name: --name NAME; they are then used as folder:NAME.")
    if request.dataset != "folder" and request.name not in (None, request.dataset):
        raise DatasetError(
            f"Only 'folder' takes --name; '{request.dataset}' is always imported as '{request.dataset}'."
        )
    if request.dataset == "folder" and request.name in datasets.names():
        raise DatasetError(f"'{request.name}' is the name of a known dataset; choose another --name.")
    return library.check_name(request.name or request.dataset)


def rules_of(dataset: str) -> ImportRules:
    """The import rules of a dataset; `DatasetError` for one that needs no import (demo)."""
    rules: ImportRules | None = getattr(tables.load(datasets.PACKAGE, "dataset", dataset), "IMPORT", None)
    if rules is None:
        raise DatasetError(f"Dataset '{dataset}' needs no import; use it as it is: --dataset {dataset}.")
    return rules


@contextmanager
def _only_one(name: str) -> Iterator[None]:
    """A lock that the kernel releases when the process ends, however it ends."""
    lock = data_root() / f".{name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise BnasFaceError(
            f"Cannot write to '{data_root()}': {error.strerror}. Set BNASFACE_DATA to a folder of yours."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(f"Another import of '{name}' is running; wait for it to end.") from None
        yield


def _finish_interrupted(name: str) -> None:
    """Put things right if an earlier import was killed between its two last renames."""
    final, old = library.folder_of(name), data_root() / f".{name}.old"
    if not final.exists() and old.exists():
        old.rename(final)
    archives.remove(old)


def _replace(name: str, stage: Path) -> None:
    final, old = library.folder_of(name), data_root() / f".{name}.old"
    (stage / _STARTED).unlink(missing_ok=True)
    if final.exists():
        final.rename(old)
    stage.rename(final)
    archives.remove(old)


def _start(stage: Path, request: Request) -> dict[str, str]:
    """Hash what will be imported; keep the staging folder only if an earlier attempt imported the same."""
    if not request.source.exists():
        raise DatasetError(f"'{request.source}' does not exist; expected an archive, a folder, a .bin or a .rec file.")
    given = (request.source, *_existing(request.pairs))
    if len({path.name for path in given}) < len(given):
        raise DatasetError("Two of the files given have the same name, and both are kept by name. Rename one.")
    origin = {path.name: _hash(path) for path in given}
    started = {"dataset": request.dataset, "origin": origin}
    marker = stage / _STARTED
    if not (marker.is_file() and read_json(marker) == started):
        archives.remove(stage)
    for cut in stage.glob(".*.part"):  # of a write that was killed
        cut.unlink()
    archives.remove(stage / "source")
    archives.remove(stage / "pairs")
    write_json(marker, started)
    return origin


def _existing(pairs: Sequence[Path]) -> Sequence[Path]:
    for path in pairs:
        if not path.exists():
            raise DatasetError(f"'{path}' does not exist; expected a pair list (a file, an archive or a folder).")
    return pairs


def _hash(path: Path) -> str:
    """SHA-256 of a file; of a folder, over names, sizes and times (it may be large)."""
    if path.is_dir():
        files = sorted(child.relative_to(path).as_posix() for child in path.rglob("*") if child.is_file())
        return folders.quick_hash(path, files)
    return sha256_file(path)


def _stage_pairs(target: Path, request: Request, rules: ImportRules) -> dict[str, pd.DataFrame]:
    """Read the pair lists and keep the originals; before the images, so that a mistake is told at once."""
    if not request.pairs:
        return {}
    if rules.read_pairs is None:
        raise DatasetError(f"Dataset '{request.dataset}' has no pair lists; leave out --pairs '{request.pairs[0]}'.")
    readable: list[Path] = []
    for path in request.pairs:
        if path.is_dir() or _is_archive(path):
            archives.unpack(path, target, _text_file)
            readable.append(target)
        else:
            write_bytes(target / path.name, path.read_bytes())
            readable.append(path)
    return rules.read_pairs(readable)


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(262)
    return start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK")) or start[257:262] == b"ustar"


def _text_file(path: PurePosixPath) -> str | None:
    return str(path) if path.suffix in (".txt", ".csv", ".mat") else None


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What was found: ids, where they are, the identities' level, and pairs a ``.bin`` brought along."""

    image_ids: tuple[str, ...]
    content_hash: str
    size_px: int
    n_identities: int
    identity_level: int | None
    identity_pattern: str | None
    reference: str | None
    pairs: dict[str, pd.DataFrame]


def _stage_images(
    stage: Path,
    request: Request,
    rules: ImportRules,
    origin: dict[str, str],
    tell: Tell,
    progress: archives.Progress | None,
) -> _Content:
    source, target = request.source, stage / "images"
    if source.suffix == ".bin" and source.is_file():
        return _stage_bin(target, request, rules)
    records = _records_in(source)
    if records is not None and rules.by_reference:
        return _refer_to_records(records, stage, origin[source.name] if records == source else sha256_file(records))
    if rules.by_reference and source.is_dir():
        return _describe(source, rules, folders.quick_hash(source, folders.list_images(source)), str(source.resolve()))
    counts = archives.unpack(source, target, rules.place, progress)
    if counts.n_kept:
        tell(f"Kept {counts.n_kept:,} files of an interrupted import.")
    if counts.n_skipped:
        tell(f"Passed over {counts.n_skipped:,} files that are no images of '{request.dataset}' (or links).")
    target.mkdir(parents=True, exist_ok=True)
    if rules.finish is not None and (n_made := rules.finish(target)):
        tell(f"Wrote {n_made:,} images as PNG, without loss.")
    if rules.place is library.any_image:
        folders.unwrap(target)
    return _describe(target, rules, None, None)


def _describe(root: Path, rules: ImportRules, quick_hash: str | None, reference: str | None) -> _Content:
    image_ids = folders.list_images(root)
    if not image_ids:
        raise DatasetError(
            f"No images were found ({', '.join(sorted(folders.SUFFIXES))}). 'bnasface data where' shows the layout."
        )
    return _Content(
        image_ids=image_ids,
        content_hash=quick_hash or folders.content_hash(image_ids, folders.digests(root, image_ids)),
        size_px=rules.crop_px or folders.common_size(root, image_ids),
        n_identities=len(library.identities(image_ids, rules.identity_level, rules.identity_pattern)[1]),
        identity_level=rules.identity_level,
        identity_pattern=rules.identity_pattern,
        reference=reference,
        pairs={},
    )


def _stage_bin(target: Path, request: Request, rules: ImportRules) -> _Content:
    from bnas_face.data.formats import pair_lists, verification_bin

    if not rules.protocols:
        raise DatasetError(f"Dataset '{request.dataset}' has no pairs, so it cannot come from '{request.source}'.")
    stem = request.source.stem
    protocol = stem if stem in rules.protocols else next(iter(rules.protocols))
    content = verification_bin.read(request.source)
    archives.remove(target)
    ids = []
    for index, item in enumerate(content.images):
        encoded_item = item if isinstance(item, bytes) else encoded.encode_png(item)
        ids.append(f"{index:06d}{encoded.suffix(encoded_item)}")
        target.mkdir(parents=True, exist_ok=True)
        (target / ids[-1]).write_bytes(encoded_item)
    described = _describe(target, ImportRules(place=library.any_image, identity_level=None), None, None)
    pairs = {protocol: pair_lists.from_flags(ids, content.is_genuine.tolist())}
    return _Content(**{**described.__dict__, "pairs": pairs})


def _records_in(source: Path) -> Path | None:
    """The ``.rec`` file that `source` is or holds."""
    if source.suffix == ".rec" and source.is_file():
        return source
    inside = sorted(source.glob("*.rec")) if source.is_dir() else []
    return inside[0] if inside else None


def _refer_to_records(records: Path, stage: Path, hash_of_records: str) -> _Content:
    from bnas_face.data.formats import record_sets, recordio

    recordio.check_two_files(records)
    with recordio.RecordFile(records) as file:
        listing = record_sets.list_images(file)
        first = str(listing.keys[0])
        size_px = folders.native_size(encoded.decode(file.read(int(listing.keys[0])).payload, first), first)
    record_sets.save_listing(stage / "records.npz", listing)
    return _Content(
        image_ids=tuple(str(key) for key in listing.keys),
        content_hash=sha256_text(hash_of_records, sha256_file(records.with_suffix(".idx"))),
        size_px=size_px,
        n_identities=len(set(listing.labels.tolist())),
        identity_level=None,
        identity_pattern=None,
        reference=str(records.resolve()),
        pairs={},
    )


def _manifest(
    request: Request, name: str, rules: ImportRules, content: _Content, origin: dict[str, str], stage: Path
) -> Manifest:
    counts = (len(content.image_ids), content.n_identities)
    expected = datasets.card(request.dataset).expected
    fitting = (variant for variant, (n_images, n) in expected.items() if n_images == counts[0] and n in (0, counts[1]))
    variant = next(fitting, "other")
    return Manifest(
        name=name,
        variant=variant,
        n_images=counts[0],
        n_identities=counts[1],
        size_px=content.size_px,
        content_hash=content.content_hash,
        imported_from=origin,
        identity_level=content.identity_level,
        identity_pattern=content.identity_pattern,
        identity_names_file=_names_file(rules, stage) if content.identity_level is not None else None,
        reference=content.reference,
        crop_px=rules.crop_px,
    )


def _names_file(rules: ImportRules, stage: Path) -> str | None:
    """Where the file of names was imported to, relative to the set's folder."""
    if rules.identity_names_file is None:
        return None
    found = sorted((stage / "source").rglob(Path(rules.identity_names_file).name))
    return found[0].relative_to(stage).as_posix() if found else None
