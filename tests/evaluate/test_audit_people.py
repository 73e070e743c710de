"""People in two sets: by name, by face, and what the audit writes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from bnas_face.cli.data import command
from bnas_face.data.images import FaceImages
from bnas_face.errors import BnasFaceError, ConfigError, DatasetError, FormatError
from bnas_face.evaluate import audit, similar_people
from bnas_face.evaluate.embed import Embeddings

N_PEOPLE, IMAGES_EACH, DIM = 30, 4, 32


def people(names: list[str], faces: Any, seed: int = 0, failed: tuple[int, ...] = ()) -> tuple[FaceImages, Embeddings]:
    """One set: `faces` (n_people, DIM) are who they are, every image a noisy view."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(names)), IMAGES_EACH)
    values = faces[labels] + rng.normal(0, 0.3, (len(labels), DIM))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    ids = tuple(f"{names[label]}/{k}" for k, label in enumerate(labels))
    images = FaceImages(
        name=f"set{seed}",
        image_ids=ids,
        labels=labels.astype(np.int64),
        identity_names=tuple(names),
        content_hash=str(seed),
        size_px=8,
        read=lambda at: np.random.default_rng(seed * 1000 + int(at[0])).integers(0, 256, (len(at), 8, 8, 3), np.uint8),
    )
    flags = np.zeros(len(labels), np.bool_)
    flags[list(failed)] = True
    return images, Embeddings(values=values.astype(np.float32), failed=flags, image_ids=ids)


def letters(start: int) -> list[str]:
    return [f"Person {chr(97 + (start + k) // 26)}{chr(97 + (start + k) % 26)}" for k in range(N_PEOPLE)]


def two_sets(n_shared: int, failed: tuple[int, ...] = ()) -> tuple[Any, Any]:
    """The first `n_shared` people of both sets are the same, under other names."""
    rng = np.random.default_rng(9)
    faces = rng.normal(size=(2 * N_PEOPLE, DIM))
    second = np.concatenate((faces[:n_shared], faces[N_PEOPLE : 2 * N_PEOPLE - n_shared]))
    return people(letters(0), faces[:N_PEOPLE], 1, failed), people(letters(100), second, 2)


def test_shared_people_are_found_under_other_names_and_nobody_else() -> None:
    (first, a), (second, b) = two_sets(5)
    found = similar_people.find(first, a, second, b)
    assert sorted((x, y) for x, y, _ in found.pairs) == [(k, k) for k in range(5)]
    cosines = [cosine for _, _, cosine in found.pairs]
    assert cosines == sorted(cosines, reverse=True)
    assert min(cosines) >= found.threshold
    assert (found.n_people, found.n_compared) == (60, 900)
    assert found.false_share == 0


def test_failed_images_have_no_part_in_anybody() -> None:
    (first, a), (second, b) = two_sets(5, failed=(0, 1, 2, 3))  # all of person 0
    a.values[:4] = np.nan
    found = similar_people.find(first, a, second, b)
    assert sorted((x, y) for x, y, _ in found.pairs) == [(k, k) for k in range(1, 5)]
    assert found.n_people == 59


def test_too_few_people_with_two_images_are_told() -> None:
    faces = np.random.default_rng(0).normal(size=(3, DIM))
    (first, a), (second, b) = people(letters(0)[:3], faces, 1), people(letters(50)[:3], faces, 2)
    with pytest.raises(DatasetError, match="have 6 people with two usable images"):
        similar_people.find(first, a, second, b)


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (first, a), (second, b) = two_sets(5)
    object.__setattr__(second, "identity_names", ("Pérson-AA", *second.identity_names[1:]))
    known = {"one": first, "two": second}
    monkeypatch.setattr(audit.datasets, "load", lambda spec: known[spec])
    monkeypatch.setattr(
        audit,
        "open_embedder",
        lambda spec: type("E", (), {"info": {"id": "net"}, "task": spec.removeprefix("runs/")})(),
    )
    monkeypatch.setattr(audit, "embed_images", lambda embedder, images, progress=None: a if images is first else b)
    return known


