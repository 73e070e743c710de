"""The packed engine: 1-bit weights and activations are bits, in the file and in the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.model import BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "packed"


def prepare(model: Model, threads: int) -> Prepared:
    """A 1-bit run, packed into the cache."""
    from bnas_face.bench import exports

    if not model.is_one_bit:
        raise BenchError("it has no 1-bit weights")
    file = exports.packed(model)
    return Prepared(file=file, file_bytes=file.stat().st_size, file_format="packed")


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed on `threads` threads; numpy and the kernels are all that is imported."""
    from bnas_face.packed import load

    return load(file, threads=threads)
