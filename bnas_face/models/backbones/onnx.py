"""``onnx:FILE``: a finished network of others, run through onnxruntime. It can be evaluated, not trained.

What the file does not say is how its input was normalised. In order of precedence: options; a side-car ``FILE.json``
(``net.onnx.json`` beside ``net.onnx``) with any of ``mean``, ``std``, ``colour_order``, ``size_px``; the table
`KNOWN_FILES`, by SHA-256; the default ``(x/255 − 0.5)/0.5``, RGB.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import files, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import CheckpointError, ConfigError, FormatError, MissingDependencyError
from bnas_face.models.backbones._preprocessing import Preprocessing

SIZES_PX: tuple[int, ...] = (64, 112)
"""Nothing is built here; these let `bnas_face.models.build` come as far as the sentence of `build`."""
OPTIONS = ("mean", "std", "colour_order", "size_px")
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
KNOWN_FILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "85cdeb7368ed6a1e9cbaaa6f283c6b2439f1fa533c17450bfdc7f357d285d5d1": ("vface MobileFaceNet, 128-d", IMAGENET),
}
QUANTIZED_OPERATIONS = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")


def build(config: ModelConfig, binarizer: object) -> Any:
    """Refuse: a network cannot be built from nothing here.

    Raises
    ------
    ConfigError
        Always; says how an ONNX file is used.
    """
    raise ConfigError(
        "Backbone 'onnx' runs a finished file and cannot be trained. Evaluate it with: bnasface eval --model onnx:FILE."
    )


class OnnxNetwork:
    """An ONNX file with one image input (n, 3, size, size) and an embedding (n, embedding_dim) as first output.

    Parameters
    ----------
    path : Path
    options : mapping
        Any of `OPTIONS`; wins over side-car and table. Values that are None count as absent.
    threads : int
        Of onnxruntime.

    Raises
    ------
    MissingDependencyError
        If onnxruntime or onnx is not installed.
    CheckpointError
        If the file is absent, damaged, or not a network from one image to one embedding.
    FormatError, ConfigError
        If the side-car or the options are damaged or contradict the file.
    """

    def __init__(self, path: Path, *, options: Mapping[str, Any] | None = None, threads: int = 2) -> None:
        content = _read(path)
        self.path = path
        self.file_bytes = len(content)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self._session = _open_session(path, content, threads)
        self._input, self._dtype, self.fixed_batch, fixed_size_px = _check_input(path, self._session)
        self._output = self._session.get_outputs()[0].name
        self.preprocessing = _preprocessing(path, self.sha256, options or {}, fixed_size_px)
        self.n_parameters, self.weight_bits, quantized = _count(content)
        self.activation_bits = 8 if quantized else 8 * np.dtype(self._dtype).itemsize
        size_px = self.preprocessing.size_px
        self.embedding_dim = int(self.forward(np.zeros((1, size_px, size_px, 3), np.uint8)).shape[1])

    def forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings, float32 (n, embedding_dim), of RGB uint8 images (n, size_px, size_px, 3), not normalised."""
        planes = self.preprocessing.apply(images).astype(self._dtype, copy=False)
        step = self.fixed_batch or len(planes)
        if step == 0:
            return np.zeros((0, self.embedding_dim), np.float32)
        return np.concatenate([self._run(planes[i : i + step], step) for i in range(0, len(planes), step)])

    def _run(self, planes: NDArray[Any], step: int) -> NDArray[np.float32]:
        """One call of the session; a last part smaller than a fixed batch size is padded and cut again."""
        padded = np.concatenate([planes, np.repeat(planes[-1:], step - len(planes), axis=0)])
        try:
            embeddings = np.asarray(self._session.run([self._output], {self._input: padded})[0])
        except Exception as error:  # onnxruntime's errors share no base class
            raise CheckpointError(f"ONNX file '{self.path}' fails on a batch of {step} images: {error}") from error
        if embeddings.ndim != 2 or len(embeddings) != step:
            raise CheckpointError(
                f"ONNX file '{self.path}' gives an output of shape {embeddings.shape} for {step} images; "
                f"expected ({step}, embedding_dim)."
            )
        return embeddings[: len(planes)].astype(np.float32, copy=False)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = tables.suggest(str(path), [str(file) for file in path.parent.glob("*.onnx")])
        raise CheckpointError(f"ONNX file '{path}' does not exist.{near}") from None
    except OSError as error:
        raise CheckpointError(f"ONNX file '{path}' cannot be read: {error.strerror}.") from None


def _require(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"Reading ONNX files needs the package '{name}'. Install it with: pip install \"bnas_face[onnx]\"."
        ) from error


