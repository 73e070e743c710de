"""Files between stages: written beside and renamed, hashed, and validated when read back."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bnas_face.errors import BnasFaceError, FormatError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary path beside `target` to write to; renamed onto `target` on success, removed on any error.

    The file is flushed to disk before the rename, so after a crash `target` is either the old or the new file.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(target, error) from error
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(target)
    except OSError as error:
        raise _cannot_write(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written in `folder` and below; nobody else may be writing there."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)


def _cannot_write(target: Path, error: OSError) -> BnasFaceError:
    return BnasFaceError(f"Cannot write '{target}': {error.strerror or error}. Earlier files are unchanged.")


def write_bytes(target: Path, content: bytes) -> None:
    """Write `content` to `target` atomically."""
    with atomic_path(target) as part:
        part.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write UTF-8 `content` to `target` atomically."""
    write_bytes(target, content.encode())


def write_json(target: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN and infinity are refused: an undefined number is ``null``."""
    write_text(target, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. NaN and infinity, which `write_json` refuses, are refused here, too.

    Raises
    ------
    FormatError
        If the file is absent or damaged; names the file, line and column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise FormatError(f"'{path}' does not exist.") from None
    except json.JSONDecodeError as error:
        raise FormatError(
            f"'{path}' is damaged JSON at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from None
    except RecursionError:
        raise FormatError(f"'{path}' is damaged JSON: it is nested too deeply.") from None
    except OSError as error:
        raise FormatError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # not UTF-8, a number of thousands of digits, NaN
        raise FormatError(f"'{path}' cannot be read: {str(error).rstrip('.')}.") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


@contextmanager
def locked(lock: Path, busy: BnasFaceError | None) -> Iterator[None]:
    """Hold the lock file `lock`, which the kernel releases when the process ends, however it ends.

    Raises
    ------
    BnasFaceError
        `busy` itself if another process holds the lock; None: wait for it.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise _cannot_write(lock, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise busy or OSError from None
        yield


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(*parts: str) -> str:
    """SHA-256 of the parts, each preceded by its length, as 64 hex digits (so that no two lists of parts collide)."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()
