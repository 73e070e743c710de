"""A W1A1 network's bits are the same everywhere: in torch in any layout and batch, and in every packed engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import BINARY, built, config_of, images_of
from torch import Tensor, nn

from bnas_face.data import datasets
from bnas_face.data.images import resize
from bnas_face.metrics import thresholds
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.reproducible import _WholeSums, reproducible
from bnas_face.packed import artifact, kernels, load, pack, runtime
from bnas_face.packed.artifact import Artifact
from bnas_face.packed.graph import Operation
from bnas_face.packed.kernels import Epilogue, fallback

IMPLEMENTATIONS = list(kernels.available())


def torch_bits(model: nn.Module, values: Tensor) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Embeddings, and the signs (n, h, w, c) that every 1-bit convolution takes, of the reproducible network."""
    network, found = reproducible(model), {}

    def hook(name: str, module: _WholeSums, inputs: tuple[Tensor]) -> None:
        found[name] = module.layer.activation(inputs[0]).permute(0, 2, 3, 1).numpy()

    for name, part in network.named_modules():
        if isinstance(part, _WholeSums):
            part.register_forward_pre_hook(lambda module, inputs, name=name: hook(name, module, inputs))
    with torch.inference_mode():
        return network(values).numpy(), found


@pytest.mark.parametrize("name", BINARY)
def test_every_bit_of_every_engine_is_the_networks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine runs from the pixels on by itself: nothing is fed to it in between."""
    model, images = built(name), images_of(name, 3)
    values = torch.from_numpy(Preprocessing().apply(images))
    embeddings, expected = torch_bits(model, values)
    graph = pack.lower(model, config_of(name).size_px, floats="fp32")
    path = tmp_path / "model.bnn"
    artifact.write(path, Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    for implementation in IMPLEMENTATIONS:
        one = kernels.available()[implementation]
        monkeypatch.setattr(runtime, "kernels", one)
        network = load(path, threads=2)
        seen = set()

        def compare(operation: Operation, floats: object, bits: np.ndarray | None, seen: set[str] = seen) -> None:
            if bits is not None:
                signs = expected[operation.signs_of]
                np.testing.assert_array_equal(fallback.unpack(bits, signs.shape[3]), signs, err_msg=operation.name)
                seen.add(operation.signs_of)

        found = network.run(network.normalised(images), compare)
        assert seen == set(expected), implementation
        np.testing.assert_allclose(found, embeddings, rtol=1e-4, atol=1e-4 * np.abs(embeddings).max())


def test_layout_and_batch_change_no_bit() -> None:
    name = "onebit-react-a1"
    values = torch.from_numpy(Preprocessing().apply(images_of(name, 4)))
    _, whole = torch_bits(built(name), values.contiguous(memory_format=torch.channels_last))
    singles = [torch_bits(built(name), values[at : at + 1].contiguous())[1] for at in range(4)]
    for layer, signs in whole.items():
        np.testing.assert_array_equal(np.concatenate([single[layer] for single in singles]), signs)


@pytest.mark.parametrize("name", BINARY)
def test_the_reproducible_network_is_the_network(name: str) -> None:
    """In double precision nothing hangs on rounding, and both are one."""
    model = built(name).double()
    values = torch.from_numpy(Preprocessing().apply(images_of(name, 2))).double()
    with torch.inference_mode():
        expected, found = model(values), reproducible(model)(values)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_network_without_signs_is_left_as_it_is() -> None:
    model = built("iresnet18-xnor-a32-block")
    assert reproducible(model) is model


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_double_sums_are_rounded_once_in_every_engine(name: str) -> None:
    """Numbers whose single-precision sum would be 0 or off, whatever the order."""
    values = np.array([1e8, 1, -1e8, 0.5], np.float32).reshape(1, 1, 1, 4)
    values = np.repeat(np.repeat(values, 3, axis=1), 9, axis=2)
    engine = kernels.available()[name]
    weight = np.ones((17, 1, 1, 4), np.float32)
    epilogue = Epilogue(scale=np.ones(17, np.float32), bias=np.zeros(17, np.float32))
    found, _ = engine.convolution(values, engine.prepare_float(weight, groups=1, exact=True), epilogue=epilogue)
    np.testing.assert_array_equal(found, np.full((1, 3, 9, 17), 1.5, np.float32))
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(1, 6, 6, 20)).astype(np.float32), rng.normal(size=(20, 3, 3, 1))
    ready = engine.prepare_float(weight.astype(np.float32), groups=20, exact=True)
    epilogue = Epilogue(scale=np.ones(20, np.float32), bias=np.zeros(20, np.float32))
    found, _ = engine.convolution(values, ready, groups=20, epilogue=epilogue)
    wanted = torch.nn.functional.conv2d(
        torch.from_numpy(values).permute(0, 3, 1, 2).double(),
        torch.from_numpy(weight.astype(np.float32)).permute(0, 3, 1, 2).double(),
        padding=1,
        groups=20,
    )
    np.testing.assert_array_equal(found, wanted.permute(0, 2, 3, 1).float().numpy())


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_scale_and_bias_are_rounded_together(name: str) -> None:
    rng = np.random.default_rng(1)
    values, scale, bias = (rng.normal(size=n).astype(np.float32) for n in (20_000 * 33, 33, 33))
    floats = values.reshape(1, 100, 200, 33)
    found, _ = kernels.available()[name].elementwise([floats], epilogue=Epilogue(scale=scale, bias=bias))
    wanted = (floats.astype(np.longdouble) * scale + bias).astype(np.float32)
    assert (found != wanted).mean() < 1e-6
    assert (found != floats * scale + bias).any(), "else the test shows nothing"


@pytest.mark.parametrize("name", ["iresnet18-xnor-a1-convolution", "onebit-react-a1"])
def test_every_pair_of_rendered_faces_is_decided_alike(name: str, tmp_path: Path) -> None:
    model = built(name)
    with torch.no_grad():  # statistics of faces, so that embeddings of people differ
        faces = datasets.load("demo:20x4@64")
        images = resize(faces.read(np.arange(80)), config_of(name).size_px)
        values = torch.from_numpy(Preprocessing().apply(images))
        model.train()(values)
        model.eval()
    expected, _ = torch_bits(model, values)
    graph = pack.lower(model, config_of(name).size_px, floats="fp32")
    artifact.write(tmp_path / "m.bnn", Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    found = load(tmp_path / "m.bnn", threads=1)(images)
    first, second = np.triu_indices(80, 1)
    is_genuine = faces.labels[first] == faces.labels[second]
    scores = []
    for embeddings in (expected, found):
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        scores.append((unit @ unit.T)[first, second])
    np.testing.assert_allclose(scores[0], scores[1], atol=2e-6)
    one, other = (score >= thresholds.fit_observed(score, is_genuine) for score in scores)
    np.testing.assert_array_equal(one, other)
    assert 0 < one.sum() < len(one)
