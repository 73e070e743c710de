"""A trained network as a file for others, ``model.bnn`` or ``model.onnx``, compared with it before it is kept.

The new file embeds rendered faces, and so does the run. Nothing is written if the two disagree.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bnas_face import files
from bnas_face.config import ModelConfig
from bnas_face.data import datasets
from bnas_face.data.images import resize
from bnas_face.errors import MissingDependencyError, PackingError
from bnas_face.metrics import thresholds
from bnas_face.models import saved
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.binarizers._convolution import BinaryConv2d, convolve
from bnas_face.models.reproducible import reproducible
from bnas_face.packed import artifact as artifacts
from bnas_face.packed import load, pack

KINDS = ("packed", "onnx")
FILES = {"packed": "model.bnn", "onnx": "model.onnx"}
LARGEST_DRIFT = {"int8": 1e-3, "fp16": 1e-4, "fp32": 1e-4}
"""1 − cosine between the embeddings of an image, by the precision of the float weights; of ONNX that of fp32."""
LARGEST_LOSS = 0.05
"""Difference of accuracies, four of 80 pairs: an untrained network's embeddings hardly differ, which makes ties."""
N_PEOPLE, N_IMAGES = 40, 2
ONNX_OPSET = 17

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written and how it compares with the run.

    Attributes
    ----------
    path : Path
    file_bytes, run_bytes : int
        Length of the file and of the run's ``weights.safetensors``.
    drift : float
        Largest 1 − cosine between the two embeddings of an image.
    n_images : int
        Rendered faces compared.
    accuracy, run_accuracy : float
        Of the file and of the run: share of as many genuine as impostor pairs decided rightly, at the threshold at
        which that is highest (chance is 0.5); of a classifier the share of images that the file puts into the run's
        class, and 1.
    """

    path: Path
    file_bytes: int
    run_bytes: int
    drift: float
    n_images: int
    accuracy: float
    run_accuracy: float


def export(run_dir: Path, to: str, *, out: Path | None = None, floats: str = "fp16") -> Exported:
    """Write a finished run as one file that runs without it.

    Parameters
    ----------
    run_dir : Path
    to : str
        One of `KINDS`. A 1-bit network in ONNX is the simulation: its weights are floats of two values.
    out : Path or None
        None: ``model.bnn`` or ``model.onnx`` in the run folder.
    floats : str
        For ``"packed"``, see `packed.pack.lower`.

    Raises
    ------
    CheckpointError
        If the run cannot be opened.
    PackingError
        If the network has a layer that cannot be exported, or the file embeds otherwise than the run; nothing is
        written.
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    """
    model, config, settings = saved.load(run_dir)
    target = out or run_dir / FILES[to]
    with files.atomic_path(target) as part:
        if to == "packed":
            artifacts.write(part, pack.pack(run_dir, model, config, settings, floats))
            found: Embed = load(part)
        else:
            found = _write_onnx(part, model, config)
        allowed = LARGEST_DRIFT[floats if to == "packed" else "fp32"]
        drift, accuracy, run_accuracy = _compare(model, config, found, target, allowed)
    return Exported(
        path=target,
        file_bytes=target.stat().st_size,
        run_bytes=(run_dir / saved.WEIGHTS).stat().st_size,
        drift=drift,
        n_images=N_PEOPLE * N_IMAGES,
        accuracy=accuracy,
        run_accuracy=run_accuracy,
    )


def _compare(
    model: nn.Module, config: ModelConfig, embed: Embed, target: Path, allowed: float
) -> tuple[float, float, float]:
    """Drift and the two accuracies; raises `PackingError` where they are too far apart."""
    size = 64 if config.size_px <= 64 else 112
    faces = datasets.load(f"demo:{N_PEOPLE}x{N_IMAGES}@{size}")
    images = resize(faces.read(np.arange(N_PEOPLE * N_IMAGES)), config.size_px)
    with torch.inference_mode():
        planes = torch.from_numpy(Preprocessing(size_px=config.size_px).apply(images))
        expected: NDArray[np.float32] = reproducible(model)(planes).numpy()
    one, other = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (expected, embed(images)))
    drift = float(1 - (one * other).sum(axis=1).min())
    if config.task == "classification":
        own, new = 1.0, float((one.argmax(axis=1) == other.argmax(axis=1)).mean())
    else:
        own, new = _accuracy(one), _accuracy(other)
    if not drift <= allowed or abs(own - new) > LARGEST_LOSS:
        raise PackingError(
            f"'{target}' was not written: it embeds otherwise than the run (1 − cosine up to {drift:.2g} of at most "
            f"{allowed:g}; accuracy {new:.2%} instead of {own:.2%}). Please report it."
        )
    return max(drift, 0.0), new, own


def _accuracy(unit: NDArray[np.float32]) -> float:
    """Share of pairs decided rightly, at the threshold at which that is highest: everybody's two images, and the first
    of them beside the second one of the next person."""
    first, second = unit[::N_IMAGES], unit[1::N_IMAGES]
    scores = np.concatenate([(first * second).sum(axis=1), (first * np.roll(second, -1, axis=0)).sum(axis=1)])
    is_genuine = np.arange(len(scores)) < len(first)
    return float(((scores >= thresholds.fit_observed(scores, is_genuine)) == is_genuine).mean())


class _Simulated(nn.Module):
    """A 1-bit convolution with its binary weights as constants and the sign as a comparison."""

    def __init__(self, layer: BinaryConv2d) -> None:
        super().__init__()
        self.layer = layer
        with torch.no_grad():
            self.register_buffer("binary", layer.binary_weight().detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        """As the layer's own."""
        layer, bits = self.layer, values
        if layer.activation_bits == 1:
            shift = getattr(layer, "shift", None)
            moved = values if shift is None else values - shift[None, :, None, None]
            bits = torch.where(moved < 0, -1.0, 1.0)
        result = convolve(layer, bits, self.get_buffer("binary"))
        return result * layer._input_magnitude(values) if layer.input_scale else result


def _write_onnx(path: Path, model: nn.Module, config: ModelConfig) -> Embed:
    """Write the network as ONNX with an open batch size, and open what was written."""
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"Exporting to ONNX needs the package '{package}'. Install it with: pip install \"bnas_face[onnx]\"."
            )
    from bnas_face.models.backbones.onnx import OnnxNetwork

    plain = copy.deepcopy(model)
    for name, layer in [(n, part) for n, part in plain.named_modules() if isinstance(part, BinaryConv2d)]:
        plain.set_submodule(name, _Simulated(layer))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's newer exporter needs one more package and gains nothing here
        torch.onnx.export(
            plain,
            (torch.zeros(2, 3, config.size_px, config.size_px),),
            str(path),
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_axes={"images": {0: "n"}, "embeddings": {0: "n"}},
        )
    return OnnxNetwork(path, options={"size_px": config.size_px}).forward
