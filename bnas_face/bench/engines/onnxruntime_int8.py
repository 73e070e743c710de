"""onnxruntime with 8-bit weights and activations, quantised after training and calibrated on rendered faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.engines import onnxruntime
from bnas_face.bench.model import BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "onnxruntime int8"


def prepare(model: Model, threads: int) -> Prepared:
    """The float network quantised into the cache, or a file that is 8-bit already."""
    from bnas_face.bench import exports

    if model.is_one_bit:
        raise BenchError("its weights are 1-bit")
    file = model.path if model.info["weight_bits"] == 8 else exports.int8(model)
    return Prepared(
        file=file,
        file_bytes=file.stat().st_size,
        file_format="onnx int8",
        options={"preprocessing": model.preprocessing},
    )


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """As `onnxruntime.open`."""
    return onnxruntime.open(file, threads, options)
