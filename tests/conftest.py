"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Networks of the tests are tiny: one thread each, and two test processes side by side (make test).
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data (``$BNASFACE_SHARED``, else ``../shared`` beside the checkout); skips where absent."""
    root = Path(os.environ.get("BNASFACE_SHARED", Path(__file__).parents[2] / "shared"))
    for folder in (root / "data", root):
        if (folder / "lfw" / "lfw_aligned_112.tar.gz").exists():
            return folder
    pytest.skip(f"no real data at '{root}': set BNASFACE_SHARED to the folder that holds data/lfw, data/cfp, …")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has its own data root, cache and working directory."""
    monkeypatch.delenv("BNASFACE_CACHE", raising=False)
    monkeypatch.setenv("BNASFACE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
