"""The doctor looks at everything, says what is broken, and never falls over itself."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from bnas_face import doctor
from bnas_face.cli.doctor import command
from bnas_face.errors import MissingDependencyError
from bnas_face.packed import kernels
from bnas_face.torchvision_compat import ensure_torchvision


def test_a_sound_machine_has_no_problem() -> None:
    done = CliRunner().invoke(command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "Everything that was looked at works."
    for topic in ("processor", "threads", "GPU", *doctor.NEEDED, *doctor.EXTRAS, "disk"):
        assert f"· {topic} " in done.output


def test_a_broken_package_is_named_and_the_exit_code_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str, package: str | None = None) -> Any:
        if name == "safetensors":
            raise OSError("libfoo.so.1: cannot open\nshared object file")
        return real(name, package)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    done = CliRunner().invoke(command)
    assert "✗ safetensors" in done.output
    assert "broken: libfoo.so.1: cannot open shared object file (install again with -c constraints.txt)" in done.output
    assert isinstance(done.exception, MissingDependencyError)
    assert "1 of" in str(done.exception) and "checks failed: safetensors" in str(done.exception)


def test_a_torchvision_without_operators_is_told_and_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_torchvision()
    stand_in = SimpleNamespace(_has_ops=lambda: True)  # as torchvision_compat leaves it
    monkeypatch.setitem(sys.modules, "torchvision.extension", stand_in)
    line = doctor._package("torchvision", "torchvision")
    assert not line.problem
    assert "its own operators cannot be loaded beside this torch; ours stand in" in line.text


def test_the_kernels_that_run_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BNASFACE_KERNELS", raising=False)
    found = list(kernels.available())
    assert doctor._kernels().startswith(found[0])
    monkeypatch.setattr(kernels, "available", lambda: {"numpy": kernels.fallback})
    assert doctor._kernels() == "numpy only, exact but slow: install again where there is a C compiler"


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=5e8))
    line = doctor._disk()
    assert line.problem
    assert "0.5 GB free for runs" in line.text and "fewer than 2 GB" in line.text


def test_absent_extras_say_how_to_get_them() -> None:
    line = doctor._extra("no-such-distribution", "figures")
    assert line.text == "not installed (optional): pip install 'bnas_face[figures]'"


def test_no_data_says_what_needs_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BNASFACE_DATA", str(tmp_path / "none"))
    [line] = doctor._data()
    assert "demo needs nothing" in line.text
