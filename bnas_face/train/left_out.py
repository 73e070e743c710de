"""``left_out.txt``: the images that a training could not read and went on without, one sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bnas_face.errors import BnasFaceError

FILE = "left_out.txt"


class LeftOut:
    """The images left out of a run; every process of a training notes its own in the same file.

    Parameters
    ----------
    run_dir : Path
    goes_on : bool
        What an earlier call noted there is known. Otherwise it belongs to a run that is about to be removed.
    """

    def __init__(self, run_dir: Path, *, goes_on: bool) -> None:
        self.path = run_dir / FILE
        self._known = set(read(run_dir)) if goes_on else set[str]()

    @property
    def count(self) -> int:
        """Images left out, by all processes."""
        return len(read(self.path.parent))

    def note(self, reasons: Mapping[int, str]) -> int:
        """Add the sentences of a batch (by image) that are not in the file yet; returns how many the batch lacks."""
        new = [reason for reason in reasons.values() if reason not in self._known]
        if not new:
            return len(reasons)
        self._known.update(new)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{reason}\n" for reason in new))
        except OSError as error:
            raise BnasFaceError(f"Cannot write '{self.path}': {error.strerror}.") from None
        return len(reasons)


def read(run_dir: Path) -> list[str]:
    """The sentences of a run, each once; none if every image was read."""
    path = run_dir / FILE
    if not path.exists():
        return []
    return list(dict.fromkeys(path.read_text(encoding="utf-8", errors="replace").splitlines()))
