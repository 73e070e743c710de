"""The kernels' C under sanitizers and, for ARM, under an emulator: compiled here, outside of the package.

With OpenMP, and with every call, however small, shared out among threads (``THREAD_NS``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "bnas_face/packed/kernels/src"
CHECK = Path(__file__).with_name("kernels_check.c")
FUZZ = Path(__file__).with_name("kernels_fuzz.py")
THREADED = ("-fopenmp", "-DTHREAD_NS=0")
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-ffp-contract=off", f"-I{SOURCES}", *THREADED)
SANITIZE = ("-g", "-O0", "-fPIC", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS = {"OMP_NUM_THREADS": "3", "OMP_THREAD_LIMIT": "16", "OMP_DYNAMIC": "false", "OMP_WAIT_POLICY": "passive"}
PYTHON_FILES = ("arguments.c", "memory.c", "module.c")


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """What a command says; fails with it where the command does."""
    found = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | THREADS | (env or {}),
    )
    assert found.returncode == 0, f"{' '.join(map(str, command))}\n{found.stdout}{found.stderr}"
    return found.stdout


def compile_all(compiler: str, flags: tuple[str, ...], sources: list[Path], folder: Path) -> list[Path]:
    """Objects of all sources, two at a time."""

    def one(source: Path) -> Path:
        target = folder / f"{source.stem}.o"
        run(compiler, *FLAGS, *flags, "-c", source, "-o", target)
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, sources))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every source compiled with AddressSanitizer and UndefinedBehaviorSanitizer: file name → object."""
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("sanitized")
    include = f"-isystem{sysconfig.get_path('include')}"
    sources = [*sorted(SOURCES.glob("*.c")), CHECK]
    return {path.stem: path for path in compile_all("gcc", (*SANITIZE, include), sources, folder)}


def test_sanitizers_find_nothing_in_the_kernels(sanitized: dict[str, Path], tmp_path: Path) -> None:
    objects = [path for name, path in sanitized.items() if f"{name}.c" not in PYTHON_FILES]
    run("gcc", "-fopenmp", *SANITIZE, *objects, "-lm", "-o", tmp_path / "check")
    said = run(tmp_path / "check", "12").splitlines()
    assert said[-2:] == ["portable", "0 wrong"]


def test_sanitizers_find_nothing_in_the_extension_whatever_it_is_given(
    sanitized: dict[str, Path], tmp_path: Path
) -> None:
    runtime = run("gcc", "-print-file-name=libasan.so").strip()
    objects = [path for name, path in sanitized.items() if name != CHECK.stem]
    run("gcc", "-shared", "-fopenmp", *SANITIZE, *objects, "-o", tmp_path / "_kernels.so")
    env = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1"}
    assert run(sys.executable, FUZZ, tmp_path / "_kernels.so", "3000", env=env) == "survived\n"


def test_neon_computes_what_is_defined(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
    missing = [name for name in (compiler, emulator) if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)")
    sources = [path for path in sorted(SOURCES.glob("*.c")) if path.name not in PYTHON_FILES]
    objects = compile_all(compiler, ("-O2",), [*sources, CHECK], tmp_path)
    run(compiler, "-static", "-fopenmp", *objects, "-lm", "-o", tmp_path / "check")
    assert run(emulator, tmp_path / "check", "15").splitlines() == ["neon", "portable", "0 wrong"]
