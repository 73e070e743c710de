"""Where things lie on disk."""

from __future__ import annotations

import os
from pathlib import Path


def data_root() -> Path:
    """Folder of imported datasets: ``$BNASFACE_DATA``, else ``data/`` under the working directory."""
    return Path(os.environ.get("BNASFACE_DATA", "data"))


def cache_root() -> Path:
    """Folder of things that can be made again (embeddings): ``$BNASFACE_CACHE``, else ``.cache/`` in the data root."""
    return Path(os.environ.get("BNASFACE_CACHE", data_root() / ".cache"))


RUNS = Path("runs")
REPORTS = Path("reports")
