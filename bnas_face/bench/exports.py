"""Files for the engines, made once from a network and kept in the cache under the hash of its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face import files
from bnas_face.bench.model import BenchError, Model
from bnas_face.config import cache_root

NEEDED = ("onnx", "onnxscript", "onnxruntime")
PER_CHANNEL_OPSET = 17
"""Of ONNX; 8-bit weights with a scale per channel need 13."""
CALIBRATION = "demo:50x4"
"""Rendered faces on which 8-bit ranges are measured: 200 images of 50 people."""


def onnx(model: Model) -> Path:
    """The network as ONNX, float32."""
    if model.kind == "onnx":
        return model.path

    def make(part: Path) -> None:
        from bnas_face import export

        export.to_onnx(model.path, part)

    return _kept(model, ".onnx", make)


def packed(model: Model) -> Path:
    """A 1-bit network as the packed engine reads it."""

    def make(part: Path) -> None:
        from bnas_face.packed.pack import pack_run

        pack_run(model.path, part)

    return _kept(model, ".bnn", make)


def int8(model: Model) -> Path:
    """The network quantised to 8 bits after training: per-channel weights, ranges of activations from `CALIBRATION`.

    onnxruntime's static quantisation (QDQ, signed 8-bit weights and activations), batch norms folded before.
    """
    source = onnx(model)

    def make(part: Path) -> None:
        import onnx as onnx_package
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference

        ready = part.with_suffix(".ready.onnx")
        try:
            raised = onnx_package.version_converter.convert_version(onnx_package.load(str(source)), PER_CHANNEL_OPSET)
            onnx_package.save(raised, str(ready))
            shape_inference.quant_pre_process(str(ready), str(ready))
            quantization.quantize_static(
                str(ready),
                str(part),
                _reader(model, str(ready)),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QInt8,
            )
        finally:
            ready.unlink(missing_ok=True)

    return _kept(model, ".int8.onnx", make)


def _reader(model: Model, file: str) -> Any:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader

    from bnas_face.data import datasets, loader
    from bnas_face.models.backbones._preprocessing import Preprocessing

    preprocessing = Preprocessing(**model.preprocessing)
    images = loader.decode_all(datasets.load(CALIBRATION), preprocessing.size_px)
    name = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.parts = iter(np.array_split(images, len(images)))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self.parts, None)
            return None if part is None else {name: preprocessing.apply(part)}

    return Reader()


def _kept(model: Model, ending: str, make: Callable[[Path], None]) -> Path:
    target = cache_root() / "bench" / f"{model.info['weights_sha256'][:32]}{ending}"
    if not target.is_file():
        try:
            with files.atomic_path(target) as part:
                make(part)
        except ModuleNotFoundError as error:
            if error.name not in NEEDED:
                raise
            raise BenchError(f"package '{error.name}' is missing: pip install \"bnas_face[onnx]\"") from error
    return target
