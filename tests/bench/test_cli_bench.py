"""``bnasface bench`` as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import write_run, write_twin


def bnasface(*arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "bnas_face", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    return done.returncode, done.stdout, done.stderr


def test_bench_prints_a_table_and_writes_its_files(tmp_path: Path) -> None:
    one_bit, twin = write_run(tmp_path / "mine"), write_twin(tmp_path / "twin")
    out = tmp_path / "cost"
    options = ["--threads", "1", "--batch", "1,2", "--rounds", "1", "--seconds", "0", "--engines", "packed,torch"]
    code, printed, told = bnasface("bench", str(one_bit), str(twin), *options, "--out", str(out))
    assert code == 0, told
    rows = [line.split() for line in printed.splitlines()]
    assert [row[:4] for row in rows if row[:1] in (["mine"], ["twin"])] == [
        *(["mine", "packed", "1", "1"], ["mine", "packed", "1", "2"]),
        *(["twin", "torch", "1", "1"], ["twin", "torch", "1", "2"]),
    ]
    assert "mine, torch: not measured, simulated: in torch its 1-bit values are floats" in printed
    assert "twin, packed: not measured, it has no 1-bit weights" in printed
    assert "1 thread: round 1 of 1" in told
    assert json.loads((out / "bench.json").read_text(encoding="utf-8"))["schema"] == "bnas_face.bench/1"
    assert (out / "bench.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--threads", "0"), "Error: --threads 0; expected whole numbers from 1 to "),
        (("x", "--threads", "two"), "'two' is not whole numbers with commas between them, as in 1,2."),
        (("x", "--engines", "onxruntime"), "Unknown engine 'onxruntime'. Did you mean 'onnxruntime'?"),
        (("x",), "'x' is no run folder. Expected a run folder such as runs/mine"),
        ((), "Missing argument 'MODEL...'"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, out, err = bnasface("bench", *arguments, "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert message in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_one_processor_is_enough_for_the_defaults(tmp_path: Path) -> None:
    """As in a container that is pinned to one processor of many."""
    code = (
        "import os, sys; os.sched_getaffinity = lambda pid: {0}; from bnas_face.cli import main; "
        "sys.argv[1:] = ['bench', sys.argv[1], '--engines', 'onnxruntime', '--out', sys.argv[2]]; main()"
    )
    command = [sys.executable, "-c", code, str(write_run(tmp_path / "mine")), str(tmp_path / "cost")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "cost" / "bench.json").read_text(encoding="utf-8"))
    assert [row["threads"] for row in found["rows"]] == [1, 1] and found["environment"]["usable_cores"] == 1


def test_report_makes_the_page_of_a_bench_again(tmp_path: Path) -> None:
    out = tmp_path / "cost"
    options = ["--threads", "1", "--batch", "1", "--rounds", "1", "--seconds", "0", "--engines", "packed"]
    code, printed, told = bnasface("bench", str(write_run(tmp_path / "mine")), *options, "--out", str(out))
    assert code == 0 and printed.splitlines()[-1] == f"Report: {out / 'bench.html'}", told
    before = (out / "bench.html").read_text(encoding="utf-8")
    (out / "bench.html").unlink()
    code, printed, told = bnasface("report", str(out))
    assert (code, told) == (0, "") and printed.startswith(str(out / "bench.html"))
    assert (out / "bench.html").read_text(encoding="utf-8") == before
