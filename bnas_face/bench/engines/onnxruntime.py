"""onnxruntime, float32, on the processor: the usual way of shipping a float network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.bench.model import BenchError, Model
from bnas_face.bench.prepared import Prepared

TITLE = "onnxruntime float32"


def prepare(model: Model, threads: int) -> Prepared:
    """The ONNX file itself, or a run exported to the cache."""
    from bnas_face.bench import exports

    if model.is_one_bit:
        raise BenchError("ONNX has no 1-bit weights: the file would hold floats")
    if model.info["weight_bits"] == 8:
        raise BenchError("its weights are 8-bit: see onnxruntime int8")
    file = exports.onnx(model)
    return Prepared(
        file=file, file_bytes=file.stat().st_size, file_format="onnx", options={"preprocessing": model.preprocessing}
    )


def open(file: Path, threads: int, options: dict[str, Any]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Embed on `threads` of onnxruntime's own threads, with its usual graph optimisations."""
    import onnxruntime

    from bnas_face.models.backbones._preprocessing import Preprocessing

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    preprocessing = Preprocessing(**options["preprocessing"])
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        embeddings: NDArray[np.float32] = session.run(None, {name: preprocessing.apply(images)})[0]
        return embeddings

    return run
