"""Archives (tar, tar.gz/bz2/xz, zip) and folders, unpacked safely.

No path leaves the target, links and devices are passed over, the unpacked size is bounded, and a truncated archive is
one sentence with its byte. Files are written beside and renamed, so whatever has its final name is complete and is
kept when the unpacking is started again.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from bnas_face.data.formats import folders
from bnas_face.errors import BnasFaceError, DatasetError, FormatError

Place = Callable[[PurePosixPath], str | None]
"""Path inside the archive → path below the target, or None for a file that is not wanted."""

Progress = Callable[[int, int], None]
"""Called with (bytes of the archive read, its size)."""

MAX_FILES = 5_000_000
_HEADER_BYTES = 1 << 24
"""A tar header (with its long names) may take this much, or memory could be filled by a header alone."""

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
    KeyError,
    struct.error,
    OSError,
)
"""What the standard library raises on damaged archives (found by fuzzing, see the tests)."""


class Readable(Protocol):
    """Anything with ``read(n)``."""

    def read(self, n: int = -1, /) -> bytes:
        """At most n bytes."""


@dataclass(frozen=True)
class Member:
    """A regular file of an archive: its checked relative path, its size, and where the archive was read to."""

    path: PurePosixPath
    n_bytes: int
    stream: Readable
    position: int


@dataclass(frozen=True)
class Unpacked:
    """Counts of an unpacking: files written now, files kept from an earlier attempt, members passed over."""

    n_written: int
    n_kept: int
    n_skipped: int


def max_unpacked_bytes(source: Path) -> int:
    """Largest size an archive may unpack to: 200 MB + 20 × its own (images barely compress; a bomb does 1000-fold)."""
    return 200_000_000 + 20 * source.stat().st_size


def unpack(source: Path, target: Path, place: Place, progress: Progress | None = None) -> Unpacked:
    """Unpack the wanted files of an archive (or copy those of a folder) below `target`.

    Parameters
    ----------
    source : Path
        tar, tar.gz, tar.bz2, tar.xz, zip, or a folder.
    target : Path
        Folder to write to. Files already there with the right size are kept.
    place : callable
        Where a member goes, or None to pass it over.

    Raises
    ------
    FormatError
        If the archive is damaged, truncated, encrypted, holds a path that would leave the target, holds a file twice,
        or is larger than `max_unpacked_bytes`; names the archive and the byte.
    DatasetError
        If `source` does not exist.
    """
    seen: set[str] = set()
    n_written = n_kept = n_skipped = 0
    for member in members(source, progress):
        where = None if member is None else place(member.path)
        if member is None or where is None:
            n_skipped += 1
            continue
        if where in seen:
            raise FormatError(
                f"'{source}' holds '{where}' twice (near byte {member.position}); which one is meant is unclear."
            )
        seen.add(where)
        if _write(source, member, target / where):
            n_written += 1
        else:
            n_kept += 1
    return Unpacked(n_written, n_kept, n_skipped)


def _write(source: Path, member: Member, out: Path) -> bool:
    """Write one file beside and rename it; False if a complete one is there already."""
    try:
        if out.is_file() and out.stat().st_size == member.n_bytes:
            return False
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.name}.part")
        with part.open("wb") as file:
            _copy(source, member, file)
        part.replace(out)
    except OSError as error:
        raise BnasFaceError(f"Cannot write '{out}': {error.strerror or error}. Earlier files are unchanged.") from error
    return True


def _copy(source: Path, member: Member, file: IO[bytes]) -> None:
    left = member.n_bytes
    while left:
        try:
            chunk = member.stream.read(min(left, 1 << 20))
        except _DAMAGE as error:
            raise _damaged(source, member.position, error) from None
        if not chunk:
            raise FormatError(f"'{source}' is truncated near byte {member.position}, inside '{member.path}'.")
        file.write(chunk)
        left -= len(chunk)
    try:
        rest = member.stream.read(1)  # zip compares its checksum here
    except _DAMAGE as error:
        raise _damaged(source, member.position, error) from None
    if rest:
        raise FormatError(
            f"'{source}' is damaged near byte {member.position}: '{member.path}' is longer than announced."
        )


def members(source: Path, progress: Progress | None = None) -> Iterator[Member | None]:
    """The regular files of an archive or folder in order; None for a link, device or hidden file (for counting)."""
    if source.is_dir():
        yield from _folder_members(source, progress)
        return
    try:
        with source.open("rb") as raw:
            start = raw.read(6)
            raw.seek(0)
            reading = _zip_members if start.startswith(b"PK") else _tar_members
            yield from _bounded(source, reading(source, raw, progress))
    except FileNotFoundError:
        raise DatasetError(f"'{source}' does not exist; expected an archive or a folder.") from None
    except PermissionError:
        raise DatasetError(f"'{source}' may not be read (permission denied).") from None


def _bounded(source: Path, found: Iterator[Member | None]) -> Iterator[Member | None]:
    limit, total = max_unpacked_bytes(source), 0
    for count, member in enumerate(found, 1):
        total += member.n_bytes if member else 0
        if total > limit or count > MAX_FILES:
            raise FormatError(
                f"'{source}' would unpack to more than {limit:,} bytes or {MAX_FILES:,} files; that is no set of "
                "images and is refused."
            )
        yield member


def safe_path(source: Path, name: str) -> PurePosixPath | None:
    """The member's relative path; None for a hidden file; `FormatError` for one that would leave the target."""
    folders.check_names(source, [name])
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        raise FormatError(
            f"'{source}' holds the path '{name}', which would leave the target folder; the archive is refused."
        )
    if any(len(os.fsencode(part)) > 200 for part in path.parts) or len(path.parts) > 16:
        raise FormatError(f"'{source}' holds a path that is too long or too deep: '{name[:80]}…'.")
    if not path.parts or any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return None
    return path