def _open_session(path: Path, content: bytes, threads: int) -> Any:
    runtime = _require("onnxruntime")
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # what goes wrong is said once, by us
    try:
        return runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        reason = str(error).rpartition(" : ")[2].rstrip(".")
        raise CheckpointError(
            f"ONNX file '{path}' ({len(content)} bytes) cannot be opened: {reason}. Fetch or export it again."
        ) from error


def _check_input(path: Path, session: Any) -> tuple[str, Any, int | None, int | None]:
    """Name, dtype, fixed batch size and fixed image size (None where the file leaves them open) of the only input."""
    inputs = session.get_inputs()
    dtypes = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    if len(inputs) != 1 or not _is_image(inputs[0].shape) or inputs[0].type not in dtypes:
        found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "none"
        raise CheckpointError(
            f"ONNX file '{path}' has the inputs: {found}. Expected one float input of shape (n, 3, size, size)."
        )
    shape = inputs[0].shape
    batch = shape[0] if isinstance(shape[0], int) else None
    size_px = next((dimension for dimension in shape[2:] if isinstance(dimension, int)), None)
    return inputs[0].name, dtypes[inputs[0].type], batch, size_px


def _is_image(shape: list[Any]) -> bool:
    """Whether a shape, open dimensions as names or None, fits (n, 3, size, size)."""
    if len(shape) != 4:
        return False
    fixed = {dimension for dimension in shape[2:] if isinstance(dimension, int)}
    return (shape[1] == 3 or not isinstance(shape[1], int)) and len(fixed) <= 1


def _preprocessing(path: Path, sha256: str, options: Mapping[str, Any], fixed_size_px: int | None) -> Preprocessing:
    """Lay table, side-car and options over the default, and stamp where the values come from."""
    chosen: dict[str, Any] = {}
    sources: list[str] = []
    side_car = path.with_name(path.name + ".json")
    given = {name: value for name, value in options.items() if value is not None}
    if side_car.exists():
        chosen |= _read_side_car(side_car)
        sources.append(f"side-car {side_car.name}")
    elif sha256 in KNOWN_FILES:
        title, values = KNOWN_FILES[sha256]
        chosen |= values
        sources.append(f"known file ({title})")
    if given:
        chosen |= _checked(given, "The options")
        sources.append("options")
    if fixed_size_px is not None and chosen.setdefault("size_px", fixed_size_px) != fixed_size_px:
        raise ConfigError(
            f"ONNX file '{path}' takes images of {fixed_size_px} px; {sources[-1]} says size_px {chosen['size_px']}."
        )
    return Preprocessing(**chosen, source=", then ".join(sources) or "default")


def _read_side_car(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise FormatError(f"Side-car '{path}' is not a JSON object with any of: {', '.join(OPTIONS)}.")
    return _checked(content, f"Side-car '{path}'")


def _checked(values: Mapping[str, Any], who: str) -> dict[str, Any]:
    """The values with their types checked, lists as tuples."""
    for name in values:
        if name not in OPTIONS:
            raise FormatError(f"{who} names '{name}'.{tables.suggest(name, OPTIONS)} Known: {', '.join(OPTIONS)}.")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        shown = json.dumps(value, default=str)
        if name in ("mean", "std"):
            if not isinstance(value, list | tuple) or len(value) != 3 or not all(_is_number(v) for v in value):
                raise FormatError(f"{who} has {name} {shown}; expected three numbers, one per colour, scale 0 to 1.")
            value = tuple(float(v) for v in value)
        elif name == "size_px" and (not isinstance(value, int) or isinstance(value, bool)):
            raise FormatError(f"{who} has size_px {shown}; expected a whole number of pixels.")
        elif name == "colour_order" and not isinstance(value, str):
            raise FormatError(f'{who} has colour_order {shown}; expected "RGB" or "BGR".')
        checked[name] = value
    return checked


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(content: bytes) -> tuple[int, int, bool]:
    """Number of parameters, bits of most of them, and whether activations are quantised too.

    Parameters are the initializers, without those of type int64, which hold shapes.
    """
    onnx = _require("onnx")
    graph = onnx.load_model_from_string(content).graph
    by_bits: dict[int, int] = {}
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.INT64:
            bits = 8 * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            by_bits[bits] = by_bits.get(bits, 0) + int(np.prod(tensor.dims, dtype=np.int64))
    weight_bits = max(by_bits, key=lambda bits: by_bits[bits], default=32)
    quantized = any(node.op_type in QUANTIZED_OPERATIONS for node in graph.node)
    return sum(by_bits.values()), weight_bits, quantized
