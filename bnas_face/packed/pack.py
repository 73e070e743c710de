"""Packing a trained network: run folder in, packed model out. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from bnas_face import __version__, files
from bnas_face.config import ModelConfig
from bnas_face.errors import PackingError
from bnas_face.models import cost, saved
from bnas_face.packed import fusion, lowering
from bnas_face.packed.artifact import Artifact
from bnas_face.packed.graph import Graph, Operation, before_signs
from bnas_face.packed.provenance import FLOATS, portable

FILE = "model.bnn"
PREPROCESSING = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "colour_order": "RGB"}
LARGEST_INT8 = 127
LARGEST_HALF = float(np.finfo(np.float16).max)


def pack(run_dir: Path, model: nn.Module, config: ModelConfig, settings: Mapping[str, Any], floats: str) -> Artifact:
    """The packed model of a finished run, as `saved.load` opened it; nothing is written.

    Raises
    ------
    PackingError
        If it has a layer that the packed engine does not have; names it.
    """
    weights = run_dir / saved.WEIGHTS
    provenance = {
        "run": run_dir.resolve().name,
        "config": portable(settings),
        "weights_sha256": files.sha256_file(weights),
        "weights_bytes": weights.stat().st_size,
        "cost": cost.summary(model, config, weights_file=weights),
        "layers": cost.by_kind(model, config.size_px),
        "bnas_face": __version__,
        "floats": floats,
    }
    graph = lower(model, config.size_px, floats=floats)
    return Artifact(graph=graph, preprocessing=PREPROCESSING, provenance=provenance)


def lower(model: nn.Module, size_px: int, *, floats: str = "fp16") -> Graph:
    """The packed engine's graph of a network.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode, on the CPU.
    size_px : int
    floats : str
        ``"fp16"`` stores the weights of float convolutions and linear layers in half precision where no sign comes
        after them, so that rounding turns no bit. ``"fp32"`` stores all in single precision, as everything else is.
        ``"int8"`` is ``"fp16"`` but for linear layers, whose weights are whole multiples of a step of each output.

    Raises
    ------
    PackingError
        If there is a layer that the packed engine does not have, or a weight beyond half precision; names it.
    """
    if floats not in FLOATS:
        raise PackingError(f"Floats '{floats}' are not one of {', '.join(FLOATS)}.")
    if model.training:
        raise PackingError("The network is in training mode, in which batch norms have no fixed values. Call eval().")
    operations = fusion.fuse(lowering.lower(model, size_px).nodes)
    if floats == "int8":
        _quantise(operations)
    if floats != "fp32":
        _halve(operations)
    return Graph(operations=operations, size_px=size_px, embedding_dim=operations[-1].tensors["weight"].shape[0])


def _quantise(operations: Sequence[Operation]) -> None:
    """Store the weights of linear layers as 8-bit multiples of a step per output, the largest at ±127 steps."""
    for operation in operations:
        if operation.kind != "linear":
            continue
        weight: Any = operation.tensors["weight"]
        step = np.abs(weight).max(axis=1) / LARGEST_INT8
        step[step == 0] = 1.0
        operation.tensors["weight"] = np.rint(weight / step[:, None]).astype(np.int8)
        scale: Any = operation.tensors.get("scale", np.ones(len(weight), np.float32))
        operation.tensors["scale"] = (scale * step).astype(np.float32)


def _halve(operations: Sequence[Operation]) -> None:
    """Store float weights in half precision where no sign depends on them."""
    for operation, signed in zip(operations, before_signs(operations), strict=True):
        weight: Any = operation.tensors.get("weight")
        if signed or getattr(weight, "dtype", None) != np.float32:
            continue
        if np.abs(weight).max() > LARGEST_HALF:
            raise PackingError(f"Layer '{operation.name}' has weights beyond {LARGEST_HALF:g}. Use --floats fp32.")
        operation.tensors["weight"] = weight.astype(np.float16)
