"""torch.compile of the float network (inductor, weights frozen, channels last); compiling is not timed."""

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


def prepare(model: Model, folder: Path, calibrate: str) -> Prepared:
    """As `torch.prepare`."""
    return replace(torch.prepare(model, folder, calibrate), options={"compile": True})


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """As `torch.open`; freezing folds batch norms into convolutions and lays weights out for the processor."""
    from torch._inductor import config

    config.freezing = True
    return torch.open(file, threads, options)
