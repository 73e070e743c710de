"""Eight bits after training: a smaller file that embeds nearly alike, and can be evaluated as it lies there."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from bnas_face import quantize
from bnas_face.cli import cli
from bnas_face.errors import CheckpointError, ConfigError, DatasetError, MissingDependencyError, UnknownNameError
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.backbones.onnx import OnnxNetwork

PREPROCESSING = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.5, 0.5, 0.25), colour_order="BGR", size_px=16)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    shapes = {"w": (64, 3, 3, 3), "v": (64, 64, 3, 3), "d": (64, 32)}
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "v"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "d"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("n", 3, 16, 16))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ("n", 32))],
        [numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name) for name, shape in shapes.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), str(tmp_path / "a.onnx")
    )
    return tmp_path / "a.onnx"


def test_the_quantised_file_is_small_and_embeds_nearly_alike(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "made" / "a_int8.onnx"
    found = quantize.int8(network, target, preprocessing=PREPROCESSING, calibrate="demo:4x2@64:6")
    assert (str(found), found.n_images) == ("6 images of demo:4x2@64", 6)
    assert target.stat().st_size < 0.6 * network.stat().st_size
    small = OnnxNetwork(target)
    assert (small.weight_bits, small.activation_bits) == (8, 8)
    options = {"mean": PREPROCESSING.mean, "std": PREPROCESSING.std, "colour_order": "BGR"}
    images = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), np.uint8)
    one, other = small.forward(images), OnnxNetwork(network, options=options).forward(images)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > 0.9  # images of noise, which no face prepares it for


def test_the_file_says_how_images_are_prepared_and_what_it_was_calibrated_on(network: Path, tmp_path: Path) -> None:
    target = tmp_path / "a_int8.onnx"
    quantize.int8(network, target, preprocessing=PREPROCESSING, calibrate="demo:4x2@64")
    found = OnnxNetwork(target).preprocessing
    assert (found.mean, found.std, found.colour_order, found.size_px) == (
        PREPROCESSING.mean, PREPROCESSING.std, "BGR", 16,
    )  # fmt: skip
    assert found.source == "side-car a_int8.onnx.json"
    kept = {entry.key: entry.value for entry in onnx.load(str(target)).metadata_props}
    assert kept["calibration"] == "8 images of demo:4x2@64"


def test_export_writes_eight_bits_beside_the_file_and_says_how_far_they_drift(network: Path) -> None:
    done = CliRunner().invoke(cli, ["export", f"onnx:{network}", "--to", "onnx_int8", "--calibrate", "demo:4x2@64"])
    assert done.exit_code == 0, done.output
    made = network.with_name("a_int8.onnx")
    first, second = done.output.splitlines()
    assert first == f"{made}: {made.stat().st_size:,} bytes; in float32 it has {network.stat().st_size:,}."
    assert second.startswith("Calibrated on 8 images of demo:4x2@64. On 24 rendered faces 1 − cosine is at most 0.")
    assert OnnxNetwork(made).activation_bits == 8
    again = CliRunner().invoke(cli, ["export", f"onnx:{made}", "--to", "onnx_int8"])
    assert str(again.exception) == f"'onnx:{made}' has 8 bits already. Evaluate it as it is."


def test_a_file_calibrated_on_tested_people_says_so() -> None:
    assert quantize.tested_by("lfw:deep")[0] == "lfw"
    assert {"cfp_ff", "cfp_fp"} <= set(quantize.tested_by("cfp"))
    assert quantize.tested_by("demo:4x2") == ()


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("dmo", UnknownNameError, "Unknown dataset 'dmo'. Did you mean 'demo'?"),
        ("demo:4x2:0", ConfigError, "--calibrate demo:4x2:0 asks for 0 images; expected 1 to 100000."),
        ("cifar10:test", ConfigError, "nothing may learn from it"),
        ("lfw", DatasetError, "lfw"),
    ],
)
def test_images_that_cannot_be_had_are_refused(
    spec: str, kind: type[Exception], message: str, network: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as refused:
        quantize.int8(network, tmp_path / "b.onnx", preprocessing=PREPROCESSING, calibrate=spec)
    assert message in str(refused.value)
    assert not (tmp_path / "b.onnx").exists()


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be quantised to 8 bits"):
        quantize.int8(tmp_path / "a.onnx", tmp_path / "b.onnx", preprocessing=PREPROCESSING, calibrate="demo:4x2")
    assert [path.name for path in tmp_path.iterdir() if "b.onnx" in path.name] == []


def test_without_onnxruntime_the_sentence_says_what_to_install(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"Quantising needs the package 'onnxruntime'"):
        quantize.int8(network, tmp_path / "b.onnx", preprocessing=PREPROCESSING, calibrate="demo:4x2")
