"""torch.compile of the float network (inductor, channels last); compiling is warm-up and is not timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.engines import torch
from bnas_face.bench.model import Model
from bnas_face.bench.prepared import Prepared

TITLE = "torch.compile float32"


def prepare(model: Model, threads: int) -> Prepared:
    """As `torch.prepare`."""
    return replace(torch.prepare(model, threads), options={"compile": True})


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """As `torch.open`."""
    return torch.open(file, threads, options)
