"""The packed engine: 1-bit weights and activations are bits, in the file and in the processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.model import PACKED, BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "packed"


def prepare(model: Model, folder: Path, calibrate: str) -> Prepared:
    """A 1-bit run packed into `folder`, or a packed file as it is."""
    from bnas_face.bench import exports
    from bnas_face.packed import provenance
    from bnas_face.packed.artifact import read

    if not model.is_one_bit and model.kind != PACKED:
        raise BenchError("it has no 1-bit weights")
    file = exports.packed(model, folder)
    floats = provenance.origin(read(file).provenance).floats
    return Prepared(file=file, shipped=file, file_format="packed", floats=floats)


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed on `threads` threads; numpy and the kernels are all that is imported."""
    from bnas_face.packed import load

    return load(file, threads=threads)
