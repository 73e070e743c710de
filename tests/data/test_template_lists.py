"""IJB's and TinyFace's lists: files of the exact published formats, read back, and damage named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_templates
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from bnas_face.data.formats import ijb, mat5, pair_lists, tinyface
from bnas_face.data.formats.template_files import TemplatePairs, TemplateRows, TemplateSearches
from bnas_face.errors import FormatError

QUIET = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
int32 = st.integers(0, 2**31 - 1)


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(rows=st.lists(st.tuples(int32, int32, st.booleans()), min_size=1, max_size=30), crlf=st.booleans())
@QUIET
def test_template_pairs_are_read_as_written(tmp_path: Path, rows: Any, crlf: bool) -> None:
    end = "\r\n" if crlf else "\n"
    found = ijb.read_pairs(write(tmp_path, "".join(f"{a} {b} {int(c)}{end}" for a, b, c in rows)))
    assert list(zip(found.reference.tolist(), found.probe.tolist(), found.is_genuine.tolist(), strict=True)) == rows
    assert (found.reference.dtype, found.probe.dtype, found.is_genuine.dtype) == (np.int32, np.int32, np.bool_)


field = st.one_of(
    st.integers(-3, 5).map(str), st.sampled_from(["", "x", "1.5", "1e3", "nan", "99999999999", "0x1", "é"])
)


def slow_pairs(text: str) -> list[tuple[int, int, int]] | None:
    """The lines of a pair list by definition; None where one does not fit."""
    rows = []
    for line in text.split("\n"):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or not all(part.isascii() and part.isdecimal() and int(part) < 2**31 for part in fields):
            return None
        if fields[2] not in ("0", "1"):
            return None
        rows.append((int(fields[0]), int(fields[1]), int(fields[2])))
    return rows or None


@given(st.lists(st.lists(field, max_size=4).map(" ".join), max_size=6).map("\n".join))
@example("0 0 0 0\n1 0 0 0")  # a first field that could be a row number
@QUIET
def test_a_pair_list_is_what_its_lines_say_or_an_error(tmp_path: Path, text: str) -> None:
    path, expected = write(tmp_path, text), slow_pairs(text)
    if expected is None:
        with pytest.raises(FormatError) as caught:
            ijb.read_pairs(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        return
    found = ijb.read_pairs(path)
    assert list(zip(found.reference, found.probe, found.is_genuine, strict=True)) == expected


@given(st.lists(st.tuples(field, field), min_size=1, max_size=4))
@QUIET
def test_members_and_subjects_are_whole_numbers_or_an_error(tmp_path: Path, rows: Any) -> None:
    is_sound = all(part.isascii() and part.isdecimal() and int(part) < 2**31 for row in rows for part in row)
    lines = "".join(f"{n}.jpg {a} {b}\n" for n, (a, b) in enumerate(rows))
    subjects = "TEMPLATE_ID,SUBJECT_ID\n" + "".join(f"{a},{b}\n" for a, b in rows)
    if not is_sound:
        for read, text in ((ijb.read_members, lines), (ijb.read_subjects, subjects)):
            with pytest.raises(FormatError):
                read(write(tmp_path, text))
        return
    _, template, medium = ijb.read_members(write(tmp_path, lines))
    assert list(zip(template.tolist(), medium.tolist(), strict=True)) == [(int(a), int(b)) for a, b in rows]


@given(st.binary(max_size=200))
@QUIET
def test_any_bytes_are_read_or_a_format_error(tmp_path: Path, content: bytes) -> None:
    for read in (ijb.read_pairs, ijb.read_members, ijb.read_points, ijb.read_subjects):
        try:
            read(write(tmp_path, content))
        except FormatError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (ijb.read_pairs, "1 2 1\n1 3 2\n", r"line 2: label '2'; expected 1 \(genuine\), 0 \(impostor\)"),
        (ijb.read_pairs, "1 2 1\n1 x 0\n", r"line 2: expected '1 11065 1' .*, found '1 x 0'"),
        (ijb.read_pairs, "1 2 1\n1 2\n", r"line 2: expected '1 11065 1' .*, found '1 2'"),
        (ijb.read_pairs, "1 2 1\n1 2 1 7\n", r"line 2: expected '1 11065 1' .*, found '1 2 1 7'"),
        (ijb.read_pairs, "1 2 1\n1 -2 0\n", r"line 2: number -2 is negative"),
        (ijb.read_pairs, "", r"holds no line|cannot be read"),
        (ijb.read_members, "1.jpg 1 2\n../2.jpg 1 2\n", r"line 2: image '../2.jpg' leaves the folder"),
        (ijb.read_members, "1.jpg 1 2\n2.jpg 1\n", r"line 2: expected '1.jpg 1 69544'"),
        (ijb.read_points, "1.jpg 1 1 2 1 1 2 1 3 2 3 1.5\n", r"line 1: points must be finite and the detector score"),
        (ijb.read_points, "1.jpg 1 1 2 1 1 2 1 3 2 nan 0.5\n", r"line 1: expected '1.jpg' and 11 numbers"),
        (ijb.read_points, "1.jpg 1 1 2 1 1 2 1 3 2 3\n", r"line 1: expected '1.jpg' and 11 numbers"),
        (ijb.read_points, 2 * "1.jpg 1 1 2 1 1 2 1 3 2 3 0.5\n", r"line 2: image '1.jpg' comes twice"),
        (ijb.read_subjects, "TEMPLATE,SUBJECT\n1,2\n", r"line 1: expected 'TEMPLATE_ID,SUBJECT_ID,…'"),
        (ijb.read_subjects, "TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n", r"line 3: template 1 belongs to subject 3, and to"),
        (ijb.read_subjects, "TEMPLATE_ID,SUBJECT_ID\n1,2\n1,x\n", r"line 3: expected a template's and a subject's"),
    ],
)
def test_damage_in_a_list_names_file_and_line(tmp_path: Path, read: Any, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FormatError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (ijb.read_members, "1.jpg 1 2\n\n\n2.jpg x 2\n", 4),
        (ijb.read_members, "1.jpg 1 2\n \n../2.jpg 1 2\n", 3),
        (ijb.read_pairs, "\n1 2 1\n\n1 3 7\n", 4),
        (ijb.read_pairs, "1 2 1\n\n-1 3 0\n", 3),
        (ijb.read_pairs, "1 2 1\n1 3 300\n", 2),
        (ijb.read_subjects, "TEMPLATE_ID,SUBJECT_ID\n1,2\n\n1,3\n", 4),
        (ijb.read_points, f"1.jpg{' 1' * 11}\n\n1.jpg{' 1' * 11}\n", 3),
        (ijb.read_points, f"1.jpg{' 1' * 11}\n\n2.jpg{' 1' * 10} 2\n", 3),
    ],
)
def test_blank_lines_are_counted_and_too_large_a_label_is_named(
    tmp_path: Path, read: Any, text: str, line: int
) -> None:
    with pytest.raises(FormatError, match=rf"list.txt', line {line}: "):
        read(write(tmp_path, text))


def test_a_whole_ijb_is_read_as_it_was_written(tmp_path: Path) -> None:
    meta = small_templates.write_ijb(tmp_path / "IJBC") / "meta"
    names, template, medium = ijb.read_members(meta / "ijbc_face_tid_mid.txt")
    assert (names[3], template[3], medium[3]) == ("4.jpg", 2, 20)
    listed, points, scores = ijb.read_points(meta / "ijbc_name_5pts_score.txt")
    assert listed.tolist() == names.tolist()
    assert points[0] == pytest.approx(small_templates.points(), abs=1e-3)
    assert scores[:2] == pytest.approx([0.9, 0.5])
    templates, subjects = ijb.read_subjects(meta / "ijbc_1N_gallery_G1.csv")
    assert templates.tolist() == list(range(1, 9)) and subjects.tolist() == list(range(100, 108))
    pairs = ijb.read_pairs(meta / "ijbc_template_pair_label.txt")
    assert (len(pairs.is_genuine), pairs.is_genuine.sum()) == (12 * 24, 24)


def arrays() -> dict[str, Any]:
    numbers = np.arange(3, dtype=np.int32)
    rows = TemplateRows(
        image_id=np.array(["a.jpg", "b.jpg", "é.jpg"]),
        template=numbers,
        medium=numbers,
        detector_score=np.ones(3, "f4"),
    )
    pairs = TemplatePairs(reference=numbers, probe=numbers, is_genuine=np.array([True, False, True]))
    searches = TemplateSearches(gallery=numbers, gallery_subject=numbers, probe=numbers[:1], probe_subject=numbers[:1])
    return {"rows": rows, "pairs": pairs, "searches": searches}


@pytest.mark.parametrize("name", arrays())
def test_template_files_are_read_as_saved(tmp_path: Path, name: str) -> None:
    made = arrays()[name]
    made.save(tmp_path / "x.npz")
    found = type(made).load(tmp_path / "x.npz")
    for key, value in vars(made).items():
        assert getattr(found, key).tolist() == value.tolist() and getattr(found, key).dtype == value.dtype


def test_a_mated_probe_is_one_whose_subject_is_in_the_gallery() -> None:
    numbers = np.arange(3, dtype=np.int32)
    made = TemplateSearches(
        gallery=numbers, gallery_subject=np.int32([5, -1, 6]), probe=numbers, probe_subject=np.int32([6, 7, -1])
    )
    assert made.is_mated.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": np.arange(2, dtype=np.int32)}, "differ in length"),
        ({"probe": np.arange(3.0)}, "probe is an array of float64"),
        ({"is_genuine": np.ones((3, 1), bool)}, "is_genuine is an array of bool with 2 axes"),
        ({"schema": np.array("other/1")}, "schema 'other/1'"),
        ({"probe": np.array([{}, 1, 2], object)}, "is damaged"),
    ],
)
def test_a_template_file_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path, made = tmp_path / "x.npz", arrays()["pairs"]
    np.savez(path, **{"schema": np.array("bnas_face.templates/1"), **vars(made), **changes})
    with pytest.raises(FormatError, match=message):
        TemplatePairs.load(path)


@given(st.binary(max_size=300))
@QUIET
def test_any_bytes_as_a_template_file_are_a_format_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FormatError):
        TemplatePairs.load(tmp_path / "x.npz")


def test_tinyfaces_lists_are_read_as_written(tmp_path: Path) -> None:
    files = small_templates.tinyface_files()
    gallery, probe = small_templates.write_mats(tmp_path, files)
    which, names, people = tinyface.read_ids(gallery)
    assert which == "gallery"
    assert names.tolist()[:3] == ["1_1.jpg", "1_2.jpg", "2_1.jpg"] and people.tolist()[:3] == [1, 1, 2]
    assert tinyface.read_ids(probe)[0] == "probe"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"gallery_set": np.array(["a.jpg"], object)}, "holds neither gallery_set and gallery_ids nor probe_set"),
        ({"probe_set": np.array(["a.jpg"], object), "probe_ids": [1, 2]}, "as many names"),
        ({"probe_set": np.array(["a.jpg"], object), "probe_ids": [1.5]}, "people that are no whole numbers"),
        ({"probe_set": np.array(["a.jpg"], object), "probe_ids": [-1]}, "people that are no whole numbers"),
        ({"probe_set": np.array(["a.jpg"], object), "probe_ids": [np.nan]}, "people that are no whole numbers"),
        ({"probe_set": np.array(["../a.jpg"], object), "probe_ids": [1]}, "where the name of an image file was"),
        ({"probe_set": np.array([3.0], object), "probe_ids": [1]}, "where the name of an image file was"),
    ],
)
def test_another_matlab_file_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    savemat(tmp_path / "x.mat", content)
    with pytest.raises(FormatError, match=message):
        tinyface.read_ids(tmp_path / "x.mat")


@given(at=st.integers(0, 5000), value=st.integers(0, 255), cut=st.integers(0, 5000), compressed=st.booleans())
@QUIET
def test_a_damaged_matlab_file_is_read_or_a_format_error(
    tmp_path: Path, at: int, value: int, cut: int, compressed: bool
) -> None:
    """SciPy's own reader dies of some of these."""
    cells = np.empty((3, 1), object)
    cells[:, 0] = ["1_1.jpg", "1_2.jpg", "2_1.jpg"]
    path = tmp_path / "x.mat"
    savemat(path, {"probe_set": cells, "probe_ids": np.array([[1], [1], [2]])}, do_compression=compressed)
    content = bytearray(path.read_bytes())
    content[at % len(content)] = value
    path.write_bytes(content[: max(cut, len(content) // 2)])
    try:
        tinyface.read_ids(path)
    except FormatError as error:
        assert "\n" not in str(error)


values = st.one_of(
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6).map(lambda x: np.array(x, np.int32)),
    st.lists(st.floats(allow_nan=False), max_size=6).map(np.array),
    st.text(st.characters(min_codepoint=33, max_codepoint=0x7FF), min_size=1, max_size=9),
)


@given(value=st.one_of(values, st.lists(values, min_size=1, max_size=4)), compressed=st.booleans())
@QUIET
def test_matlab_variables_are_read_as_scipy_wrote_them(tmp_path: Path, value: Any, compressed: bool) -> None:
    cells = value
    if isinstance(value, list):
        cells = np.empty(len(value), object)
        cells[:] = value
    savemat(tmp_path / "x.mat", {"other": 3, "wanted": cells}, do_compression=compressed)
    [(name, found)] = mat5.read(tmp_path / "x.mat", ["wanted"]).items()
    assert name == "wanted"

    def plain(one: Any) -> Any:
        return one if isinstance(one, str) else np.asarray(one).tolist()

    assert ([plain(one) for one in found] if isinstance(value, list) else plain(found)) == (
        [plain(one) for one in value] if isinstance(value, list) else plain(value)
    )


def test_a_matlab_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"probe_ids": np.zeros(1 << 24)}, do_compression=True)
    with pytest.raises(FormatError, match=r"truncated or larger than 67,108,864 bytes"):
        mat5.read(tmp_path / "x.mat", ["probe_ids"])


