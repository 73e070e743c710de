"""Is an imported dataset what it should be: counts, broken images, pair lists, and people shared with another set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bnas_face.data import datasets, importing, library, overlap
from bnas_face.data.formats import folders
from bnas_face.data.images import FaceImages, read_usable
from bnas_face.errors import BrokenImageError, FormatError

Progress = Callable[[int, int], None]
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a check found.

    Attributes
    ----------
    facts : tuple of str
        Sentences that are good to know (counts, duplicates, people shared with another set).
    problems : tuple of str
        Sentences that say what is wrong; empty if the set is sound.
    """

    facts: tuple[str, ...]
    problems: tuple[str, ...]


def check(spec: str, against: str | None = None, progress: Progress | None = None) -> Findings:
    """Check a dataset: counts against its card, every image, every pair list, and the content against the import.

    Parameters
    ----------
    spec : str
        ``"lfw"``, ``"folder:PATH"``, ``"records:PATH"``, ….
    against : str or None
        Another dataset, whose people by name are counted here.
    progress : callable or None
        Called with (images decoded, number of images).

    Raises
    ------
    UnknownNameError, DatasetError
        If the set is unknown, absent, or cannot be opened at all.
    """
    dataset = spec.partition(":")[0]
    if dataset != "records":
        importing.rules_of(dataset)  # a rendered set has nothing on disk to check
    images = datasets.load(spec)
    facts = [f"{images.name}: {len(images):,} images of {images.n_identities:,} identities, {images.size_px} px."]
    problems = [*_counts(images, dataset), *_broken(images, progress)]
    if against is not None:
        other = datasets.load(against)
        facts.append(f"{len(overlap.shared_names(images, other)):,} people have the same name in '{other.name}'.")
    name = spec.partition(":")[2] if dataset == "folder" else dataset
    if library.is_imported(name):
        found = library.manifest(name)
        problems += [*_content(found, facts), *_pair_lists(found, images, facts)]
    problems += _records(images)
    return Findings(facts=tuple(facts), problems=tuple(problems))


def _counts(images: FaceImages, dataset: str) -> Iterator[str]:
    expected = datasets.card(dataset).expected
    variant = images.provenance.get("variant")
    if expected and variant not in expected:
        known = ", ".join(f"{variant} {n:,}" for variant, (n, _) in expected.items())
        yield f"The counts fit no published variant (images: {known})."


def _broken(images: FaceImages, progress: Progress | None) -> Iterator[str]:
    """Decode everything, in batches; a batch that fails is read image by image."""
    for start in range(0, len(images), _BATCH):
        indices = np.arange(start, min(start + _BATCH, len(images)))
        yield from read_usable(images, indices)[2].values()
        if progress:
            progress(int(indices[-1]) + 1, len(images))


def _content(found: library.Manifest, facts: list[str]) -> Iterator[str]:
    """Files against the hash of the import, and files that are there twice."""
    if found.reference is not None:
        return
    root = library.images_root(found)
    image_ids = folders.list_images(root)
    try:
        hashes = folders.digests(root, image_ids)
    except BrokenImageError as error:
        yield str(error)
        return
    if folders.content_hash(image_ids, hashes) != found.content_hash:
        yield f"The images in '{root}' have changed since they were imported."
    n_copies = sum(count - 1 for count in Counter(hashes).values())
    if n_copies:
        facts.append(f"{n_copies:,} images are byte for byte copies of another.")


def _records(images: FaceImages) -> Iterator[str]:
    """Identity records of a ``.rec`` against the labels of its images."""
    from bnas_face.data.formats import record_sets

    if not isinstance(images.read, record_sets.RecordReader):
        return
    file = images.read.file
    try:
        yield from record_sets.identity_problems(file, record_sets.list_images(file))
    except FormatError as error:
        yield str(error)


def _pair_lists(found: library.Manifest, images: FaceImages, facts: list[str]) -> Iterator[str]:
    files = sorted((library.folder_of(found.name) / "pairs").glob("*.csv"))
    label_of = dict(zip(images.image_ids, images.labels.tolist(), strict=True))
    for file in files:
        try:
            pairs = library.read_pairs(found.name, file.stem)
            facts.append(f"Pair list {file.stem}: {len(pairs):,} pairs in {pairs['fold'].nunique()} folds.")
            yield from (f"Pair list {file.stem}: {problem}" for problem in _pair_problems(pairs, label_of))
        except FormatError as error:
            yield str(error)


def _pair_problems(pairs: pd.DataFrame, label_of: dict[str, int]) -> Iterator[str]:
    used = [*pairs["reference_id"], *pairs["probe_id"]]
    missing = sorted({image_id for image_id in used if image_id not in label_of})
    if missing:
        yield f"{len(missing):,} images are absent, first '{missing[0]}'."
    n_selves = int((pairs["reference_id"] == pairs["probe_id"]).sum())
    if n_selves:
        yield f"{n_selves:,} pairs compare an image with itself."
    reference, probe = (pairs[column].map(label_of).fillna(-1) for column in ("reference_id", "probe_id"))
    known = (reference >= 0) & (probe >= 0)
    n_wrong = int(((reference == probe) != (pairs["is_genuine"] == 1))[known].sum())
    if n_wrong:
        yield f"{n_wrong:,} pairs are marked genuine or impostor against the identities of their images."
