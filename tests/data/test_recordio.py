"""Record files: equal to what MXNet reads and writes, and damage is one clear error."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats import record_sets, recordio
from bnas_face.data.formats.recordio import MAGIC, Record, RecordFile
from bnas_face.errors import BrokenImageError, FormatError

MAGIC_BYTES = struct.pack("<I", MAGIC)

labels = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(tuple),
)
payloads = st.lists(st.one_of(st.binary(max_size=9), st.just(MAGIC_BYTES)), max_size=6).map(b"".join)
uint64 = st.integers(0, 2**64 - 1)
records = st.builds(Record, label=labels, id=uint64, id2=uint64, payload=payloads)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A two-level record file: 8 images of 3 identities with labels 0, 5 and 2."""
    contents = {
        0: [small_sets.jpeg(i) for i in range(3)],
        5: [small_sets.jpeg(9)],
        2: [small_sets.jpeg(i) for i in range(4)],
    }
    record_sets.write_identities(tmp_path / "small.rec", contents)
    return tmp_path / "small.rec"


def read_all(path: Path) -> dict[int, Record]:
    with RecordFile(path) as file:
        return {key: file.read(key) for key in file.offsets}


@given(written=st.lists(records, max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, written: list[Record]) -> None:
    path = tmp_path_factory.mktemp("rec") / "x.rec"
    recordio.write(path, enumerate(written))
    assert read_all(path) == dict(enumerate(written))


def test_content_is_split_at_an_aligned_magic_and_nowhere_else() -> None:
    content = b"abcd" + MAGIC_BYTES + MAGIC_BYTES + b"x" + MAGIC_BYTES
    part = [struct.pack("<II", MAGIC, flag << 29 | length) for flag, length in ((1, 4), (2, 0), (3, 5))]
    assert recordio.frame(content) == part[0] + b"abcd" + part[1] + part[2] + b"x" + MAGIC_BYTES + b"\0\0\0"


def test_two_levels_list_images_and_labels(small: Path) -> None:
    with RecordFile(small) as file:
        listing = record_sets.list_images(file)
        assert file.read(0).label == (9.0, 12.0)
        assert file.read(9).label == (1.0, 4.0)
        assert record_sets.identity_problems(file, listing) == []
    assert listing.keys.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert listing.labels.tolist() == [0, 0, 0, 5, 2, 2, 2, 2]


def test_an_identity_record_that_spans_two_people_is_a_problem(tmp_path: Path) -> None:
    content = [
        (0, Record(label=(3.0, 4.0), id=0)),
        (1, Record(label=0.0, id=1, payload=b"a")),
        (2, Record(label=1.0, id=2, payload=b"b")),
        (3, Record(label=(1.0, 3.0), id=3)),
    ]
    recordio.write(tmp_path / "x.rec", content)
    with RecordFile(tmp_path / "x.rec") as file:
        problems = record_sets.identity_problems(file, record_sets.list_images(file))
    assert problems == ["Identity record 3 spans images 1 … 3 of 2 labels."]


def test_without_the_header_record_every_record_is_an_image(tmp_path: Path) -> None:
    recordio.write(tmp_path / "x.rec", [(4, Record(label=7.0, id=4)), (2, Record(label=(3.0, 0.0), id=2))])
    with RecordFile(tmp_path / "x.rec") as file:
        listing = record_sets.list_images(file)
    assert (listing.keys.tolist(), listing.labels.tolist()) == ([4, 2], [7, 3])


@pytest.mark.parametrize("label", [(float("nan"), 9.0), (3.0, 1e9), (9.0, 3.0), (0.0, 0.0)])
def test_a_header_record_that_contradicts_the_index_is_an_error(tmp_path: Path, label: tuple[float, float]) -> None:
    recordio.write(tmp_path / "x.rec", [(0, Record(label=label, id=0)), (1, Record(label=0.0, id=1))])
    with RecordFile(tmp_path / "x.rec") as file, pytest.raises(FormatError, match=r"x\.rec', record 0 \(byte 0\)"):
        record_sets.list_images(file)


@pytest.mark.parametrize("label", [float("nan"), float("inf"), -1.0, 0.5])
def test_a_label_that_is_no_index_is_an_error(tmp_path: Path, label: float) -> None:
    recordio.write(tmp_path / "x.rec", [(1, Record(label=label, id=1))])
    with RecordFile(tmp_path / "x.rec") as file, pytest.raises(FormatError, match="is no identity index"):
        record_sets.list_images(file)


def test_a_file_truncated_at_any_byte_is_one_error_naming_file_and_byte(tmp_path: Path) -> None:
    recordio.write(tmp_path / "x.rec", [(k, Record(label=(1.0, 2.0), id=k, payload=b"abc" * k)) for k in range(3)])
    content = (tmp_path / "x.rec").read_bytes()
    padding = 2  # of the last record: not needed to read it
    for length in range(len(content) - padding):
        (tmp_path / "x.rec").write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"x\.rec' is (truncated|damaged).* byte \d+"):
            read_all(tmp_path / "x.rec")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_are_an_error_or_a_record(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("rec") / "x.rec"
    recordio.write(path, [(k, Record(label=(1.0,), id=k, payload=MAGIC_BYTES * k)) for k in range(3)])
    for file in (path, path.with_suffix(".idx")):
        content = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(content)
    try:
        with RecordFile(path) as file_:
            record_sets.list_images(file_)
    except FormatError as error:
        assert "x." in str(error)


@given(content=st.binary(max_size=80))
@settings(max_examples=80, deadline=None)
def test_any_bytes_as_rec_or_idx_are_an_error_or_valid(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("rec") / "x.rec"
    path.write_bytes(content)
    path.with_suffix(".idx").write_text("0\t0\n1\t8\n", encoding="ascii")
    with pytest.raises(FormatError, match=r"x\.rec"):
        read_all(path)
    path.with_suffix(".idx").write_bytes(content)
    try:
        recordio.read_index(path.with_suffix(".idx"))
    except FormatError as error:
        assert "line" in str(error)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("1 2 3", "expected 'key<TAB>offset', found '1 2 3'"),
        ("0\t0", "key 0 comes a second time"),
        ("-1\t0", "found '-1"),
    ],
)
def test_a_wrong_index_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "x.idx").write_text(f"0\t0\n{line}\n", encoding="ascii")
    with pytest.raises(FormatError) as caught:
        recordio.read_index(tmp_path / "x.idx")
    assert what in str(caught.value)
    assert "x.idx', line 2" in str(caught.value)


