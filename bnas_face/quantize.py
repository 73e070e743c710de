"""An ONNX network in 8 bits, quantised after training: the float world's own answer to small and fast."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import files
from bnas_face.data import datasets
from bnas_face.data.images import FaceImages, resize
from bnas_face.errors import CheckpointError, ConfigError, MissingDependencyError
from bnas_face.models.backbones._preprocessing import Preprocessing

CALIBRATE = "demo:50x4"
"""Rendered faces: 200 images of 50 people."""
N_IMAGES = 200
PER_CHANNEL_OPSET = 17
"""Of ONNX; 8-bit weights with a scale per channel need 13."""
ONNX = "onnx:"
ENDING = "_int8.onnx"
COMPARED = "demo:12x2"
"""Rendered faces that are embedded by both networks."""
QUANTISED = ("Conv", "Gemm", "MatMul")
"""Batch norms that cannot be folded stay float: in 8 bits they make iresnet18 slower and less exact."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the ranges of activations were measured on: `n_images` of the dataset `spec`."""

    spec: str
    n_images: int

    def __str__(self) -> str:
        return f"{self.n_images} images of {self.spec}"


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """What `export` wrote.

    Attributes
    ----------
    path : Path
    file_bytes, source_bytes : int
        Of the file and of the float ONNX file it was made from.
    calibration : Calibration
    tested_by : tuple of str
        Protocols whose images the calibration took: the file must not be tested on them.
    drift : float
        Largest 1 − cosine between the embeddings of an image before and after.
    n_images : int
        Rendered faces compared.
    """

    path: Path
    file_bytes: int
    source_bytes: int
    calibration: Calibration
    tested_by: tuple[str, ...]
    drift: float
    n_images: int


def export(spec: str, *, out: Path | None = None, calibrate: str = CALIBRATE) -> Quantised:
    """Write a run or an ONNX file in 8 bits, with its side-car, so that it can be evaluated.

    Parameters
    ----------
    spec : str
        A run folder, or ``onnx:FILE``.
    out : Path or None
        None: ``model_int8.onnx`` in the run folder, ``FILE_int8.onnx`` beside the file.
    calibrate : str
        See `int8`.

    Raises
    ------
    ConfigError
        If the network is 1-bit or in 8 bits already.
    CheckpointError, PackingError, MissingDependencyError, UnknownNameError, DatasetError
        See `int8` and `bnas_face.export.export`.
    """
    from bnas_face.models.backbones.onnx import OnnxNetwork

    with tempfile.TemporaryDirectory() as folder:
        source = _float_file(spec, Path(folder))
        network = OnnxNetwork(source)
        if network.activation_bits == 8:
            raise ConfigError(f"'{spec}' has 8 bits already. Evaluate it as it is.")
        target = out or (
            source.with_name(source.stem + ENDING) if spec.startswith(ONNX) else Path(spec) / f"model{ENDING}"
        )
        calibration = int8(source, target, preprocessing=network.preprocessing, calibrate=calibrate)
        faces = datasets.load(COMPARED)
        images = resize(faces.read(np.arange(len(faces))), network.preprocessing.size_px)
        made = OnnxNetwork(target)
        return Quantised(
            path=target,
            file_bytes=made.file_bytes,
            source_bytes=network.file_bytes,
            calibration=calibration,
            tested_by=tested_by(calibration.spec),
            drift=_drift(network.forward(images), made.forward(images)),
            n_images=len(images),
        )


def _float_file(spec: str, folder: Path) -> Path:
    """The float ONNX file that a model is, or is exported to in `folder`."""
    if spec.startswith(ONNX):
        return Path(spec.removeprefix(ONNX))
    from bnas_face import export as exports
    from bnas_face.models import cost, saved

    model, _, _ = saved.load(Path(spec))
    if cost.binary_parameters(model):
        raise ConfigError(f"'{spec}' has 1-bit weights; 8 bits would make it larger. Use --to packed.")
    return exports.export(Path(spec), "onnx", out=folder / "model.onnx").path


