"""Bring your own: pairs from a CSV file, and pairs drawn from identity folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bnas_face.data import datasets
from bnas_face.data.images import FaceImages
from bnas_face.errors import ProtocolError, UnknownNameError
from bnas_face.evaluate import drawn_pairs, protocol

SIZE_PX = 12


def write_images(root: Path, n_people: int = 6, n_images: int = 3) -> None:
    rng = np.random.default_rng(0)
    for person in range(n_people):
        for number in range(n_images):
            path = root / f"p{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8))


def rows() -> list[dict[str, object]]:
    """Six genuine pairs (p0 to p5) and six impostor pairs, in two folds, with metadata."""
    genuine = [(f"p{k}/0.png", f"p{k}/1.png", 1) for k in range(6)]
    impostor = [(f"p{k}/0.png", f"p{(k + 1) % 6}/0.png", 0) for k in range(6)]
    return [
        {"probe": a, "reference": b, "is_genuine": same, "fold": k % 2, "age_gap": k, "camera": "ab"[k % 2]}
        for k, (a, b, same) in enumerate(genuine + impostor)
    ]


def write(root: Path, content: list[dict[str, object]] | None = None, drop: tuple[str, ...] = ()) -> str:
    write_images(root)
    pd.DataFrame(rows() if content is None else content).drop(columns=list(drop)).to_csv(
        root / "pairs.csv", index=False
    )
    return f"csv:{root / 'pairs.csv'}"


def test_a_file_becomes_a_protocol_with_its_metadata(tmp_path: Path) -> None:
    found = protocol.load(write(tmp_path))
    assert isinstance(found, protocol.Protocol)
    assert (found.card.n_pairs, found.card.n_genuine, found.card.n_impostor, found.card.n_folds) == (12, 6, 6, 2)
    assert found.metadata_columns == ["age_gap", "camera"]
    assert found.pairs["age_gap"].tolist() == list(range(12))
    assert found.pairs["probe_id"][0] == "p0/0.png"
    assert found.images.read(found.probe[:2]).shape == (2, SIZE_PX, SIZE_PX, 3)


def test_genuine_pairs_connect_images_to_people_where_no_identity_is_given(tmp_path: Path) -> None:
    found = protocol.load(write(tmp_path))
    assert isinstance(found, protocol.Protocol)
    reference, probe = found.subjects()
    assert ((reference == probe) == found.is_genuine).all()
    assert len(np.unique(np.concatenate((reference, probe)))) == 6


def test_without_folds_each_class_is_dealt_in_order(tmp_path: Path) -> None:
    found = protocol.load(write(tmp_path, drop=("fold",)))
    assert isinstance(found, protocol.Protocol)
    assert found.card.n_folds == 6
    assert found.fold.tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert "no column fold" in found.card.notes


def test_our_own_column_names_and_words_for_true_are_understood(tmp_path: Path) -> None:
    content = [
        {"probe_id": r["probe"], "reference_id": r["reference"], "is_genuine": bool(r["is_genuine"])} for r in rows()
    ]
    found = protocol.load(write(tmp_path, content))
    assert isinstance(found, protocol.Protocol)
    assert found.is_genuine.tolist() == [True] * 6 + [False] * 6


def changed(row: int, **values: object) -> list[dict[str, object]]:
    content = rows()
    content[row] |= values
    return content


@pytest.mark.parametrize(
    ("content", "drop", "message"),
    [
        (None, ("is_genuine",), r"line 1 lacks the column is_genuine\. Expected"),
        (
            [{"is_genuin": r.pop("is_genuine"), **r} for r in rows()],
            (),
            r"lacks the column is_genuine\. Is it 'is_genuin'\?",
        ),
        (changed(3, is_genuine="yes"), (), r"line 5 has an is_genuine other than 1 or 0 \('yes'\)"),
        (changed(2, probe=""), (), r"line 4 names no image"),
        (changed(2, probe="p9/0.png"), (), r"line 4 names image 'p9/0.png', and there is no file"),
        (changed(2, probe="p2/1.png"), (), r"line 4 compares an image with itself \('p2/1.png'\)"),
        ([*rows(), rows()[4]], (), r"line 14 repeats the pair of line 6"),
        (
            [*rows(), {**rows()[4], "probe": "p4/1.png", "reference": "p4/0.png"}],
            (),
            r"line 14 repeats the pair of line 6",
        ),
        (changed(0, fold=""), (), r"line 2 has no fold"),
        ([{**r, "fold": 0} for r in rows()], (), r"has one fold only \('0'\)"),
        ([{**r, "fold": r["is_genuine"]} for r in rows()], (), r"fold '1', from line 2 on, holds genuine pairs only"),
        (rows()[:6], ("fold",), r"holds 6 genuine and 0 impostor pairs"),
        (rows()[:7], ("fold",), r"holds 6 genuine and 1 impostor pairs"),
        ([], (), r"is empty; expected"),
        (changed(2, probe="./p2/../p2/1.png"), (), r"line 4 compares an image with itself \('p2/1.png'\)"),
        ([*rows(), {**rows()[4], "probe": "./p4//0.png"}], (), r"line 14 repeats the pair of line 6"),
        (changed(2, probe=f"{'x' * 300}.png"), (), r"line 4 names image 'x+.png', and there is no file"),
        ([{**r, "probe_identity": "a"} for r in rows()], (), r"has the column probe_identity and lacks reference_id"),
        ([{**r, "probe_id": "a"} for r in rows()], (), r"line 1 names the column probe twice"),
        ([{**r, "": "a"} for r in rows()], (), r"line 1 has a column without a name"),
    ],
)
def test_a_wrong_line_is_named(
    tmp_path: Path, content: list[dict[str, object]] | None, drop: tuple[str, ...], message: str
) -> None:
    name = write(tmp_path, content, drop)
    with pytest.raises(ProtocolError, match=message):
        protocol.load(name)


HEADER = "probe,reference,is_genuine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\n\n\np0/0.png,p0/1.png,2\n", r"line 4 has an is_genuine other than 1 or 0 \('2'\)"),
        (f'{HEADER},note\np0/0.png,p0/1.png,1,"a\nb"\np0/0.png,p0/9.png,1,\n', r"line 4 names image 'p0/9.png'"),
        (f"{HEADER}\np0/0.png,p0/1.png,1,\n", r"line 2 has 4 fields, and line 1 names 3 columns"),
        (f"{HEADER}\n7,p0/0.png,p0/1.png,1\n", r"line 2 has 4 fields, and line 1 names 3 columns"),
        (f"{HEADER}\np0/0.png,p0/1.png\n", r"line 2 has 2 fields, and line 1 names 3 columns"),
        (f'{HEADER}\n"p0/0.png,p0/1.png,1\n', r"is no CSV from line 2 on"),
        (f"{HEADER}\n", r"holds no pairs; expected"),
    ],
)
def test_lines_are_counted_as_an_editor_does_and_are_as_long_as_the_header(
    tmp_path: Path, content: str, message: str
) -> None:
    name = write(tmp_path)
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(ProtocolError, match=message):
        protocol.load(name)


@pytest.mark.parametrize("start, end", [("\ufeff", "\n"), ("", "\r\n"), ("", "\r"), ("\n", "\n\n")])
def test_line_ends_byte_order_marks_and_blank_lines_do_not_matter(tmp_path: Path, start: str, end: str) -> None:
    name = write(tmp_path)
    expected = protocol.load(name)
    text = (tmp_path / "pairs.csv").read_text()
    (tmp_path / "pairs.csv").write_bytes((start + text.replace("\n", end)).encode())
    found = protocol.load(name)
    assert isinstance(found, protocol.Protocol) and isinstance(expected, protocol.Protocol)
    assert found.pairs.equals(expected.pairs)


def test_another_encoding_is_one_error(tmp_path: Path) -> None:
    name = write(tmp_path)
    (tmp_path / "pairs.csv").write_bytes((tmp_path / "pairs.csv").read_text().encode("utf-16"))
    with pytest.raises(ProtocolError, match=r"is not UTF-8 text \(byte 0\); save it as CSV in UTF-8"):
        protocol.load(name)


def test_folds_that_one_float_would_stand_for_stay_two(tmp_path: Path) -> None:
    found = protocol.load(write(tmp_path, [{**r, "fold": str(10**22 + k % 2)} for k, r in enumerate(rows())]))
    assert isinstance(found, protocol.Protocol)
    assert found.card.n_folds == 2


def test_a_contradiction_is_named_with_its_line(tmp_path: Path) -> None:
    chain = [
        {"probe": "p0/0.png", "reference": "p0/1.png", "is_genuine": 1},
        {"probe": "p0/1.png", "reference": "p0/2.png", "is_genuine": 1},
        {"probe": "p0/0.png", "reference": "p0/2.png", "is_genuine": 0},
    ]
    with pytest.raises(ProtocolError, match="line 4 contradicts other lines"):
        protocol.load(write(tmp_path, chain))
    told = [{**r, "probe_identity": "a", "reference_identity": "ab"[k % 2]} for k, r in enumerate(chain)]
    with pytest.raises(ProtocolError, match=r"line 4 gives an image the identity 'a', and an earlier line says 'b'"):
        protocol.load(write(tmp_path, told))


def test_absent_file_and_mistyped_kind_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="does not exist; expected a file of pairs"):
        protocol.load(f"csv:{tmp_path / 'none.csv'}")
    with pytest.raises(UnknownNameError, match=r"Unknown kind of protocol 'cvs'\. Did you mean 'csv'\?"):
        protocol.load("cvs:pairs.csv")
    with pytest.raises(ProtocolError, match="names no file"):
        protocol.load("csv:")


def test_another_image_under_the_same_name_size_and_time_is_another_set(tmp_path: Path) -> None:
    """The embedding cache must not believe a name."""
    import os

    name = write(tmp_path)
    before = protocol.load(name).images.content_hash
    path = tmp_path / "p0" / "0.png"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert protocol.load(name).images.content_hash != before


def drawn(counts: list[int], **settings: int) -> tuple[FaceImages, pd.DataFrame]:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = FaceImages(
        name="small",
        image_ids=tuple(f"{label}/{k}" for k, label in enumerate(labels)),
        labels=labels.astype(np.int64),
        identity_names=tuple(map(str, range(len(counts)))),
        content_hash="",
        size_px=1,
        read=lambda indices: np.zeros((len(indices), 1, 1, 3), np.uint8),
    )
    return images, drawn_pairs.draw(images, **settings)


def test_drawn_pairs_are_true_different_balanced_and_nobody_is_in_two_folds() -> None:
    images, pairs = drawn([1, 2, 3, 9, 2, 4, 30, 2, 3, 2, 5, 2], n_folds=3, most=20)
    label = dict(zip(images.image_ids, images.labels.tolist(), strict=True))
    first, second = pairs["reference_id"].map(label), pairs["probe_id"].map(label)
    assert ((first == second) == pairs["is_genuine"]).all()
    assert (
        not pd.DataFrame([sorted(p) for p in zip(pairs["reference_id"], pairs["probe_id"], strict=True)])
        .duplicated()
        .any()
    )
    folds = pairs.assign(person=first).groupby("person")["fold"].nunique()
    assert (folds == 1).all()
    per_fold = pairs.groupby("fold")["is_genuine"].agg(["sum", "size"])
    assert (per_fold["size"] == 2 * per_fold["sum"]).all()
    assert per_fold["sum"].nunique() == 1


def test_drawing_again_gives_the_same_pairs_and_another_seed_others() -> None:
    again, other = drawn([4] * 30), drawn([4] * 30, seed=1)
    assert drawn([4] * 30)[1].equals(again[1])
    assert not again[1].equals(other[1])


def test_everybody_gives_a_genuine_pair_before_anybody_gives_a_second() -> None:
    _, pairs = drawn([2, 2, 2, 40, 2, 2, 2, 40], n_folds=2, most=6)
    people = pairs[pairs["is_genuine"]]["reference_id"].str.partition("/")[0]
    assert people.nunique() == 8


def test_people_of_many_images_show_most_of_them_not_one_again_and_again() -> None:
    _, pairs = drawn([400] * 4, n_folds=2, most=300)
    genuine = pairs[pairs["is_genuine"]]
    uses = pd.concat([genuine["reference_id"], genuine["probe_id"]]).value_counts()
    assert len(genuine) == 600
    assert uses.max() <= 6  # 1,200 places for 1,600 images
    assert len(uses) > 700


def test_all_pairs_of_a_person_are_drawn_where_all_are_wanted() -> None:
    found = list(drawn_pairs._two_of(7, 100, np.random.default_rng(0)))
    assert sorted(found) == [(i, j) for i in range(7) for j in range(i + 1, 7)]


def test_too_few_people_are_told() -> None:
    with pytest.raises(ProtocolError, match="'small' has 3 people with two or more images"):
        drawn([2, 2, 2, 1, 1])


def test_a_folder_of_people_becomes_a_protocol(tmp_path: Path) -> None:
    write_images(tmp_path)
    found = protocol.load(f"folder:{tmp_path}")
    assert isinstance(found, protocol.Protocol)
    assert found.card.n_folds == 3
    assert found.card.n_genuine == found.card.n_impostor > 0
    assert found.images.content_hash == datasets.load(f"folder:{tmp_path}").content_hash
