"""The .bin reader: files of every age are read, and a hostile one runs nothing."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats import encoded, verification_bin
from bnas_face.data.formats.verification_bin import VerificationBin
from bnas_face.errors import FormatError

PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)


def dumped(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "items",
    [
        [b"a\xff\x00", b"b"],
        [np.frombuffer(b"a\xff\x00", np.uint8), np.frombuffer(b"b", np.uint8)],
        [np.frombuffer(b"a\xff\x00", np.uint8).reshape(3, 1), np.frombuffer(b"b", np.uint8).reshape(1, 1)],
        (b"a\xff\x00", np.frombuffer(b"b", np.uint8)),
    ],
    ids=["bytes", "arrays", "columns", "mixed"],
)
@pytest.mark.parametrize("flags", [[True], [np.True_], np.array([True]), [1], (True,)], ids=str)
def test_every_way_to_write_it_reads_alike(tmp_path: Path, protocol: int, items: Any, flags: Any) -> None:
    found = verification_bin.read(dumped(tmp_path / "x.bin", (items, flags), protocol))
    assert found.images == (b"a\xff\x00", b"b")
    assert found.is_genuine.tolist() == [True]


@pytest.mark.parametrize("pixels", [PIXELS, np.asfortranarray(PIXELS), PIXELS[::-1]], ids=["C", "Fortran", "view"])
def test_arrays_of_pixels_keep_their_shape(tmp_path: Path, pixels: np.ndarray[Any, Any]) -> None:
    found = verification_bin.read(dumped(tmp_path / "x.bin", ([pixels, pixels], [False])))
    assert all(np.array_equal(image, pixels) for image in found.images)
    assert found.is_genuine.tolist() == [False]


def python_2(core: bytes = b"numpy.core") -> bytes:
    """A file of Python 2: byte strings as SHORT_BINSTRING and BINSTRING, an array and a truth value of numpy."""
    array = (
        b"c" + core + b".multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\xff\x00tb"
    )
    text = b"T" + struct.pack("<i", 3) + b"\xff\xd8\x80"
    flag = b"c" + core + b".multiarray\nscalar\ncnumpy\ndtype\nU\x02b1K\x00K\x01\x87RU\x01\x01\x86R"
    return b"\x80\x02]" + array + b"a" + text + b"a](" + flag + b"e\x86."


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_byte_strings_of_python_2_and_both_names_of_numpy_are_read(tmp_path: Path, core: bytes) -> None:
    (tmp_path / "old.bin").write_bytes(python_2(core))
    found = verification_bin.read(tmp_path / "old.bin")
    assert found.images == (b"\xff\x00", b"\xff\xd8\x80")
    assert found.is_genuine.tolist() == [True]


def test_what_is_written_reads_back_here_and_by_the_reference(tmp_path: Path) -> None:
    content = VerificationBin(images=(b"one", b"two", PIXELS, b"four"), is_genuine=np.array([True, False]))
    verification_bin.write(tmp_path / "x.bin", content)
    found = verification_bin.read(tmp_path / "x.bin")
    assert found.images[:2] == (b"one", b"two")
    assert found.is_genuine.tolist() == [True, False]
    with (tmp_path / "x.bin").open("rb") as file:
        bins, issame_list = pickle.load(file, encoding="bytes")
    assert bins[3] == b"four"
    assert issame_list == [True, False]


def test_two_images_a_flag_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="3 images do not make 1 pairs"):
        verification_bin.write(tmp_path / "x.bin", VerificationBin(images=(b"",) * 3, is_genuine=np.array([True])))
    with pytest.raises(FormatError, match="holds 3 images and 1 flags"):
        verification_bin.read(dumped(tmp_path / "x.bin", ([b""] * 3, [True])))


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


HOSTILE = {
    "os.system": lambda out: pickle.dumps(([Call(os.system, f"touch {out}")], [True])),
    "eval": lambda out: pickle.dumps(([b"", b""], [Call(eval, f"open({str(out)!r}, 'w')")])),
    "old protocol": lambda out: b"cos\nsystem\n(S'touch " + str(out).encode() + b"'\ntR.",
    "INST": lambda out: b"(S'touch " + str(out).encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda out: b"(cos\nsystem\nS'touch " + str(out).encode() + b"'\no.",
    "NEWOBJ": lambda out: b"\x80\x02cpathlib\nPath\n)\x81.",
    "persistent id": lambda out: b"Pabc\n.",
    "extension": lambda out: b"\x80\x02\x82\x01.",
    "attribute of numpy": lambda out: b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
    "numpy.load": lambda out: b"cnumpy\nload\n(S'x'\ntR.",
    "numpy.fromfile": lambda out: b"cnumpy.core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
    "call of a class": lambda out: b"cnumpy\nndarray\n(K\x01tR.",
    "object array": lambda out: pickle.dumps((np.array([None, None]), [True])),
    "state of a function": lambda out: b"c_codecs\nencode\n}(U\x01aK\x01sb.",
    "dictionary": lambda out: pickle.dumps(({"a": b""}, [True])),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "was_run"
    (tmp_path / "x.bin").write_bytes(HOSTILE[kind](trace))
    with pytest.raises(FormatError, match=r"x\.bin' is (refused at|damaged or truncated near) byte \d+"):
        verification_bin.read(tmp_path / "x.bin")
    assert not trace.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as caught:
        verification_bin.read(dumped(tmp_path / "x.bin", Call(os.system, "true")))
    assert str(caught.value) == (
        f"'{tmp_path / 'x.bin'}' is refused at byte 28: it asks for '{os.system.__module__}.system', "
        "which a .bin has no need of. Nothing of it was run."
    )


def test_an_array_cannot_claim_more_than_the_file_holds(tmp_path: Path) -> None:
    honest = pickle.dumps(([np.zeros(7, np.uint8)] * 2, [True]), protocol=2)
    bomb = honest.replace(b"K\x07\x85", b"J\xff\xff\xff\x7f\x85")
    assert bomb != honest
    (tmp_path / "x.bin").write_bytes(bomb)
    with pytest.raises(FormatError, match="cannot reshape array of size 7"):
        verification_bin.read(tmp_path / "x.bin")


def test_one_image_shared_many_times_is_refused_before_memory_is_full(tmp_path: Path) -> None:
    image = np.zeros(1 << 20, np.uint8)
    with pytest.raises(FormatError, match="unpack to far more than the file holds"):
        verification_bin.read(dumped(tmp_path / "x.bin", ([image] * 600, [True] * 300)))
    text = b"\x80\x02]q\x00(X" + struct.pack("<i", 1 << 20) + b"a" * (1 << 20) + b"q\x01"
    again = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R" * 400
    (tmp_path / "x.bin").write_bytes(text + again + b"e.")
    with pytest.raises(FormatError, match="unpacks to far more than the file holds"):
        verification_bin.read(tmp_path / "x.bin")


def test_a_huge_memo_index_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\x80\x02](C\x01aC\x01be r\xff\xff\xff\x7f".replace(b" ", b"") + b"]\x88a\x86.")
    assert verification_bin.read(tmp_path / "x.bin").images == (b"a", b"b")


def test_a_file_truncated_at_any_byte_is_one_error(tmp_path: Path) -> None:
    content = pickle.dumps(([np.frombuffer(b"a\xff", np.uint8), b"b"], [True]), protocol=3)
    for length in range(len(content)):
        (tmp_path / "x.bin").write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"x\.bin' is damaged or truncated near byte \d+ of \d+: "):
            verification_bin.read(tmp_path / "x.bin")


@given(content=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.bin"):
        verification_bin.read(path)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_an_error_or_a_set(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(python_2())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    path.write_bytes(content)
    try:
        found = verification_bin.read(path)
    except FormatError as error:
        assert "x.bin" in str(error)
    else:
        assert len(found.images) == 2 * len(found.is_genuine)


@pytest.mark.parametrize(
    "content", [b"", None, 3, [1, 2, 3], ("a", "b"), ([b"", 5], [True]), ([b"", b""], [2])], ids=repr
)
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(FormatError, match=r"x\.bin'(:| holds| is damaged)"):
        verification_bin.read(dumped(tmp_path / "x.bin", content))


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no\.bin' cannot be read"):
        verification_bin.read(tmp_path / "no.bin")


@pytest.mark.realdata
def test_the_genuine_file_loads_and_decodes(shared_data: Path) -> None:
    found = verification_bin.read(shared_data / "insightface" / "small_lfw.bin")
    assert found.is_genuine.tolist() == [True] * 10
    assert len(found.images) == 20
    for item in found.images:
        assert isinstance(item, bytes)
        assert encoded.decode(item, "x").shape == (112, 112, 3)