def test_rfws_lists_become_folds_with_the_column_race(tmp_path: Path) -> None:
    txts = small_templates.write_rfw(tmp_path) / "txts"
    found = pair_lists.read_rfw(txts / "Asian" / "Asian_pairs.txt", "Asian")
    assert list(found) == ["fold", "reference_id", "probe_id", "is_genuine", "race"]
    assert found["fold"].tolist() == np.repeat(np.arange(10), 4).tolist()
    assert found.iloc[0].tolist() == [0, "Asian/m.100/m.100_0001.jpg", "Asian/m.100/m.100_0002.jpg", 1, "Asian"]
    assert found.iloc[3].tolist() == [0, "Asian/m.100/m.100_0002.jpg", "Asian/m.101/m.101_0002.jpg", 0, "Asian"]


def test_an_rfw_list_with_genuine_pairs_first_is_interleaved(tmp_path: Path) -> None:
    lines = [*(f"m.{k}\t1\t2" for k in range(10)), *(f"m.{k}\t1\tm.{k + 1}\t1" for k in range(10))]
    found = pair_lists.read_rfw(write(tmp_path, "\n".join(lines)), "Indian")
    assert found.groupby("fold")["is_genuine"].mean().tolist() == [0.5] * 10


@pytest.mark.parametrize(
    ("line", "message"),
    [("m.1\t1", "line 2: expected 'name<TAB>i<TAB>name"), ("m.1\tx\t2", "line 2: image numbers must be whole"),
     ("../m\t1\t2", "line 2: image '../m/../m_0001.jpg' leaves the folder")],
)  # fmt: skip
def test_a_damaged_rfw_list_names_the_line(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        pair_lists.read_rfw(write(tmp_path, f"m.1\t1\t2\n{line}\n"), "Asian")
