"""Files are written beside and renamed; damaged ones are refused with their position."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnas_face import files
from bnas_face.errors import BnasFaceError, FormatError


def test_an_error_while_writing_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})
    with pytest.raises(ZeroDivisionError), files.atomic_path(target) as part:
        part.write_text("half")
        _ = 1 / 0
    assert files.read_json(target) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["a.json"]


def test_an_undefined_number_is_never_written_as_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_damaged_json_is_refused_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(FormatError, match="line 2, column 7"):
        files.read_json(path)


def test_absent_and_binary_json_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="does not exist"):
        files.read_json(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read"):
        files.read_json(tmp_path / "b.json")


def test_writing_into_a_folder_that_is_a_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(BnasFaceError, match="Cannot write"):
        files.write_text(tmp_path / "x" / "y.txt", "text")


def test_sha256_of_parts_does_not_collide_across_boundaries() -> None:
    assert files.sha256_text("ab", "c") != files.sha256_text("a", "bc")


def test_a_kill_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    code = (
        "import sys, time; from pathlib import Path; from bnas_face import files\n"
        f"with files.atomic_path(Path({str(target)!r})) as part:\n"
        "    part.write_text('new'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "writing\n"
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    time.sleep(0.01)
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("1" * 6000, "cannot be read: Exceeds the limit"),
        ('{"seconds": NaN}', "cannot be read: NaN is no JSON number"),
    ],
)
def test_hostile_json_is_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(FormatError, match=message):
        files.read_json(tmp_path / "a.json")


def test_what_killed_processes_left_half_written_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name in (".last.safetensors.x1.part", "last.safetensors"):
        (tmp_path / "state" / name).write_bytes(b"1")
    files.sweep(tmp_path)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["last.safetensors"]
