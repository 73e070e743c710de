"""Multiply-accumulates of ONNX files, against counting by hand and against the same network in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnas_face.models import onnx_cost


def write(path: Path, nodes: list[Any], constants: dict[str, tuple[int, ...]], batch: Any = "n", size: Any = 8) -> Path:
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (batch, 3, size, size))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


CONVOLUTION = [helper.make_node("Conv", ["image", "w"], ["out"], strides=[2, 2], pads=[1, 1, 1, 1])]
GROUPED = [helper.make_node("Conv", ["image", "w"], ["out"], group=3, pads=[1, 1, 1, 1])]
DENSE = [
    helper.make_node("Flatten", ["image"], ["flat"]),
    helper.make_node("Gemm", ["flat", "w"], ["middle"], transB=1),
    helper.make_node("MatMul", ["middle", "v"], ["out"]),
]


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        (CONVOLUTION, {"w": (5, 3, 3, 3)}, 4 * 4 * 5 * 27),
        (GROUPED, {"w": (6, 1, 3, 3)}, 8 * 8 * 6 * 9),
        (DENSE, {"w": (7, 192), "v": (7, 2)}, 192 * 7 + 7 * 2),
    ],
)
@pytest.mark.parametrize(("batch", "size"), [("n", 8), (1, 8), (4, 8), ("n", "side")])
def test_multiply_accumulates_are_those_of_one_image(
    nodes: list[Any], constants: dict[str, Any], expected: int, batch: Any, size: Any, tmp_path: Path
) -> None:
    assert onnx_cost.macs(write(tmp_path / "a.onnx", nodes, constants, batch, size), 8) == expected


def test_what_cannot_be_counted_is_none_and_not_too_small(tmp_path: Path) -> None:
    turned = [*CONVOLUTION[:0], helper.make_node("ConvTranspose", ["image", "w"], ["out"])]
    assert onnx_cost.macs(write(tmp_path / "a.onnx", turned, {"w": (3, 2, 3, 3)}), 8) is None
    unknown = [
        helper.make_node("Strange", ["image"], ["x"], domain="odd"),
        helper.make_node("MatMul", ["x", "w"], ["out"]),
    ]
    assert onnx_cost.macs(write(tmp_path / "b.onnx", unknown, {"w": (8, 2)}), 8) is None


@pytest.mark.realdata
def test_the_outside_mobilefacenet_has_as_many_as_its_layers_say(shared_data: Path) -> None:
    assert onnx_cost.macs(shared_data / "models" / "vface_mobilefacenet.onnx", 112) == 233_810_432