def tested_by(spec: str) -> tuple[str, ...]:
    """Protocols that test on images of a dataset; rendered protocols draw people of their own, and are none of them."""
    from bnas_face.evaluate import protocol

    name = spec.partition(":")[0]
    cards = {card: protocol.card(card) for card in protocol.names()}
    return tuple(
        card for card, found in cards.items() if found.dataset == name and getattr(found, "format", "") != "rendered"
    )


def _drift(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    own, new = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (one, other))
    return max(0.0, float(1 - (own * new).sum(axis=1).min()))


def int8(source: Path, target: Path, *, preprocessing: Preprocessing, calibrate: str = CALIBRATE) -> Calibration:
    """Quantise a float ONNX file to 8 bits.

    onnxruntime's static quantisation (QDQ; signed 8-bit weights with a scale per channel, signed 8-bit activations with
    the smallest and largest value seen), batch norms folded before.

    Parameters
    ----------
    source, target : Path
    preprocessing : Preprocessing
        Of the network; written beside `target` as a side-car, so that the file can be evaluated.
    calibrate : str
        ``"DATASET"`` or ``"DATASET:N"``: a dataset to train on, and how many of its images (`N_IMAGES`), evenly spread.
        Nobody may be measured on people whose images are taken here.

    Raises
    ------
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    UnknownNameError, DatasetError, ConfigError
        If the images cannot be had.
    CheckpointError
        If onnxruntime cannot quantise the network.
    """
    images, chosen = _images(calibrate)
    with files.atomic_path(target) as part:
        _quantise(source, part, _planes(images, preprocessing), str(chosen))
    kept = {name: value for name, value in preprocessing.as_dict().items() if name != "source"}
    files.write_json(target.with_name(target.name + ".json"), kept)
    return chosen


def _images(calibrate: str) -> tuple[FaceImages, Calibration]:
    """Images to calibrate on, and what to call them."""
    spec, _, last = calibrate.rpartition(":")
    if not (spec and last.isdecimal()):
        spec, last = calibrate, str(N_IMAGES)
    n_wanted = int(last)
    if not 1 <= n_wanted <= 100_000:
        raise ConfigError(f"--calibrate {calibrate} asks for {n_wanted} images; expected 1 to 100000.")
    every = datasets.load(datasets.training_spec(spec))
    picked = np.unique(np.linspace(0, len(every) - 1, min(n_wanted, len(every))).astype(np.int64))
    return every.select_images(picked), Calibration(spec=spec, n_images=len(picked))


def _planes(images: FaceImages, preprocessing: Preprocessing) -> Iterator[NDArray[np.float32]]:
    for at in range(len(images)):
        yield preprocessing.apply(resize(images.read(np.array([at])), preprocessing.size_px))


def _quantise(source: Path, target: Path, planes: Iterator[NDArray[np.float32]], calibration: str) -> None:
    try:
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization import shape_inference
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Quantising needs the package '{error.name}'. Install it with: pip install \"bnas_face[onnx]\"."
        ) from error
    ready = target.with_suffix(".ready.onnx")
    try:
        raised = onnx.version_converter.convert_version(onnx.load(str(source)), PER_CHANNEL_OPSET)
        onnx.save(raised, str(ready))
        shape_inference.quant_pre_process(str(ready), str(ready))
        quantization.quantize_static(
            str(ready),
            str(target),
            _reader(planes, str(ready)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QInt8,
        )
        made = onnx.load(str(target))
        onnx.helper.set_model_props(made, {"calibration": calibration})
        onnx.save(made, str(target))
    except Exception as error:  # the errors of onnx, protobuf and onnxruntime share no base class
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"ONNX file '{source}' cannot be quantised to 8 bits: {reason}.") from error
    finally:
        ready.unlink(missing_ok=True)


def _reader(planes: Iterator[NDArray[np.float32]], file: str) -> Any:
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader

    name = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def get_next(self) -> dict[str, Any] | None:
            """The next image under the input's name, or None after the last."""
            part = next(planes, None)
            return None if part is None else {name: part}

    return Reader()
