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


def prepare(model: Model, folder: Path, calibrate: str) -> Prepared:
    """The ONNX file itself, or a run exported to `folder`."""
    from bnas_face.bench import exports

    exports.refuse_packed(model)
    if model.is_one_bit:
        raise BenchError("simulated: ONNX has no 1-bit weights, the file would hold floats")
    if model.info["activation_bits"] == 8:
        raise BenchError("its numbers are 8-bit: see onnxruntime_int8")
    file = exports.onnx(model, folder)
    return Prepared(
        file=file,
        shipped=file,
        file_format="onnx",
        images_at_once=model.images_at_once,
        options={"preprocessing": model.preprocessing},
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
    image = session.get_inputs()[0]
    dtype = np.float16 if image.type == "tensor(float16)" else np.float32
    fixed = image.shape[0] if isinstance(image.shape[0], int) else None

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = preprocessing.apply(images).astype(dtype, copy=False)
        step = fixed or len(planes)
        if len(planes) % step:  # a file of a fixed batch size cannot do less: the rest is computed for nothing
            planes = np.concatenate([planes, np.zeros((-len(planes) % step, *planes.shape[1:]), dtype)])
        parts = [session.run(None, {image.name: planes[at : at + step]})[0] for at in range(0, len(planes), step)]
        return np.concatenate(parts)[: len(images)].astype(np.float32, copy=False)

    return run
