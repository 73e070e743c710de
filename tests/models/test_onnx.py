"""``onnx:FILE``: preprocessing by precedence, any batch size, one clear error for whatever is wrong with the file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.errors import CheckpointError, ConfigError, FormatError, MissingDependencyError
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.backbones.onnx import OnnxNetwork


def write_network(
    path: Path,
    *,
    shape: tuple[Any, ...] = ("n", 3, 8, 8),
    weight: np.ndarray | None = None,
    element: int = TensorProto.FLOAT,
    reduce: bool = True,
) -> Path:
    """A network that embeds an image as the mean of each colour, times `weight` (3, embedding_dim)."""
    dtype = np.float16 if element == TensorProto.FLOAT16 else np.float32
    weight = np.eye(3, dtype=dtype) if weight is None else weight.astype(dtype)
    nodes = [helper.make_node("GlobalAveragePool", ["image"], ["pooled"])]
    nodes.append(helper.make_node("Flatten", ["pooled" if reduce else "image"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "weight"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", element, shape)],
        [helper.make_tensor_value_info("embedding", element, ("n", weight.shape[1]))],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def plain(*colour: int, n: int = 1, size_px: int = 8) -> np.ndarray:
    """`n` images of one RGB colour."""
    return np.tile(np.array(colour, np.uint8), (n, size_px, size_px, 1))


def test_default_maps_0_to_minus_1_and_255_to_plus_1(tmp_path: Path) -> None:
    network = OnnxNetwork(write_network(tmp_path / "a.onnx"))
    np.testing.assert_allclose(network.forward(plain(0, 255, 51)), [[-1, 1, -0.6]], atol=1e-6)
    assert network.preprocessing == Preprocessing(size_px=8, source="default")


def test_channels_are_red_green_blue_and_bgr_swaps_them(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx")
    red = plain(255, 0, 0)
    assert OnnxNetwork(path).forward(red)[0].tolist() == [1, -1, -1]
    assert OnnxNetwork(path, options={"colour_order": "BGR"}).forward(red)[0].tolist() == [-1, -1, 1]


def test_mean_and_std_of_bgr_are_in_the_order_of_the_network(tmp_path: Path) -> None:
    options = {"colour_order": "BGR", "mean": (0.0, 0.0, 1.0), "std": (1.0, 0.5, 2.0)}
    found = OnnxNetwork(write_network(tmp_path / "a.onnx"), options=options).forward(plain(255, 255, 0))
    np.testing.assert_allclose(found, [[0, 2, 0]], atol=1e-6)


@pytest.mark.parametrize("n_images", [1, 3, 4, 5, 9])
def test_a_last_part_smaller_than_a_fixed_batch_gives_the_same(tmp_path: Path, n_images: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 8, 8, 3), np.uint8)
    weight = rng.normal(size=(3, 5))
    anything = OnnxNetwork(write_network(tmp_path / "any.onnx", weight=weight)).forward(images)
    by_four = OnnxNetwork(write_network(tmp_path / "4.onnx", weight=weight, shape=(4, 3, 8, 8))).forward(images)
    assert by_four.shape == (n_images, 5)
    np.testing.assert_allclose(by_four, anything, rtol=1e-5, atol=1e-6)


def test_no_images_give_no_embeddings(tmp_path: Path) -> None:
    network = OnnxNetwork(write_network(tmp_path / "a.onnx"))
    assert network.forward(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 3)


def test_an_open_image_size_is_taken_from_the_options_else_112(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", shape=("n", 3, "height", "width"))
    assert OnnxNetwork(path).preprocessing.size_px == 112
    assert OnnxNetwork(path, options={"size_px": 64}).preprocessing.size_px == 64


def test_half_precision_counts_as_16_bits_and_returns_float32(tmp_path: Path) -> None:
    network = OnnxNetwork(write_network(tmp_path / "a.onnx", element=TensorProto.FLOAT16))
    assert (network.weight_bits, network.activation_bits, network.n_parameters) == (16, 16, 9)
    assert network.forward(plain(0, 0, 0)).dtype == np.float32


def test_parameters_and_bytes_are_counted(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", weight=np.ones((3, 7)))
    network = OnnxNetwork(path)
    assert (network.n_parameters, network.embedding_dim, network.weight_bits) == (21, 7, 32)
    assert network.file_bytes == path.stat().st_size


def test_side_car_beats_the_default_and_options_beat_the_side_car(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx")
    Path(f"{path}.json").write_text(json.dumps({"mean": [0, 0, 0], "colour_order": "BGR"}))
    by_side_car = OnnxNetwork(path).preprocessing
    assert (by_side_car.mean, by_side_car.colour_order) == ((0, 0, 0), "BGR")
    assert by_side_car.source == "side-car a.onnx.json"
    both = OnnxNetwork(path, options={"mean": (0.1, 0.2, 0.3), "std": None}).preprocessing
    assert (both.mean, both.std, both.colour_order) == ((0.1, 0.2, 0.3), (0.5, 0.5, 0.5), "BGR")
    assert both.source == "side-car a.onnx.json, then options"


@pytest.mark.parametrize(
    ("side_car", "message"),
    [
        ('{"maen": [0, 0, 0]}', "names 'maen'. Did you mean 'mean'? Known: mean, std, colour_order, size_px."),
        ('{"mean": 0.5}', "has mean 0.5; expected three numbers, one per colour, scale 0 to 1."),
        ('{"mean": [0, 0, "x"]}', 'has mean [0, 0, "x"]; expected three numbers'),
        ('{"size_px": "112"}', 'has size_px "112"; expected a whole number of pixels.'),
        ('{"colour_order": 3}', 'has colour_order 3; expected "RGB" or "BGR".'),
        ("[1]", "is not a JSON object with any of: mean, std, colour_order, size_px."),
        ('{"mean": [', "is damaged JSON at line 1, column 11"),
    ],
)
def test_a_damaged_side_car_is_one_sentence(tmp_path: Path, side_car: str, message: str) -> None:
    path = write_network(tmp_path / "a.onnx")
    Path(f"{path}.json").write_text(side_car)
    with pytest.raises(FormatError) as caught:
        OnnxNetwork(path)
    assert message in str(caught.value)
    assert "a.onnx.json" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (123.7, 116.3, 103.5)}, "look like the scale 0 to 255; divide them by 255."),
        ({"std": (0.0, 1.0, 1.0)}, "must be greater than 0 in every colour."),
        ({"mean": (float("nan"), 0.0, 0.0)}, "is not three finite numbers"),
        ({"colour_order": "GBR"}, "Colour order 'GBR' is not one of RGB, BGR."),
        ({"size_px": 64}, "takes images of 8 px; options says size_px 64."),
    ],
)
def test_options_out_of_range_are_one_sentence(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OnnxNetwork(write_network(tmp_path / "a.onnx"), options=options)
    assert message in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 100, -20])
def test_a_truncated_file_is_one_sentence(tmp_path: Path, keep: int) -> None:
    path = write_network(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError) as caught:
        OnnxNetwork(path)
    assert str(caught.value).startswith(f"ONNX file '{path}' ({path.stat().st_size} bytes) cannot be opened: ")
    assert "\n" not in str(caught.value)


def test_an_absent_file_suggests_the_nearest(tmp_path: Path) -> None:
    write_network(tmp_path / "mobile.onnx")
    with pytest.raises(CheckpointError) as caught:
        OnnxNetwork(tmp_path / "mobil.onnx")
    near = tmp_path / "mobile.onnx"
    assert str(caught.value) == f"ONNX file '{tmp_path / 'mobil.onnx'}' does not exist. Did you mean '{near}'?"


@pytest.mark.parametrize("shape", [("n", 1, 8, 8), ("n", 3, 8, 9), ("n", 24), ("n", 8, 8, 3)])
def test_an_input_that_is_no_square_rgb_image_is_refused(tmp_path: Path, shape: tuple[Any, ...]) -> None:
    weight = np.ones((24 if len(shape) == 2 else shape[1], 2))
    path = write_network(tmp_path / "a.onnx", shape=shape, weight=weight, reduce=len(shape) == 4)
    with pytest.raises(CheckpointError, match=r"Expected one float input of shape \(n, 3, size, size\)"):
        OnnxNetwork(path)


def test_an_output_that_is_no_row_per_image_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["image"], ["map"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3, 8, 8)) for name in ("image", "map")]
    graph = helper.make_graph(nodes, "map", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match=r"gives an output of shape \(1, 3, 8, 8\) for 1 images; expected"):
        OnnxNetwork(tmp_path / "a.onnx")


@pytest.mark.parametrize("package", ["onnxruntime", "onnx"])
def test_without_the_extra_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    path = write_network(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError) as caught:
        OnnxNetwork(path)
    assert 'pip install "bnas_face[onnx]"' in str(caught.value)


def test_training_an_onnx_file_is_refused_with_the_way_to_use_it() -> None:
    with pytest.raises(ConfigError, match="bnasface eval --model onnx:FILE"):
        models.build(ModelConfig(backbone="onnx"))


@pytest.mark.realdata
def test_the_outside_model_is_recognised_by_its_hash(shared_data: Path) -> None:
    network = OnnxNetwork(shared_data / "models" / "vface_mobilefacenet.onnx")
    assert network.preprocessing.mean == (0.485, 0.456, 0.406)
    assert network.preprocessing.source == "known file (vface MobileFaceNet, 128-d)"
    assert (network.embedding_dim, network.n_parameters, network.preprocessing.size_px) == (128, 989952, 112)
