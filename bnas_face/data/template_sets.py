"""IJB-B, IJB-C and TinyFace on their way in: the published lists, checked against each other, to `template_files`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.data import library
from bnas_face.data.datasets import DatasetCard
from bnas_face.data.formats import ijb, mat5, template_files, tinyface
from bnas_face.data.formats.template_files import FivePoints, TemplateRows, TemplateSearches
from bnas_face.data.images import FaceImages
from bnas_face.data.library import ListWriter
from bnas_face.errors import DatasetError, FormatError
from bnas_face.files import sha256_text

TINYFACE_FOLDERS = ("Gallery_Match", "Gallery_Distractor", "Probe")


def ijb_lists(
    name: str, n_pairs: tuple[int, int], galleries: Mapping[str, tuple[str, int]], n_probes: int
) -> ListWriter:
    """The `write_lists` rule of IJB-B or IJB-C.

    Parameters
    ----------
    name : str
        ``"ijbb"`` or ``"ijbc"``: of the dataset, its 1:1 protocol and the beginning of its files' names.
    n_pairs : (n_genuine, n_impostor)
        Published numbers of pairs of templates.
    galleries : mapping of str to (file, n_templates)
        1:N protocol → its gallery's CSV and published number of templates.
    n_probes : int
        Published number of templates of ``…_1N_probe_mixed.csv``.
    """

    def write(stage: Path, image_ids: Sequence[str]) -> Iterator[str]:
        source, target = stage / "source", stage / "pairs"
        rows = _ijb_rows(source, name, target)
        rows.save(target / f"{template_files.TEMPLATES}.npz")
        yield from _absent(rows.image_id, image_ids, "images of the templates", "the folder or archive 'loose_crop'")
        pairs = _find(source, f"{name}_template_pair_label.txt")
        if pairs is not None:
            yield from _write_pairs(pairs, rows, n_pairs, target / f"{name}.npz")
        probes = _find(source, f"{name}_1N_probe_mixed.csv")
        for protocol, (file, n_templates) in galleries.items():
            gallery = _find(source, file)
            if gallery is not None and probes is not None:
                yield from _write_search(gallery, probes, rows, (n_templates, n_probes), target / f"{protocol}.npz")

    return write


def _find(source: Path, name: str) -> Path | None:
    found = sorted(source.rglob(name))
    if len(found) > 1:
        raise DatasetError(f"The files given with --pairs hold '{name}' {len(found)} times; give each list once.")
    return found[0] if found else None


def _ijb_rows(source: Path, name: str, target: Path) -> TemplateRows:
    paths = [_find(source, f"{name}_{part}.txt") for part in ("face_tid_mid", "name_5pts_score")]
    if paths[0] is None or paths[1] is None:
        raise DatasetError(
            f"'{name}' needs {name}_face_tid_mid.txt and {name}_name_5pts_score.txt. Give their folder: --pairs meta."
        )
    image_ids, template, medium = ijb.read_members(paths[0])
    named, points, scores = ijb.read_points(paths[1])
    at = pd.Index(named).get_indexer(pd.Index(image_ids))
    lacking = np.flatnonzero(at < 0)
    if len(lacking):
        raise FormatError(
            f"'{paths[0]}', line {lacking[0] + 1}: image '{image_ids[lacking[0]]}' has no points in '{paths[1]}'."
        )
    FivePoints(image_id=named, points=points).save(target / f"{template_files.POINTS}.npz")
    return TemplateRows(image_id=image_ids, template=template, medium=medium, detector_score=scores[at])


def _absent(wanted: NDArray[np.str_], image_ids: Sequence[str], what: str, give: str) -> Iterator[str]:
    missing = np.flatnonzero(pd.Index(image_ids).get_indexer(pd.Index(wanted)) < 0)
    if len(missing):
        yield (
            f"{len(missing):,} of {len(wanted):,} {what} are not among the {len(image_ids):,} images imported, first "
            f"'{wanted[missing[0]]}'; expected {give}."
        )


def _write_pairs(path: Path, rows: TemplateRows, expected: tuple[int, int], target: Path) -> Iterator[str]:
    pairs = ijb.read_pairs(path)
    for side in (pairs.reference, pairs.probe):
        _check_known(path, side, rows)
    pairs.save(target)
    n_genuine = int(np.count_nonzero(pairs.is_genuine))
    found = (n_genuine, len(pairs.is_genuine) - n_genuine)
    if found != expected:
        yield (
            f"'{path.name}' holds {found[0]:,} genuine and {found[1]:,} impostor pairs, not {expected[0]:,} and "
            f"{expected[1]:,}."
        )


def _write_search(
    gallery_path: Path, probe_path: Path, rows: TemplateRows, expected: tuple[int, int], target: Path
) -> Iterator[str]:
    gallery, probe = ijb.read_subjects(gallery_path), ijb.read_subjects(probe_path)
    for path, (templates, _), n_templates in zip((gallery_path, probe_path), (gallery, probe), expected, strict=True):
        _check_known(path, templates, rows)
        if len(templates) != n_templates:
            yield f"'{path.name}' holds {len(templates):,} templates, not {n_templates:,}."
    TemplateSearches(
        gallery=gallery[0], gallery_subject=gallery[1], probe=probe[0], probe_subject=probe[1]
    ).save(target)  # fmt: skip


def _check_known(path: Path, templates: NDArray[np.int32], rows: TemplateRows) -> None:
    """Every template that is compared must have images."""
    known = np.unique(rows.template)
    at = np.searchsorted(known, templates).clip(max=max(0, len(known) - 1))
    unknown = np.flatnonzero(known[at] != templates) if len(known) else np.arange(len(templates))
    if len(unknown):
        raise FormatError(f"'{path}' names template {templates[unknown[0]]}, which has no images in the list of media.")


def open_aligned(name: str, card: DatasetCard, argument: str | None) -> FaceImages:
    """Open an imported set whose images are aligned by their five points while they are read; nothing is stored."""
    from bnas_face.data.shaped import AlignedReader

    images = library.open_whole(name, card, argument)
    path = library.folder_of(name) / "pairs" / f"{template_files.POINTS}.npz"
    found = FivePoints.load(path)
    at = pd.Index(found.image_id).get_indexer(pd.Index(images.image_ids))
    points = np.full((len(images), ijb.N_POINTS, 2), np.nan, np.float32)
    points[at >= 0] = found.points[at[at >= 0]]
    root = library.images_root(library.manifest(name)).resolve()
    return replace(
        images,
        read=AlignedReader(root, images.image_ids, images.size_px, points),
        content_hash=sha256_text(images.content_hash, points.tobytes().hex()),
    )


def open_fitted(name: str, card: DatasetCard, argument: str | None) -> FaceImages:
    """Open an imported set of images of any shape, each fitted into a black square while it is read."""
    from bnas_face.data.shaped import FittedReader

    images = library.open_whole(name, card, argument)
    root = library.images_root(library.manifest(name)).resolve()
    return replace(images, read=FittedReader(root, images.image_ids, images.size_px))


def tinyface_lists(stage: Path, image_ids: Sequence[str]) -> Iterator[str]:
    """The `write_lists` rule of TinyFace: probes against the matching gallery and all distractors.

    People come from the two MATLAB lists where they are given, else from the file names ``id_n.jpg``.
    """
    folders = np.array([image_id.rpartition("/")[0] for image_id in image_ids])
    numbers = np.arange(len(image_ids), dtype=np.int32)
    people = _tinyface_people(image_ids, folders)
    lists = [path for path in sorted((stage / "source").rglob("*.mat")) if mat5.is_mat(path)]
    for path in lists:
        which, names, listed = tinyface.read_ids(path)
        folder = "Probe" if which == "probe" else "Gallery_Match"
        wanted = np.array([f"{folder}/{name}" for name in names])
        yield from _absent(wanted, image_ids, f"images of '{path.name}'", "the whole folder 'Testing_Set'")
        at = pd.Index(image_ids).get_indexer(pd.Index(wanted))
        unlisted = (folders == folder) & ~np.isin(numbers, at)
        if unlisted.any():
            first = _first(image_ids, unlisted)
            yield f"{int(unlisted.sum()):,} images in '{folder}' are not in '{path.name}', first '{first}'."
        people[at[at >= 0]] = listed[at >= 0]
    nobody = (folders != "Gallery_Distractor") & (people < 0)
    if nobody.any():
        raise DatasetError(
            f"'{_first(image_ids, nobody)}' does not tell its person; expected 'Probe/1_2.jpg'. Give the lists: "
            "--pairs gallery_match_img_ID_pairs.mat --pairs probe_img_ID_pairs.mat."
        )
    is_probe = folders == "Probe"
    if is_probe.all() or not is_probe.any():
        raise DatasetError(f"TinyFace needs images in {', '.join(TINYFACE_FOLDERS)}; probes or gallery are absent.")
    target = stage / "pairs"
    TemplateRows(
        image_id=np.array(image_ids), template=numbers, medium=numbers, detector_score=np.ones(len(numbers), np.float32)
    ).save(target / f"{template_files.TEMPLATES}.npz")
    TemplateSearches(
        gallery=numbers[~is_probe],
        gallery_subject=people[~is_probe],
        probe=numbers[is_probe],
        probe_subject=people[is_probe],
    ).save(target / "tinyface.npz")


def _tinyface_people(image_ids: Sequence[str], folders: NDArray[np.str_]) -> NDArray[np.int32]:
    told = [tinyface.person_of(image_id.rpartition("/")[2]) for image_id in image_ids]
    people = np.array([-1 if person is None else person for person in told], np.int32)
    people[folders == "Gallery_Distractor"] = -1
    return people


def _first(image_ids: Sequence[str], chosen: NDArray[np.bool_]) -> str:
    return image_ids[int(np.argmax(chosen))]
