"""Inception-ResNet v1: the same network as facenet-pytorch's, binarized inside its blocks only; honest when offline."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch

from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.errors import CheckpointError, ConfigError, UnknownNameError
from bnas_face.models import cost
from bnas_face.models.backbones import inception_resnet_v1


def config(**values: Any) -> ModelConfig:
    return ModelConfig(**{"backbone": "inception_resnet_v1", "size_px": 112, "width": 0.25} | values)


def test_full_precision_with_block_shortcuts_is_the_published_network() -> None:
    torch.manual_seed(0)
    ours = models.build(config(shortcuts="block", width=1, embedding_dim=512)).eval()
    published = inception_resnet_v1._published().eval()
    tensors = {key.removeprefix("net."): value for key, value in ours.state_dict().items()}
    biases = {key: value for key, value in published.state_dict().items() if key.endswith("conv2d.bias")}
    published.load_state_dict(tensors | {key: torch.zeros_like(value) for key, value in biases.items()})
    images = torch.rand(1, 3, 160, 160) * 2 - 1
    with torch.no_grad():
        expected = published(images)  # of unit length
        found = torch.nn.functional.normalize(ours(images))
    assert len(biases) == 21
    torch.testing.assert_close(found, expected)


def test_images_are_resized_to_160_px() -> None:
    torch.manual_seed(0)
    model = models.build(config(embedding_dim=64)).eval()
    images = torch.rand(1, 3, 112, 112)
    large = torch.nn.functional.interpolate(images, size=(160, 160), mode="bilinear", align_corners=False)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(large))


@pytest.mark.parametrize("activation_bits", [1, 32])
def test_stem_and_embedding_stay_float_and_every_block_convolution_is_binary(activation_bits: int) -> None:
    model = models.build(config(binarizer="xnor", activation_bits=activation_bits, embedding_dim=32))
    binary, floats = set(), set()
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            (binary if getattr(part, "weight_bits", 32) == 1 else floats).add(name.split(".")[1])
    assert binary == set(inception_resnet_v1.BLOCKS)
    assert floats == {"conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b", "last_linear"}
    assert cost.binary_parameters(model) == 21_900_288 // 16  # (1/4)² of the published
    model.eval()
    with torch.no_grad():
        found = model(torch.rand(1, 3, 112, 112) * 2 - 1)
    assert found.shape == (1, 32)
    assert torch.isfinite(found).all()


def test_a_network_and_its_full_precision_twin_start_from_the_same_tensors() -> None:
    tensors = []
    for name in ("none", "xnor"):
        torch.manual_seed(0)
        tensors.append(models.build(config(binarizer=name)).state_dict())
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][key]) for key, value in tensors[0].items())


def test_every_parameter_learns_with_1_bit_activations() -> None:
    torch.manual_seed(0)
    model = models.build(config(binarizer="xnor", activation_bits=1, embedding_dim=16))
    model(torch.rand(2, 3, 112, 112) * 2 - 1).square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert still == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0.3}, "must be a multiple of 1/16, not 0.3"),
        ({"binarizer": "xnor", "activation_bits": 1, "shortcuts": "block"}, "Use shortcuts 'convolution'"),
        ({"binarizer": "xnor", "activation_bits": 1, "input_scale": True}, "Drop --input-scale"),
    ],
)
def test_what_it_cannot_be_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models.build(config(**values))


def test_offline_the_error_names_the_address_and_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(url: str, timeout: float) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        inception_resnet_v1.pretrained("vggface2")
    path = tmp_path / "checkpoints" / "20180402-114759-vggface2.pt"
    assert str(caught.value) == (
        "The weights of facenet:vggface2 (107 MB) are not on this machine and cannot be downloaded: "
        "Name or service not known. Fetch https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/"
        f"20180402-114759-vggface2.pt where there is a network and put it at '{path}'."
    )
    assert list(path.parent.iterdir()) == []


def test_a_download_cut_short_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: Broken())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match="cannot be downloaded: timed out"):
        inception_resnet_v1.pretrained("casia-webface")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_damaged_weights_are_one_sentence_and_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = inception_resnet_v1.weights_file("vggface2")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(CheckpointError, match="is damaged or of another network"):
        inception_resnet_v1.pretrained("vggface2")
    assert not Path("hacked").exists()


def test_weights_of_the_release_layout_are_loaded_without_the_classifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(1)
    tensors = inception_resnet_v1._published().state_dict()
    path = inception_resnet_v1.weights_file("vggface2")
    path.parent.mkdir(parents=True)
    torch.save(tensors | {"logits.weight": torch.zeros(3, 512), "logits.bias": torch.zeros(3)}, path)
    model, found = inception_resnet_v1.pretrained("vggface2")
    assert found == path
    assert not model.training
    torch.testing.assert_close(model.state_dict()["last_linear.weight"], tensors["last_linear.weight"])


def test_a_mistyped_name_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown facenet network 'vgface2'\. Did you mean 'vggface2'\?"):
        inception_resnet_v1.pretrained("vgface2")
