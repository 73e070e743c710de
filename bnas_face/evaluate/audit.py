"""``data audit``: what a reviewer would hold against a set, or against training on one and testing on another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bnas_face.data import datasets, duplicates, overlap
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError, FormatError
from bnas_face.evaluate import similar_people, text_csv
from bnas_face.evaluate.embed import Embedder, embed_images, open_embedder
from bnas_face.files import atomic_path

COLUMNS = ("finding", "first_set", "first", "second_set", "second", "value")
PEOPLE = ("same_name", "similar_person")
FINDINGS = ("broken", "copy", "near_copy", *PEOPLE)
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    Attributes
    ----------
    facts : tuple of str
        A sentence for each kind of finding, zero counts included.
    findings : DataFrame
        Columns `COLUMNS`: finding (broken | copy | near_copy | same_name | similar_person), sets and ids of images or
        names of people, and the correlation or cosine.
    """

    facts: tuple[str, ...]
    findings: pd.DataFrame


def audit(
    dataset: str, against: str | None = None, model: str | None = None, progress: Progress | None = None
) -> Audit:
    """Look for broken images, copies, and people in both sets.

    Parameters
    ----------
    dataset, against : str
        What `datasets.load` opens.
    model : str, optional
        What `embed.open_embedder` opens; people of both sets are compared by their mean embeddings too.
    progress : callable, optional
        Called with (what, n_done, n_total).

    Raises
    ------
    UnknownNameError, DatasetError, CheckpointError
        If a set or the model cannot be opened; before any image is read.
    ConfigError
        If both sets are the same one, or the model embeds no faces.
    """
    if model is not None and against is None:
        raise ConfigError(f"--model {model} compares the people of two sets; name the other one with --against.")
    sets = [datasets.load(spec) for spec in (dataset, against) if spec is not None]
    if len({images.content_hash for images in sets}) < len(sets):
        raise ConfigError(f"'{dataset}' and --against '{against}' are the same set; name another one, or leave it out.")
    embedder = None if model is None else open_embedder(model)
    if embedder is not None and embedder.task != "embedding":
        raise ConfigError(f"--model {model} recognises kinds of objects; name one that embeds faces.")
    facts, rows = _images(sets, progress)
    if against is not None:
        more, found = _names(sets[0], sets[1])
        facts, rows = facts + more, rows + found
    if embedder is not None:
        more, found = _faces(sets[0], sets[1], embedder, progress)
        facts, rows = facts + more, rows + found
    return Audit(facts=tuple(facts), findings=pd.DataFrame(rows, columns=list(COLUMNS)))


def write(found: Audit, path: Path) -> None:
    """Write the findings as CSV, beside and renamed."""
    with atomic_path(path) as file:
        found.findings.to_csv(file, index=False, lineterminator="\n")


def read_same_people(path: Path) -> tuple[tuple[str, str], ...]:
    """Pairs of names of one person from an audit's CSV, which a reader may have shortened to those who are the same.

    Raises
    ------
    FormatError
        If it is absent or no such CSV, or a line is wrong; names what is missing, or the line.
    """
    table = text_csv.read(path, FormatError, "the CSV of bnasface data audit.")
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise FormatError(f"'{path}' lacks the column {missing[0]}; expected the CSV of bnasface data audit.")
    table = table.loc[:, ~table.columns.duplicated()]
    people = table["finding"].isin(PEOPLE)
    for fits, wrong in (
        (table["finding"].isin(FINDINGS), f"has a finding other than {', '.join(FINDINGS)}"),
        (~people | (table["first"].ne("") & table["second"].ne("")), "names nobody"),
    ):
        if not fits.all():
            raise FormatError(f"'{path}' line {fits.idxmin()} {wrong}. Correct or remove it.")
    return tuple(zip(table["first"][people], table["second"][people], strict=True))


Row = tuple[str, str, str, str, str, float | str]


def _images(sets: Sequence[FaceImages], progress: Progress | None) -> tuple[list[str], list[Row]]:
    prints = []
    for images in sets:
        text = f"Reading {images.name}"
        prints.append(duplicates.prints(images, _told(progress, text)))
    where = [(images.name, image_id) for images in sets for image_id in images.image_ids]
    people = [
        f"{images.name}\t{images.identity_names[label]}" if label >= 0 else ""
        for images in sets
        for label in images.labels
    ]
    rows: list[Row] = []
    facts = []
    for images, found in zip(sets, prints, strict=True):
        facts.append(
            f"{images.name}: {len(images):,} images of {images.n_identities:,} people; {len(found.broken):,} broken."
        )
        rows += [("broken", images.name, images.image_ids[k], "", why, "") for k, why in found.broken.items()]
    doubles = duplicates.find(sets, prints)
    for double in doubles:
        kind = "copy" if double.is_copy else "near_copy"
        rows.append((kind, *where[double.first], *where[double.second], round(double.correlation, 4)))
    n_copies = sum(double.is_copy for double in doubles)
    across = sum(where[double.first][0] != where[double.second][0] for double in doubles)
    two_names = sum(where[d.first][0] == where[d.second][0] and people[d.first] != people[d.second] for d in doubles)
    facts.append(
        f"{n_copies:,} copies and {len(doubles) - n_copies:,} near copies (grey pixels correlate by at least "
        f"{duplicates.LEAST_CORRELATION:g}); {two_names:,} of them under the names of two people of one set"
        + (f", {across:,} in both sets" if len(sets) > 1 else "")
        + "."
    )
    return facts, rows


def _names(first: FaceImages, second: FaceImages) -> tuple[list[str], list[Row]]:
    if not (overlap.has_names(first) and overlap.has_names(second)):
        unnamed = next(images.name for images in (first, second) if not overlap.has_names(images))
        return [f"'{unnamed}' has no names of people: nobody can be found by name."], []
    shared = overlap.shared_names(first, second)
    spelled = [{overlap.normalised_name(name): name for name in images.identity_names} for images in (first, second)]
    rows: list[Row] = [("same_name", first.name, spelled[0][n], second.name, spelled[1][n], "") for n in shared]
    return [f"{len(shared):,} people of '{first.name}' have the same normalised name in '{second.name}'."], rows


def _faces(
    first: FaceImages, second: FaceImages, embedder: Embedder, progress: Progress | None
) -> tuple[list[str], list[Row]]:
    embeddings = [
        embed_images(embedder, images, progress=_told(progress, f"Embedding {images.name}"))
        for images in (first, second)
    ]
    try:
        found = similar_people.find(first, embeddings[0], second, embeddings[1])
    except DatasetError as error:  # what was found without faces stands
        return [f"Not compared by face: {error}"], []
    rows: list[Row] = [
        ("similar_person", first.name, first.identity_names[a], second.name, second.identity_names[b], round(cosine, 4))
        for a, b, cosine in found.pairs
    ]
    otherwise = [
        row for row in rows if overlap.normalised_name(row[2]) != overlap.normalised_name(row[4]) or not row[2]
    ]
    by_chance = found.false_share * found.n_compared
    fact = (
        f"{len(rows):,} pairs of people are as alike as one person to {embedder.info['id']} (cosine of mean embeddings "
        f"from {found.threshold:.3f}, which {similar_people.FOUND_SHARE:.0%} of {found.n_people:,} people reach "
        f"between two halves of their own images); {len(otherwise):,} of them have different names. About "
        f"{by_chance:.0f} of {found.n_compared:,} would be so alike by chance: look at them."
    )
    return [fact], rows


def _told(progress: Progress | None, text: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(text, done, total)
