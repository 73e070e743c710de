"""The packed engine equals the trained network: its bits after every sign, its embeddings, its decisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import BINARY, NETWORKS, ONEBIT_PAIRS, built, config_of, images_of
from torch import Tensor, nn

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.errors import PackingError
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.packed import Network, artifact, load, pack, runtime
from bnas_face.packed.artifact import Artifact
from bnas_face.packed.kernels import Epilogue, fallback


def packed(model: nn.Module, name: str, folder: Path, floats: str = "fp32") -> Network:
    """The network, written and opened again."""
    graph = pack.lower(model, config_of(name).size_px, floats=floats)
    path = folder / "model.bnn"
    artifact.write(path, Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    return load(path, threads=1)


def simulated(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the network in torch makes of the images."""
    with torch.inference_mode():
        found: np.ndarray = model(torch.from_numpy(Preprocessing().apply(images))).numpy()
    return found


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the rows."""
    found: np.ndarray = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_those_of_the_simulation(name: str, tmp_path: Path) -> None:
    model, images = built(name), images_of(name, 3)
    found, expected = packed(model, name, tmp_path)(images), simulated(model, images)
    assert found.shape == expected.shape and found.dtype == np.float32
    assert (1 - cosines(found, expected)).max() < 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def torch_signs(model: nn.Module, images: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every 1-bit convolution by its full name: the floats before the batch norm in front of it (or before its own
    sign), and the signs that it takes, both (n, h, w, c)."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    before: dict[int, Tensor] = {}  # of every batch norm's output

    def norm_hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        before[id(output)] = inputs[0]
        alive.append(output)  # so that ids stay unique

    def sign_hook(name: str, module: BinaryConv2d, inputs: tuple[Tensor]) -> None:
        source = before.get(id(inputs[0]), inputs[0])
        parts = (source, module.activation(inputs[0]))
        found[name] = tuple(part.permute(0, 2, 3, 1).contiguous().numpy() for part in parts)  # type: ignore[assignment]

    alive: list[Tensor] = []
    for name, part in model.named_modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_hook(norm_hook)
        elif isinstance(part, BinaryConv2d):
            part.register_forward_pre_hook(lambda module, inputs, name=name: sign_hook(name, module, inputs))
    simulated(model, images)
    return found


@pytest.mark.parametrize("name", BINARY)
def test_every_sign_of_the_simulations_own_floats_is_the_simulations(name: str, tmp_path: Path) -> None:
    network = packed(built(name), name, tmp_path)
    expected = torch_signs(built(name), images_of(name, 2))
    seen = set()
    for operation in network.graph.operations:
        if operation.bits is None:
            continue
        seen.add(operation.signs_of)
        if "threshold" in operation.tensors:
            values, signs = expected[operation.signs_of]
            flip = operation.tensors.get("flip", np.zeros(values.shape[3], np.uint8))
            bits = fallback.pack_signs(values, operation.tensors["threshold"], flip)
            np.testing.assert_array_equal(fallback.unpack(bits, values.shape[3]), signs, err_msg=operation.signs_of)
    assert seen == set(expected)


@pytest.mark.parametrize("name", BINARY)
def test_sums_of_the_simulations_own_signs_are_its_sums(name: str, tmp_path: Path) -> None:
    """Every 1-bit convolution, fed the simulation's bits; integer thresholds give the simulation's next bits."""
    model = built(name)
    network = packed(model, name, tmp_path)
    expected = torch_signs(model, images_of(name, 2))
    layers = dict(model.named_modules())
    n_integer = 0
    for operation in network.graph.operations:
        if operation.kind != "binary_convolution":
            continue
        _, signs = expected[operation.name]
        layer = layers[operation.name]
        assert isinstance(layer, BinaryConv2d)
        weight = fallback.prepare_binary(
            runtime.words(operation.tensors["weight"]),  # type: ignore[arg-type]
            in_channels=layer.in_channels,
            groups=layer.groups,
        )
        arguments = {"in_channels": layer.in_channels, **operation.settings}
        after = runtime.epilogue(operation, layer.out_channels)
        if "integer_threshold" in operation.tensors:
            n_integer += 1
            _, bits = fallback.binary_convolution(fallback.pack(signs < 0), weight, epilogue=after, **arguments)
            assert bits is not None
            _, next_signs = expected[operation.signs_of]
            np.testing.assert_array_equal(fallback.unpack(bits, layer.out_channels), next_signs)
        plain = Epilogue(scale=np.ones(layer.out_channels, np.float32), bias=np.zeros(layer.out_channels, np.float32))
        sums, _ = fallback.binary_convolution(fallback.pack(signs < 0), weight, epilogue=plain, **arguments)
        with torch.inference_mode():
            wanted = torch.nn.functional.conv2d(
                torch.from_numpy(signs).permute(0, 3, 1, 2),
                torch.sign(layer.binary_weight()),
                None,
                layer.stride if operation.settings["stride"] == layer.stride[0] else 1,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
        np.testing.assert_array_equal(sums, wanted.permute(0, 2, 3, 1).numpy())
    assert (n_integer > 0) == name.endswith("block")


@pytest.mark.parametrize("name", ["iresnet18-xnor-a1-convolution", "onebit-xnor-a1", "objects"])
def test_half_precision_turns_no_sign_and_keeps_the_embedding(name: str, tmp_path: Path) -> None:
    model, images = built(name), images_of(name, 3)
    half = packed(model, name, tmp_path, floats="fp16")
    dtypes = {
        operation.name: str(operation.tensors["weight"].dtype)
        for operation in half.graph.operations
        if "weight" in operation.tensors
    }
    assert dtypes["embedding" if name.startswith("iresnet") else list(dtypes)[-1]] == "float16"
    stem = next(iter(dtypes))
    assert dtypes[stem] == ("float16" if name == "objects" else "float32"), "no sign follows the stem of objects"
    assert (1 - cosines(half(images), simulated(model, images))).max() < 1e-4
    assert half.file_bytes < packed(model, name, tmp_path).file_bytes


def test_floats_that_nobody_reads_are_not_made(tmp_path: Path) -> None:
    network = packed(built("iresnet18-xnor-a1-block"), "iresnet18-xnor-a1-block", tmp_path)
    inner = [operation for operation in network.graph.operations if operation.name.endswith("conv1")]
    assert len(inner) == 8 and all(operation.floats is None for operation in inner)
    kinds = {operation.kind for operation in network.graph.operations}
    assert kinds == {"convolution", "binary_convolution", "linear"}, "norms, signs, sums and activations are folded"


def test_embeddings_depend_neither_on_threads_nor_on_the_batch(tmp_path: Path) -> None:
    name = "onebit-xnor-a1"
    network = packed(built(name), name, tmp_path)
    images = images_of(name, 5)
    whole = network(images)
    single = np.concatenate([network(images[at : at + 1]) for at in range(5)])
    np.testing.assert_array_equal(whole, single)
    np.testing.assert_array_equal(whole, load(tmp_path / "model.bnn", threads=3)(images))
    assert network(images[:0]).shape == (0, 16)


def test_what_cannot_be_packed_is_refused_by_its_full_name() -> None:
    settings = NETWORKS["iresnet18-xnor-a1-convolution"] | {"input_scale": True}
    model = models.build(ModelConfig(**settings)).eval()
    with pytest.raises(PackingError, match=r"Layer 'blocks\.0\.0\.conv' multiplies by the magnitudes of its input"):
        pack.lower(model, 64)
    model = models.build(ModelConfig(backbone="inception_resnet_v1", size_px=112)).eval()
    with pytest.raises(PackingError, match=r"Layer 'network' is a InceptionResnetV1"):
        pack.lower(model, 112)
    none = genotypes.from_pairs("onebit", [("none", 0), *ONEBIT_PAIRS[1:]], ONEBIT_PAIRS)
    model = models.build(ModelConfig(**(NETWORKS["onebit-xnor-a1"] | {"genotype": none}))).eval()
    with pytest.raises(PackingError, match=r"Layer 'cells\.0\.operations\.0' is the operation 'none'"):
        pack.lower(model, 32)
    with pytest.raises(PackingError, match=r"training mode"):
        pack.lower(built("objects").train(), 32)
    with pytest.raises(PackingError, match=r"Floats 'int4'"):
        pack.lower(built("objects"), 32, floats="int4")


def test_weights_beyond_half_precision_are_refused() -> None:
    model = built("objects")
    with torch.no_grad():
        model.get_parameter("head.classifier.weight")[0, 0] = 1e6
    with pytest.raises(PackingError, match=r"'head.classifier' has weights beyond 65504. Use --floats fp32."):
        pack.lower(model, 32)