def test_the_command_counts_and_writes_every_finding(sets: dict[str, Any]) -> None:
    done = CliRunner().invoke(
        command, ["audit", "one", "--against", "two", "--model", "runs/embedding"], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert "1 people of 'set1' have the same normalised name in 'set2'." in done.output
    assert "5 pairs of people are as alike as one person to net" in done.output
    assert "4 of them have different names" in done.output
    assert "All 6 findings: reports/audit_one_two.csv" in done.output
    table = pd.read_csv("reports/audit_one_two.csv", keep_default_na=False)
    assert tuple(table.columns) == audit.COLUMNS
    assert table["finding"].value_counts().to_dict() == {"similar_person": 5, "same_name": 1}
    assert table.iloc[0].tolist() == ["same_name", "set1", "Person aa", "set2", "Pérson-AA", ""]


def test_a_model_without_another_set_is_an_error(sets: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="name the other one with --against"):
        audit.audit("one", model="runs/embedding")


def test_a_set_is_not_compared_with_itself_nor_by_a_network_of_objects(sets: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'one' and --against 'one' are the same set"):
        audit.audit("one", "one")
    with pytest.raises(ConfigError, match="recognises kinds of objects; name one that embeds faces"):
        audit.audit("one", "two", "runs/classification")


def test_a_brighter_image_is_a_near_copy_and_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grey pixels that are all brighter by ten correlate by exactly 1; the pixels are not equal."""
    image = cv2.resize(np.random.default_rng(0).integers(50, 200, (7, 7, 3), np.uint8), (64, 64))
    pixels = np.stack([image, image + 10, image])
    images = FaceImages(
        name="three",
        image_ids=("a", "b", "c"),
        labels=np.zeros(3, np.int64),
        identity_names=("Ann",),
        content_hash="",
        size_px=64,
        read=lambda at: pixels[at],
    )
    monkeypatch.setattr(audit.datasets, "load", lambda spec: images)
    found = audit.audit("three")
    assert found.findings["finding"].tolist() == ["near_copy", "copy"]
    assert found.findings["value"].tolist() == [1.0, 1.0]
    assert found.facts[1].startswith("1 copies and 1 near copies")


def test_too_few_faces_leave_what_was_found_without_them(sets: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit.similar_people, "LEAST_PEOPLE", 61)
    found = audit.audit("one", "two", "runs/embedding")
    assert found.facts[-1].startswith("Not compared by face: 'set1' and 'set2' have 60 people with two usable images")
    assert found.findings["finding"].tolist() == ["same_name"]


def test_numbered_people_cannot_be_found_by_name(sets: dict[str, Any]) -> None:
    object.__setattr__(sets["two"], "identity_names", tuple(map(str, range(N_PEOPLE))))
    assert "'set2' has no names of people: nobody can be found by name." in audit.audit("one", "two").facts


def test_nothing_is_half_written(sets: dict[str, Any], tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(BnasFaceError, match="Is a directory"):
        audit.write(audit.audit("one"), target)
    assert list(tmp_path.iterdir()) == [target]


def test_audited_people_count_as_people_of_the_training_set(sets: dict[str, Any], tmp_path: Path) -> None:
    audit.write(audit.audit("one", "two", "runs/embedding"), tmp_path / "audit.csv")
    same = audit.read_same_people(tmp_path / "audit.csv")
    assert len(same) == 6
    assert same[0] == ("Person aa", "Pérson-AA")


def test_another_table_is_no_audit(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="lacks the column finding; expected the CSV of bnasface data audit"):
        audit.read_same_people(tmp_path / "x.csv")
    with pytest.raises(FormatError, match="does not exist; expected the CSV of bnasface data audit"):
        audit.read_same_people(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("same_name,a,Ann,b,Anne,1,9", "line 3 has 7 fields, and line 1 names 6 columns"),
        ("same_name,a,Ann", "line 3 has 3 fields, and line 1 names 6 columns"),
        ("same-name,a,Ann,b,Anne,1", "line 3 has a finding other than broken, copy, near_copy, same_name"),
        ("similar_person,a,Ann,b,,1", "line 3 names nobody"),
    ],
)
def test_a_line_of_an_audit_that_was_edited_wrongly_is_named_and_never_passed_over(
    tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "x.csv").write_text(f"{','.join(audit.COLUMNS)}\n\n{line}\n")
    with pytest.raises(FormatError, match=message):
        audit.read_same_people(tmp_path / "x.csv")
