"""Archives: nothing leaves the target, damage is one sentence with its byte, and complete files are kept."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
import small_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.data.formats import archives
from bnas_face.errors import BnasFaceError, DatasetError, FormatError

FILES = {"a/1.jpg": b"one", "a/b/2.jpg": os.urandom(3000), "c/empty.jpg": b""}


def everything(path: PurePosixPath) -> str | None:
    return str(path)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def found(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


MAKERS: dict[str, Callable[[Path], Path]] = {
    "tar": lambda folder: small_sets.tar(folder / "x.tar", FILES, "w"),
    "tar.gz": lambda folder: small_sets.tar(folder / "x.tar.gz", FILES, "w:gz"),
    "tar.bz2": lambda folder: small_sets.tar(folder / "x.tar.bz2", FILES, "w:bz2"),
    "tar.xz": lambda folder: small_sets.tar(folder / "x.tar.xz", FILES, "w:xz"),
    "zip": lambda folder: zipped(folder / "x.zip", FILES),
    "folder": lambda folder: small_sets.write_files(folder / "x", FILES),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_unpacks_to_the_same_files(tmp_path: Path, kind: str) -> None:
    told: list[tuple[int, int]] = []
    counts = archives.unpack(MAKERS[kind](tmp_path), tmp_path / "out", everything, lambda *at: told.append(at))
    assert found(tmp_path / "out") == FILES
    assert counts == archives.Unpacked(n_written=3, n_kept=0, n_skipped=0)
    assert told
    assert all(0 <= done <= total for done, total in told)


@pytest.mark.parametrize("kind", MAKERS)
def test_complete_files_are_kept_and_cut_ones_written_again(tmp_path: Path, kind: str) -> None:
    source = MAKERS[kind](tmp_path)
    archives.unpack(source, tmp_path / "out", everything)
    (tmp_path / "out" / "a" / "b" / "2.jpg").write_bytes(b"cut")
    kept = (tmp_path / "out" / "a" / "1.jpg").stat().st_ino
    counts = archives.unpack(source, tmp_path / "out", everything)
    assert (counts.n_written, counts.n_kept) == (1, 2)
    assert found(tmp_path / "out") == FILES
    assert (tmp_path / "out" / "a" / "1.jpg").stat().st_ino == kept


def test_unwanted_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    files = {"a/1.jpg": b"1", "a/readme.txt": b"", "__MACOSX/a/1.jpg": b"", "a/._1.jpg": b"", "./b/2.jpg": b"2"}
    source = small_sets.tar(tmp_path / "x.tar", files, "w")
    counts = archives.unpack(source, tmp_path / "out", lambda path: str(path) if path.suffix == ".jpg" else None)
    assert found(tmp_path / "out") == {"a/1.jpg": b"1", "b/2.jpg": b"2"}
    assert counts.n_skipped == 3


@pytest.mark.parametrize("name", ["../evil.jpg", "a/../../evil.jpg", "/tmp/evil.jpg", "C:/evil.jpg", "a\\..\\evil.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_path_that_would_leave_the_target_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    source = tmp_path / "x"
    (small_sets.tar(source, {name: b"!"}, "w") if kind == "tar" else zipped(source, {name: b"!"}))
    with pytest.raises(FormatError, match="would leave the target folder; the archive is refused"):
        archives.unpack(source, tmp_path / "deep" / "out", everything)
    assert {path.name for path in tmp_path.rglob("*")} == {"x"}


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_links_and_devices_are_passed_over_and_nothing_is_written_through_them(tmp_path: Path) -> None:
    outside = small_sets.write_files(tmp_path / "outside", {"secret.jpg": b"s"})
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.addfile(special("a", tarfile.SYMTYPE, str(outside)))
        archive.addfile(special("b.jpg", tarfile.SYMTYPE, str(outside / "secret.jpg")))
        archive.addfile(special("c.jpg", tarfile.LNKTYPE, "../outside/secret.jpg"))
        archive.addfile(special("d.jpg", tarfile.FIFOTYPE))
        archive.addfile(special("e.jpg", tarfile.CHRTYPE))
        info = tarfile.TarInfo("a/new.jpg")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"n"))
    counts = archives.unpack(tmp_path / "x.tar", tmp_path / "out", everything)
    assert counts == archives.Unpacked(n_written=1, n_kept=0, n_skipped=5)
    assert found(tmp_path / "out") == {"a/new.jpg": b"n"}
    assert found(outside) == {"secret.jpg": b"s"}


def test_a_link_in_a_zip_is_passed_over(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("a.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert archives.unpack(tmp_path / "x.zip", tmp_path / "out", everything).n_skipped == 1
    assert not (tmp_path / "out").exists()


def test_a_file_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for content in (b"1", b"22"):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with pytest.raises(FormatError, match=r"holds 'a\.jpg' twice"):
        archives.unpack(tmp_path / "x.tar", tmp_path / "out", everything)


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "max_unpacked_bytes", lambda source: 5_000_000)
    for source in (
        small_sets.tar(tmp_path / "x.tar.gz", {"a.jpg": b"", "bomb.jpg": bytes(6_000_000)}),
        zipped(tmp_path / "x.zip", {"a.jpg": b"", "bomb.jpg": bytes(6_000_000)}),
    ):
        with pytest.raises(FormatError, match="would unpack to more than 5,000,000 bytes"):
            archives.unpack(source, tmp_path / "out", everything)
    assert not (tmp_path / "out" / "bomb.jpg").exists()


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 << 20
    with gzip.open(tmp_path / "x.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf() + bytes(64 << 20))
    with pytest.raises(FormatError, match="has a header of more than"):
        archives.unpack(tmp_path / "x.tar.gz", tmp_path / "out", everything)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_an_archive_truncated_anywhere_is_one_sentence_with_file_and_byte(tmp_path: Path, kind: str) -> None:
    source = MAKERS[kind](tmp_path)
    content = source.read_bytes()
    end = len(content) if kind != "tar" else 6144  # three files and the two zero blocks of the end mark
    for length in sorted({*range(0, end, 97), *range(0, end, 512), end - 1}):
        source.write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"x\.\S+' is (truncated|damaged).* byte \d+") as caught:
            archives.unpack(source, tmp_path / "out", everything)
        assert "\n" not in str(caught.value)


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    source = MAKERS["tar"](tmp_path)
    content = bytearray(source.read_bytes())
    content[1024 + 150] ^= 1  # the checksum of the second header
    source.write_bytes(content)
    with pytest.raises(FormatError, match="a file header is not valid"):
        archives.unpack(source, tmp_path / "out", everything)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
def test_damaged_bytes_are_an_error_or_unpack(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    source = MAKERS[kind](folder)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 2000) - 1))] = data.draw(st.integers(0, 255))
    source.write_bytes(content)
    try:
        archives.unpack(source, folder / "out" / "deep", everything)
    except BnasFaceError as error:
        assert str(folder) in str(error)
    assert {path.name for path in (folder / "out").glob("*")} <= {"deep"}


@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00"]),
    rest=st.binary(max_size=600),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_an_error(tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes) -> None:
    source = tmp_path_factory.mktemp("archive") / "x"
    source.write_bytes(start + rest)
    with pytest.raises(FormatError, match="x' is"):
        archives.unpack(source, source.parent / "out", everything)


def test_an_absent_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no\.tar' does not exist"):
        archives.unpack(tmp_path / "no.tar", tmp_path / "out", everything)


def test_a_target_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(BnasFaceError, match=r"Cannot write '.*out/a/1\.jpg'"):
        archives.unpack(MAKERS["tar"](tmp_path), tmp_path / "out", everything)


def test_a_member_whose_name_is_no_utf8_is_refused_by_name(tmp_path: Path) -> None:
    source = small_sets.tar(tmp_path / "a.tar.gz", {"Jos\udce9/1.jpg": b"x"})
    with pytest.raises(DatasetError, match=r"'Jos\\xe9/1\.jpg', which is not UTF-8"):
        archives.unpack(source, tmp_path / "out", str)
