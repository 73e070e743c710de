"""Files for the engines, made once from a network into a folder that lasts as long as the measurement."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bnas_face.bench.model import ONNX, PACKED, BenchError, Model


def onnx(model: Model, folder: Path) -> Path:
    """The network as ONNX, float32, checked against the run."""
    if model.kind == ONNX:
        return model.path
    return _exported(model, folder, "onnx")


def packed(model: Model, folder: Path) -> Path:
    """A 1-bit network as the packed engine reads it, checked against the run."""
    if model.kind == PACKED:
        return model.path
    return _exported(model, folder, "packed")


def int8(model: Model, folder: Path, calibrate: str) -> Path:
    """The network quantised to 8 bits after training, see `quantize.int8`."""
    from bnas_face import quantize
    from bnas_face.models.backbones._preprocessing import Preprocessing

    target = folder / f"{_name(model)}.int8.onnx"
    if not target.is_file():
        source = onnx(model, folder)
        quantize.int8(source, target, preprocessing=Preprocessing(**model.preprocessing), calibrate=calibrate)
    return target


def _exported(model: Model, folder: Path, kind: str) -> Path:
    from bnas_face import export

    target = folder / f"{_name(model)}.{kind}"
    if not target.is_file():
        export.export(model.path, kind, out=target)
    return target


def _name(model: Model) -> str:
    """Of a model's own: two networks may have the same weights and use them otherwise."""
    return hashlib.sha256(str(model.path.resolve()).encode()).hexdigest()[:32]


def refuse_packed(model: Model) -> None:
    """Raise `BenchError` for a packed file, which no other engine reads."""
    if model.kind == PACKED:
        raise BenchError("it is a packed file; name the run it was made from")
