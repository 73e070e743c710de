"""Pair lists: each format gives the same table, and a wrong line is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import small_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats import pair_lists
from bnas_face.errors import FormatError


def rows(table: pd.DataFrame) -> list[tuple[object, ...]]:
    assert list(table.columns) == ["fold", "reference_id", "probe_id", "is_genuine"]
    return [tuple(row) for row in table.itertuples(index=False)]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_lfw_view_2_gives_folds_with_genuine_first(tmp_path: Path) -> None:
    assert rows(pair_lists.read_lfw(small_sets.lfw_pairs(tmp_path / "pairs.txt"))) == [
        (0, "Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0003.jpg", 1),
        (0, "Bo_Ek/Bo_Ek_0001.jpg", "Di_Ng/Di_Ng_0002.jpg", 0),
        (1, "Di_Ng/Di_Ng_0001.jpg", "Di_Ng/Di_Ng_0002.jpg", 1),
        (1, "Cy_Oz/Cy_Oz_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", 0),
    ]


def test_lfw_view_1_gives_training_as_fold_0_and_test_as_fold_1(tmp_path: Path) -> None:
    train = write(tmp_path / "pairsDevTrain.txt", "1\nA\t1\t2\nA\t1\tB\t3\n")
    test = write(tmp_path / "pairsDevTest.txt", "1\nC\t1\t2\nC\t1\tD\t10000\n")
    assert pair_lists.is_lfw_view_1(train)
    assert rows(pair_lists.read_lfw_dev(train, test)) == [
        (0, "A/A_0001.jpg", "A/A_0002.jpg", 1),
        (0, "A/A_0001.jpg", "B/B_0003.jpg", 0),
        (1, "C/C_0001.jpg", "C/C_0002.jpg", 1),
        (1, "C/C_0001.jpg", "D/D_10000.jpg", 0),
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "line 1: expected the header '10<TAB>300' or '1100', found ''"),
        ("ten\t300\n", "line 1: expected the header '10<TAB>300' or '1100', found 'ten 300'"),
        ("9999999\t0\n", "line 1: the header '9999999 0' announces no pairs"),
        ("1\t1\nA\t1\n", "line 2: expected 'name<TAB>i<TAB>j' (genuine), found 'A 1'"),
        ("1\t1\nA\t1\t2\nA\t1\t2\n", "line 3: expected 'name<TAB>i<TAB>name<TAB>j' (impostor), found 'A 1 2'"),
        ("1\t1\nA\tx\t2\nA\t1\tB\t2\n", "line 2: image numbers must be whole numbers, found 'x' and '2'"),
        ("1\t1\nA\t1\t2\nA\t1\tB\t2\nA\t1\t2\n", "line 4: more pairs than the header announces (2)"),
        (
            "1\t2\nA\t1\t2\n",
            "ends at line 2, after 1 of 2 genuine pairs of fold 1; its header announces 1 folds of 2 × 2",
        ),
        ("1\t1\n../A\t1\t2\nA\t1\tB\t2\n", "line 2: image '../A/../A_0001.jpg' leaves the folder of images"),
    ],
)
def test_a_wrong_lfw_line_is_named(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(FormatError) as caught:
        pair_lists.read_lfw(write(tmp_path / "pairs.txt", text))
    assert "pairs.txt'" in str(caught.value)
    assert what in str(caught.value)


def cfp(root: Path) -> Path:
    write(root / "Pair_list_F.txt", "1 ../Data/Images/001/frontal/01.jpg\n2 ../Data/Images/002/frontal/01.jpg\n")
    write(root / "Pair_list_P.txt", "1 ../Data/Images/001/profile/01.jpg\n2 ../Data/Images/002/profile/04.jpg\n")
    for fold in ("01", "02"):
        for split in ("FF", "FP"):
            write(root / "Split" / split / fold / "same.txt", "1,1\n")
            write(root / "Split" / split / fold / "diff.txt", "1,2\n")
    return root


def test_cfp_takes_references_from_f_and_probes_from_f_or_p(tmp_path: Path) -> None:
    tables = pair_lists.read_cfp(cfp(tmp_path))
    assert rows(tables["cfp_ff"])[:2] == [
        (0, "001/frontal/01.jpg", "001/frontal/01.jpg", 1),
        (0, "001/frontal/01.jpg", "002/frontal/01.jpg", 0),
    ]
    assert rows(tables["cfp_fp"])[2:] == [
        (1, "001/frontal/01.jpg", "001/profile/01.jpg", 1),
        (1, "001/frontal/01.jpg", "002/profile/04.jpg", 0),
    ]


@pytest.mark.parametrize(
    ("file", "text", "what"),
    [
        ("Pair_list_P.txt", "1\n", "Pair_list_P.txt', line 1: expected '1 ../Data"),
        ("Split/FF/02/same.txt", "1,1\n\n1;2\n", "same.txt', line 3: expected two line numbers 'i,j', found '1;2'"),
        (
            "Split/FP/01/diff.txt",
            "1,3\n",
            "diff.txt', line 1: pair '1 3' names a line that the pair list does not have",
        ),
    ],
)
def test_a_wrong_cfp_line_is_named(tmp_path: Path, file: str, text: str, what: str) -> None:
    write(cfp(tmp_path) / file, text)
    with pytest.raises(FormatError) as caught:
        pair_lists.read_cfp(tmp_path)
    assert what in str(caught.value)


def test_a_missing_cfp_file_is_named(tmp_path: Path) -> None:
    (cfp(tmp_path) / "Split" / "FP" / "02" / "same.txt").unlink()
    with pytest.raises(FormatError, match=r"02/same\.txt' does not exist"):
        pair_lists.read_cfp(tmp_path)


@pytest.mark.parametrize("text", ["a.jpg b.jpg 1\na.jpg c.jpg -1\n", "1 a.jpg b.jpg\n0 a.jpg c.jpg\n"])
def test_agedb_labels_stand_first_or_last_and_minus_1_is_impostor(tmp_path: Path, text: str) -> None:
    table = pair_lists.read_agedb(write(tmp_path / "agedb.txt", text), n_folds=1)
    assert rows(table) == [(0, "a.jpg", "b.jpg", 1), (0, "a.jpg", "c.jpg", 0)]


def test_agedb_keeps_its_order_when_every_fold_is_balanced(tmp_path: Path) -> None:
    text = "a b -1\na c 1\nd e 1\nd f -1\n"
    table = pair_lists.read_agedb(write(tmp_path / "agedb.txt", text), n_folds=2)
    assert [(row[0], row[3]) for row in rows(table)] == [(0, 0), (0, 1), (1, 1), (1, 0)]


def test_agedb_with_all_genuine_pairs_first_is_interleaved(tmp_path: Path) -> None:
    text = "a b 1\nc d 1\ne f -1\ng h -1\n"
    table = pair_lists.read_agedb(write(tmp_path / "agedb.txt", text), n_folds=2)
    assert [(row[0], row[1], row[3]) for row in rows(table)] == [(0, "a", 1), (0, "e", 0), (1, "c", 1), (1, "g", 0)]


def test_calfw_is_interleaved_so_that_every_fold_has_both_classes(tmp_path: Path) -> None:
    genuine = "".join(f"g{i}_1.jpg {1 + i // 3}\ng{i}_2.jpg {1 + i // 3}\n" for i in range(6))
    impostor = "".join(f"i{i}_1.jpg 0\nj{i}_1.jpg 0\n" for i in range(4))
    table = pair_lists.read_calfw(write(tmp_path / "pairs_CALFW.txt", genuine + impostor), n_folds=2)
    assert table.groupby("fold")["is_genuine"].agg(["size", "sum"]).to_numpy().tolist() == [[5, 3], [5, 3]]
    assert rows(table)[0] == (0, "g0_1.jpg", "g0_2.jpg", 1)
    assert rows(table)[5] == (1, "g3_1.jpg", "g3_2.jpg", 1)
    assert rows(table)[9] == (1, "i3_1.jpg", "j3_1.jpg", 0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a.jpg 1\n", "ends at line 1 inside a pair"),
        ("a.jpg 1\nb.jpg 0\n", "line 2: label '0' differs from '1' of the line before"),
        ("a.jpg 1\nb.jpg\n", "line 2: expected 'image label', found 'b.jpg'"),
        ("a.jpg 1\nb.jpg 1\n", "holds 1 genuine pairs; expected a multiple of 10"),
        ("", "holds 0 genuine pairs"),
    ],
)
def test_a_wrong_calfw_line_is_named(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(FormatError) as caught:
        pair_lists.read_calfw(write(tmp_path / "pairs_CALFW.txt", text))
    assert what in str(caught.value)


@pytest.mark.parametrize("n_pairs", [10, 13, 3])
def test_folds_of_a_bin_are_those_of_kfold_without_shuffling(n_pairs: int) -> None:
    ids = [f"{i:06d}.jpg" for i in range(2 * n_pairs)]
    table = pair_lists.from_flags(ids, [True] * n_pairs)
    sizes = [n_pairs // 10 + (fold < n_pairs % 10) for fold in range(10)]
    assert [int((table["fold"] == fold).sum()) for fold in range(10)] == sizes
    assert table["reference_id"].tolist() == ids[0::2]
    assert table["probe_id"].tolist() == ids[1::2]


READERS: list[Callable[[Path], object]] = [
    pair_lists.read_lfw,
    pair_lists.is_lfw_view_1,
    pair_lists.read_agedb,
    pair_lists.read_calfw,
    lambda path: pair_lists.read_cfp(path.parent),
]
texts = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(["1", "0", "-1", "\t", " ", "\n", "a.jpg", "../x", ",", "²", "\x1c"]), max_size=20).map(
        lambda parts: "".join(parts).encode()
    ),
)


@given(content=texts)
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("reader", range(len(READERS)))
def test_any_bytes_are_an_error_or_a_list(
    tmp_path_factory: pytest.TempPathFactory, reader: int, content: bytes
) -> None:
    root = cfp(tmp_path_factory.mktemp("pairs"))
    (root / "Pair_list_F.txt").write_bytes(content)
    try:
        READERS[reader](root / "Pair_list_F.txt")
    except FormatError as error:
        assert str(root) in str(error)


@pytest.mark.realdata
def test_the_official_lfw_lists_have_their_published_counts(shared_data: Path) -> None:
    table = pair_lists.read_lfw(shared_data / "lfw" / "pairs.txt")
    assert table.groupby("fold")["is_genuine"].agg(["size", "sum"]).to_numpy().tolist() == [[600, 300]] * 10
    dev = pair_lists.read_lfw_dev(shared_data / "lfw" / "pairsDevTrain.txt", shared_data / "lfw" / "pairsDevTest.txt")
    assert dev.groupby("fold")["is_genuine"].agg(["size", "sum"]).to_numpy().tolist() == [[2200, 1100], [1000, 500]]


def test_the_larger_half_of_view_1_is_for_training_whatever_the_files_are_called(tmp_path: Path) -> None:
    large, small = tmp_path / "b.txt", tmp_path / "a.txt"
    large.write_text("2\nA\t1\t2\nA\t1\t3\nA\t1\tB\t1\nA\t2\tB\t1\n", encoding="utf-8")
    small.write_text("1\nC\t1\t2\nC\t1\tD\t1\n", encoding="utf-8")
    for files in ((large, small), (small, large)):
        dev = pair_lists.read_lfw_dev(*files)
        assert dev.groupby("fold").size().to_dict() == {0: 4, 1: 2}
