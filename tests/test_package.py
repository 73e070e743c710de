"""The wheel holds what the source tree does and works where no source tree is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.packed import artifact, load, pack

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    source = tmp_path_factory.mktemp("source")  # a copy: building must not leave build/ in the checkout
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if name.startswith(("bnas_face/", "protocols/")) or "/" not in name:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return next(out.glob("bnas_face-*.tar.gz"))


def build_wheel(source_distribution: Path, out: Path, **env: str) -> Path:
    """The wheel that ``pip install`` of the source distribution would install."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
    subprocess.run([*command, str(source_distribution)], check=True, capture_output=True, env={**os.environ, **env})
    return next(out.glob("bnas_face-*.whl"))


@pytest.fixture(scope="module")
def wheel(source_distribution: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source_distribution, tmp_path_factory.mktemp("wheel"))


def implementation_of(wheel: Path, home: Path) -> tuple[str, str]:
    """Which kernels run from an unpacked wheel, and what is said meanwhile."""
    zipfile.ZipFile(wheel).extractall(home)
    deps = next(path for path in sys.path if path.endswith("site-packages"))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(home), deps])}
    env.pop("BNASFACE_KERNELS", None)
    code = "from bnas_face.packed import kernels; print(kernels.__file__, kernels.implementation())"
    found = subprocess.run([sys.executable, "-c", code], cwd=home, env=env, capture_output=True, text=True, check=True)
    path, name = found.stdout.split()
    assert Path(path).is_relative_to(home)
    return name, found.stderr


@pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler is installed")
def test_a_source_distribution_brings_compiled_kernels(wheel: Path, tmp_path: Path) -> None:
    name, said = implementation_of(wheel, tmp_path)
    assert name in ("avx512-vpopcntdq", "avx2", "neon", "portable")
    assert said == ""


def test_a_source_distribution_installs_without_a_compiler(source_distribution: Path, tmp_path: Path) -> None:
    bare = build_wheel(source_distribution, tmp_path / "wheel", CC="/bin/false", CXX="/bin/false")
    assert not [name for name in zipfile.ZipFile(bare).namelist() if name.endswith(".so")]
    name, said = implementation_of(bare, tmp_path / "home")
    assert name == "numpy"
    assert "RuntimeWarning: The kernels of the packed engine are not compiled" in said


def test_the_wheel_holds_every_module_protocol_and_template(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "bnas_face").rglob("*.py")}
    cards = {f"bnas_face/{path.relative_to(ROOT)}" for path in (ROOT / "protocols").glob("*.toml")}
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "bnas_face/report/templates").iterdir() if p.is_file()}
    assert cards and templates
    assert modules | cards | templates <= inside


def test_the_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(purelib)
    # Dependencies come from this environment; PYTHONPATH (unlike .pth files) does not bring the source tree along.
    deps = next(path for path in sys.path if path.endswith("site-packages"))
    env = {**os.environ, "PYTHONPATH": deps}
    shown = subprocess.run(
        [python, "-m", "bnas_face", "ls", "protocols"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == sorted(
        p.stem for p in (ROOT / "protocols").glob("*.toml")
    )


def bare_python(home: Path, wheel: Path) -> Path:
    """An environment of Python, numpy and the unpacked wheel, as ``pip install --no-deps`` leaves it."""
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = Path(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    for name in ("numpy", "numpy.libs"):
        if (source := Path(np.__file__).parents[1] / name).is_dir():
            (purelib / name).symlink_to(source)
    zipfile.ZipFile(wheel).extractall(purelib)
    return python


def test_a_packed_model_runs_where_there_is_nothing_but_numpy(wheel: Path, tmp_path: Path) -> None:
    config = ModelConfig(width=0.13, embedding_dim=16, size_px=64, binarizer="xnor", activation_bits=1)
    graph = pack.lower(models.build(config).eval(), config.size_px)
    file = tmp_path / "model.bnn"
    artifact.write(file, artifact.Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = """
import importlib.util, sys
import numpy as np
from bnas_face.packed import load
absent = [name for name in ("torch", "click", "pandas", "scipy", "cv2") if importlib.util.find_spec(name) is None]
network = load("model.bnn", threads=1)
np.save("embeddings.npy", network(np.load("images.npy")))
print(len(absent), "bnas_face" in sys.modules, network.implementation)
"""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BNASFACE_KERNELS")}
    command = [bare_python(tmp_path / "env", wheel), "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["5", "True"]
    np.testing.assert_allclose(
        np.load(tmp_path / "embeddings.npy"), load(file, threads=1)(images), rtol=1e-5, atol=1e-6
    )
