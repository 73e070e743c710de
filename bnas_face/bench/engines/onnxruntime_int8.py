"""onnxruntime with 8-bit weights and activations, quantised after training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.engines import onnxruntime
from bnas_face.bench.model import ONNX, BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "onnxruntime int8"


def prepare(model: Model, folder: Path, calibrate: str) -> Prepared:
    """The float network quantised into `folder`, or a file that is 8-bit already."""
    from bnas_face.bench import exports

    exports.refuse_packed(model)
    if model.is_one_bit:
        raise BenchError("its weights are 1-bit")
    is_ready = model.kind == ONNX and model.info["activation_bits"] == 8
    file = model.path if is_ready else exports.int8(model, folder, calibrate)
    return Prepared(
        file=file,
        shipped=file,
        file_format="onnx int8",
        is_quantised=not is_ready,
        images_at_once=model.images_at_once,
        options={"preprocessing": model.preprocessing},
    )


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """As `onnxruntime.open`."""
    return onnxruntime.open(file, threads, options)
