"""Multiply-accumulates of an ONNX file, from the shapes that its own shape inference finds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Shapes = Mapping[str, Sequence[int]]
CONVOLUTIONS = ("Conv", "ConvInteger", "QLinearConv")
PRODUCTS = ("Gemm", "MatMul", "MatMulInteger", "QLinearMatMul")
UNCOUNTED = (
    *("ConvTranspose", "DeformConv", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"),
    *("If", "Loop", "Scan"),
)
"""Operations that multiply and are not counted: with one of them, the sum would be too small."""


def macs(path: Path, size_px: int) -> int | None:
    """Multiply-accumulates of convolutions and matrix products for one image.

    Parameters
    ----------
    path : Path
        An ONNX file that onnxruntime has opened.
    size_px : int
        Height and width of the image, where the file leaves them open.

    Returns
    -------
    int or None
        None where a shape stays unknown or an operation cannot be counted: no number rather than a wrong one.
    """
    import onnx

    try:
        model = onnx.load(str(path))
        batch = _fix_input(model.graph, size_px)
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        if any(node.op_type in UNCOUNTED for node in graph.node):
            return None
        shapes = _shapes(graph)
        every = sum(_node_macs(node, shapes) for node in graph.node)
    except Exception:  # of a file that is odd but runs; onnx raises what protobuf, numpy and its own C++ raise
        return None
    return every // batch


def _fix_input(graph: Any, size_px: int) -> int:
    """Give the image input whole numbers as its shape; returns the batch size."""
    constant = {tensor.name for tensor in graph.initializer}
    dimensions = next(value for value in graph.input if value.name not in constant).type.tensor_type.shape.dim
    for dimension, size in zip(dimensions, (1, 3, size_px, size_px), strict=True):
        if not dimension.dim_value:
            dimension.dim_value = size
    return int(dimensions[0].dim_value)


def _shapes(graph: Any) -> dict[str, list[int]]:
    found = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for values in (graph.input, graph.value_info, graph.output)
        for value in values
    }
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _node_macs(node: Any, shapes: Shapes) -> int:
    if node.op_type in CONVOLUTIONS:
        weight = shapes[node.input[3 if node.op_type == "QLinearConv" else 1]]
        return _known(shapes[node.output[0]]) * _known(weight[1:])
    if node.op_type in PRODUCTS:
        turned = node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute)
        return _known(shapes[node.output[0]]) * _known([shapes[node.input[0]][0 if turned else -1]])
    return 0


def _known(shape: Sequence[int]) -> int:
    """Product of sizes that are all known; 0 is how ONNX says that one is not."""
    if not all(shape):
        raise ValueError("a shape is not known")
    return math.prod(shape)