def test_an_unknown_key_and_an_absent_file_are_errors(small: Path, tmp_path: Path) -> None:
    with RecordFile(small) as file, pytest.raises(FormatError, match="has no record 99"):
        file.read(99)
    (tmp_path / "y.idx").write_text("", encoding="ascii")
    with pytest.raises(FormatError, match=r"y\.rec' does not exist"):
        RecordFile(tmp_path / "y.rec")


def test_a_copy_by_pickle_and_many_threads_read_the_same(small: Path) -> None:
    with RecordFile(small) as file, pickle.loads(pickle.dumps(file)) as copy, ThreadPoolExecutor(8) as pool:
        keys = list(file.offsets) * 20
        assert list(pool.map(copy.read, keys)) == [file.read(key) for key in keys]


def test_images_are_read_by_position(small: Path) -> None:
    with RecordFile(small) as file:
        reader = record_sets.RecordReader(file, record_sets.list_images(file).keys, 16)
        many = reader(np.array([3, 0] * 8))
        one = reader(np.array([0]))
    assert many.shape == (16, 16, 16, 3)
    assert np.array_equal(many[1], one[0])
    assert not np.array_equal(many[0], many[1])


def test_a_truncated_jpeg_in_a_record_is_named_with_its_byte(tmp_path: Path) -> None:
    recordio.write(tmp_path / "x.rec", [(7, Record(label=0.0, id=7, payload=small_sets.jpeg(1)[:-9]))])
    with RecordFile(tmp_path / "x.rec") as file:
        reader = record_sets.RecordReader(file, np.array([7]), 16)
        with pytest.raises(BrokenImageError, match=r"'7'.*without its end marker \(record 7 at byte 0 of .*x\.rec"):
            reader(np.array([0]))


def test_a_listing_is_kept_and_damage_to_it_is_an_error(small: Path, tmp_path: Path) -> None:
    with RecordFile(small) as file:
        listing = record_sets.list_images(file)
    record_sets.save_listing(tmp_path / "records.npz", listing)
    loaded = record_sets.load_listing(tmp_path / "records.npz")
    assert np.array_equal(loaded.keys, listing.keys)
    assert np.array_equal(loaded.labels, listing.labels)
    assert loaded.n_bytes == small.stat().st_size
    (tmp_path / "records.npz").write_bytes(b"damaged")
    with pytest.raises(FormatError, match=r"records\.npz' is damaged"):
        record_sets.load_listing(tmp_path / "records.npz")


@pytest.mark.realdata
def test_every_record_that_mxnet_wrote_equals_what_mxnet_reads(shared_data: Path) -> None:
    expected = json.loads((shared_data / "recordio" / "expected.json").read_text())
    with RecordFile(shared_data / "recordio" / "train.rec") as file:
        assert len(file) == 308
        for known in expected["records"]:
            found = file.read(known["key"])
            assert found.flag == known["flag"]
            assert list(found.label if isinstance(found.label, tuple) else (found.label,)) == known["label"]
            assert len(found.payload) == known["payload_bytes"]
            assert hashlib.sha256(found.payload).hexdigest()[:16] == known["sha256"]
        listing = record_sets.list_images(file)
    assert (len(listing.keys), len(set(listing.labels.tolist()))) == (247, 60)


@pytest.mark.realdata
def test_writing_what_mxnet_wrote_gives_the_same_bytes(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "recordio" / "train.rec"
    recordio.write(tmp_path / "train.rec", read_all(source).items())
    assert (tmp_path / "train.rec").read_bytes() == source.read_bytes()
    assert (tmp_path / "train.idx").read_bytes() == source.with_suffix(".idx").read_bytes()
