"""Large files written part by part: killed at any moment, the same call goes on after the last whole part."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from bnas_face import files
from bnas_face.errors import FormatError


class GrowingFiles:
    """Files under hidden names that get their own when `finish` is called, in order, the last one last.

    Parameters
    ----------
    paths : sequence of Path
        In one folder.
    plan : str
        Names what is being written; what was begun under another plan is thrown away.

    Attributes
    ----------
    files : tuple of binary files
        Open at their ends, for the caller to write to.
    n_parts : int
        Whole parts on disk: begin with this one.
    state : mapping
        What was handed to `end_part` last; empty at the beginning.
    """

    def __init__(self, paths: Sequence[Path], plan: str) -> None:
        self.paths, self.plan = tuple(paths), plan
        self._hidden = tuple(path.with_name(f".{path.name}.part") for path in paths)
        self._journal = paths[0].with_name(f".{paths[0].name}.journal")
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        self.n_parts, sizes, self.state = self._begun()
        self.files: tuple[BinaryIO, ...] = tuple(map(_cut, self._hidden, sizes))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files:
            file.close()

    def end_part(self, state: Mapping[str, Any] | None = None) -> None:
        """What was written so far is whole; when this returns, it is safe on disk. `state`: JSON values to keep."""
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        self.n_parts, self.state = self.n_parts + 1, dict(state or {})
        sizes = [file.tell() for file in self.files]
        journal = {"plan": self.plan, "n_parts": self.n_parts, "n_bytes": sizes, "state": self.state}
        files.write_json(self._journal, journal)

    def finish(self) -> None:
        """Give the files their names."""
        self.__exit__(None, None, None)
        for hidden, path in zip(self._hidden, self.paths, strict=True):
            hidden.replace(path)
        self._journal.unlink(missing_ok=True)

    def _begun(self) -> tuple[int, list[int], dict[str, Any]]:
        """Whole parts, sizes of the files in bytes and state of an earlier call; zeros where nothing can be used."""
        nothing = (0, [0] * len(self.paths), dict[str, Any]())
        try:
            found = files.read_json(self._journal)
            whole = (int(found["n_parts"]), [int(n_bytes) for n_bytes in found["n_bytes"]], dict(found["state"]))
            if found["plan"] != self.plan or len(whole[1]) != len(self.paths):
                return nothing
        except (FormatError, KeyError, TypeError, ValueError):
            return nothing
        for hidden, path in zip(self._hidden, self.paths, strict=True):
            if path.exists() and not hidden.exists():
                path.replace(hidden)  # killed while `finish` renamed
        is_there = all(_size(path) >= n_bytes for path, n_bytes in zip(self._hidden, whole[1], strict=True))
        return whole if is_there else nothing


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _cut(path: Path, n_bytes: int) -> BinaryIO:
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(n_bytes)
    file.seek(n_bytes)
    return file