class _Limited:
    """A decompressed stream that refuses to be read past `limit` and remembers where the compressed file stands."""

    def __init__(self, source: Path, stream: IO[bytes]) -> None:
        self.source, self.stream = source, stream
        self.n_read = 0
        self.limit = _HEADER_BYTES

    def read(self, n: int = -1, /) -> bytes:
        if self.n_read > self.limit:
            raise FormatError(
                f"'{self.source}' has a header of more than {_HEADER_BYTES:,} bytes; the archive is refused."
            )
        data = self.stream.read(n)
        self.n_read += len(data)
        return data


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if start.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(raw)
    return raw


def _tar_members(source: Path, raw: IO[bytes], progress: Progress | None) -> Iterator[Member | None]:
    size = source.stat().st_size
    limited = _Limited(source, _decompressed(raw))
    try:
        tar = tarfile.open(fileobj=limited, mode="r|")  # type: ignore[call-overload]  # noqa: SIM115
    except _DAMAGE as error:
        raise _damaged(source, raw.tell(), error) from None
    while (info := _next_header(source, raw, tar, limited)) is not None:
        if not info.isdir():
            yield _tar_member(source, raw, tar, info)
        if progress:
            progress(raw.tell(), size)
    _check_end(source, raw, tar)


def _next_header(source: Path, raw: IO[bytes], tar: Any, limited: _Limited) -> tarfile.TarInfo | None:
    skip = max(0, tar.offset - limited.n_read)
    limited.limit = limited.n_read + skip + _HEADER_BYTES
    try:
        info: tarfile.TarInfo | None = tar.next()
        tar.members.clear()  # tarfile keeps every header it has seen
    except _DAMAGE as error:
        raise _damaged(source, raw.tell(), error) from None
    if info is not None:
        limited.limit = limited.n_read + max(0, info.size) + _HEADER_BYTES
    return info


def _tar_member(source: Path, raw: IO[bytes], tar: Any, info: tarfile.TarInfo) -> Member | None:
    path = safe_path(source, info.name)
    if info.size < 0:
        raise FormatError(f"'{source}' is damaged near byte {raw.tell()}: '{info.name}' has {info.size} bytes.")
    if path is None or not info.isreg() or info.issparse():
        return None
    return Member(path, info.size, tar.extractfile(info), raw.tell())


def _check_end(source: Path, raw: IO[bytes], tar: Any) -> None:
    """After the last member only zero blocks may follow: tarfile itself ends quietly at a damaged or missing header."""
    n_zeros = 0
    try:
        while chunk := tar.fileobj.read(1 << 16):
            if chunk.strip(b"\0"):
                raise FormatError(f"'{source}' is damaged near byte {raw.tell()}: a file header is not valid.")
            n_zeros += len(chunk)
    except _DAMAGE as error:
        raise _damaged(source, raw.tell(), error) from None
    if n_zeros < tarfile.BLOCKSIZE:
        raise FormatError(f"'{source}' is truncated: it ends at byte {raw.tell()} without the archive's end mark.")


def _zip_members(source: Path, raw: IO[bytes], progress: Progress | None) -> Iterator[Member | None]:
    size = source.stat().st_size
    try:
        archive = zipfile.ZipFile(raw)
    except _DAMAGE as error:
        raise _damaged(source, size, error) from None
    for info in archive.infolist():
        if info.is_dir():
            continue
        yield _zip_member(source, archive, info)
        if progress:
            progress(min(size, info.header_offset + info.compress_size), size)


def _zip_member(source: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member | None:
    path = safe_path(source, info.filename)
    mode = info.external_attr >> 16
    if path is None or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
        return None
    if info.flag_bits & 1:
        raise FormatError(
            f"'{source}' is encrypted ('{path}', byte {info.header_offset}). Unpack it with its password first."
        )
    try:
        stream = archive.open(info)
    except _DAMAGE as error:
        raise _damaged(source, info.header_offset, error) from None
    return Member(path, info.file_size, stream, info.header_offset)


def _folder_members(source: Path, progress: Progress | None) -> Iterator[Member | None]:
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    for done, file in enumerate(files, 1):
        path = safe_path(source, file.relative_to(source).as_posix())
        if path is None:
            yield None
        else:
            with file.open("rb") as stream:
                yield Member(path, file.stat().st_size, stream, 0)
        if progress:
            progress(done, len(files))


def _damaged(source: Path, position: int, error: BaseException) -> FormatError:
    size = source.stat().st_size if source.is_file() else 0
    if isinstance(error, EOFError) or (position >= size and "end of" in str(error)):
        return FormatError(
            f"'{source}' is truncated: its data ends at byte {size} in mid-file. Download or copy it again."
        )
    reason = " ".join(str(error).split()) or type(error).__name__
    return FormatError(f"'{source}' is damaged or no tar/zip archive (near byte {position} of {size}): {reason}.")


def remove(folder: Path) -> None:
    """Remove a folder of ours, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)
