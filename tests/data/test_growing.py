"""Large files grow part by part; a kill at any moment loses the part begun and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnas_face.data.growing import GrowingFiles


def _grow(folder: Path, plan: str = "plan", *, until: int = 3, torn: bytes = b"") -> int:
    """Write parts up to `until` to two files, as one call would that is killed then; returns where it began."""
    with GrowingFiles((folder / "a", folder / "b"), plan) as growing:
        began = growing.n_parts
        for part in range(began, until):
            for file in growing.files:
                file.write(f"{part},".encode())
            growing.end_part({"seen": part})
        if torn:
            growing.files[0].write(torn)
        elif until == 3:
            growing.finish()
    return began


def test_files_appear_when_they_are_finished(tmp_path: Path) -> None:
    assert _grow(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "0,1,2,"


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_what_was_killed_goes_on_after_its_last_whole_part(tmp_path: Path, killed_after: int) -> None:
    _grow(tmp_path, until=killed_after, torn=b"half a pa")
    assert not (tmp_path / "a").exists()
    assert _grow(tmp_path) == killed_after
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "0,1,2,"


def test_another_plan_begins_again(tmp_path: Path) -> None:
    _grow(tmp_path, "old", until=2)
    assert _grow(tmp_path, "new") == 0
    assert (tmp_path / "a").read_text() == "0,1,2,"


def test_a_kill_between_the_two_last_renames_is_put_right(tmp_path: Path) -> None:
    _grow(tmp_path, until=3, torn=b"x")
    (tmp_path / ".a.part").rename(tmp_path / "a")
    assert _grow(tmp_path) == 3
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "0,1,2,"


@pytest.mark.parametrize("journal", ["", "{}", '{"plan": "plan", "n_parts": 2, "n_bytes": [4], "state": {}}', "[1]"])
def test_a_damaged_journal_begins_again(tmp_path: Path, journal: str) -> None:
    _grow(tmp_path, until=2)
    (tmp_path / ".a.journal").write_text(journal)
    assert _grow(tmp_path) == 0


def test_a_file_shorter_than_its_journal_says_begins_again(tmp_path: Path) -> None:
    _grow(tmp_path, until=2)
    (tmp_path / ".b.part").write_bytes(b"0")
    assert _grow(tmp_path) == 0
    assert (tmp_path / "b").read_text() == "0,1,2,"


def test_what_was_handed_over_with_a_part_is_known_again(tmp_path: Path) -> None:
    _grow(tmp_path, until=2)
    with GrowingFiles((tmp_path / "a", tmp_path / "b"), "plan") as growing:
        assert growing.state == {"seen": 1}
