"""Backbones: shapes, gradients, float ends and twins, over every file that can be trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnas_face import models, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError, UnknownNameError
from bnas_face.models import cost
from bnas_face.models.backbones import _blocks
from bnas_face.models.binarizers import none

OWN = ("iresnet18", "mobilefacenet")
BITS = (("none", 32), ("xnor", 32), ("xnor", 1))
SHORTCUTS = ("convolution", "block")


def _config(backbone="iresnet18", binarizer="none", activation_bits=32, **more):
    values = {"size_px": 64, "width": 0.125, "embedding_dim": 16} | more
    return ModelConfig(backbone=backbone, binarizer=binarizer, activation_bits=activation_bits, **values)


@pytest.mark.parametrize("backbone", OWN)
@pytest.mark.parametrize("size_px", [64, 112])
@pytest.mark.parametrize("shortcuts", SHORTCUTS)
def test_image_becomes_embedding(backbone, size_px, shortcuts):
    model = models.build(_config(backbone, size_px=size_px, shortcuts=shortcuts)).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, size_px, size_px)).shape == (2, 16)


@pytest.mark.parametrize("backbone", OWN)
@pytest.mark.parametrize(("binarizer", "activation_bits"), BITS)
@pytest.mark.parametrize("shortcuts", SHORTCUTS)
def test_every_parameter_gets_a_gradient(backbone, binarizer, activation_bits, shortcuts):
    model = models.build(_config(backbone, binarizer, activation_bits, shortcuts=shortcuts))
    (model(torch.randn(4, 3, 64, 64)) * torch.randn(4, 16)).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("backbone", OWN)
@pytest.mark.parametrize("activation_bits", [1, 32])
def test_a_network_and_its_twin_differ_in_their_bits_alone(backbone, activation_bits):
    torch.manual_seed(0)
    binary = models.build(_config(backbone, "xnor", activation_bits))
    torch.manual_seed(0)
    twin = models.build(_config(backbone))
    assert {k: v.shape for k, v in binary.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}
    for name, value in binary.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    images = torch.randn(2, 3, 64, 64)
    assert not torch.allclose(binary.eval()(images), twin.eval()(images))


@pytest.mark.parametrize("backbone", OWN)
@pytest.mark.parametrize("activation_bits", [1, 32])
def test_stem_and_embedding_stay_float(backbone, activation_bits):
    model = models.build(_config(backbone, "xnor", activation_bits))
    stem = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert stem.in_channels == 3 and not hasattr(stem, "weight_bits")
    assert isinstance(model.embedding, nn.Linear)
    assert cost.binary_parameters(model) > 0


def test_published_iresnet18_has_the_reference_number_of_parameters():
    model = models.build(_config(size_px=112, width=1, embedding_dim=512, shortcuts="block"))
    assert sum(p.numel() for p in model.parameters()) == 24_025_600  # InsightFace iresnet18


def test_mobilefacenet_without_depthwise_bits_for_one_bit_activations():
    w1a1 = models.build(_config("mobilefacenet", "xnor", 1))
    w1a32 = models.build(_config("mobilefacenet", "xnor", 32))
    depthwise = [m for m in w1a1.blocks.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert depthwise and not any(hasattr(m, "weight_bits") for m in depthwise)
    assert cost.binary_parameters(w1a1) < cost.binary_parameters(w1a32)


@pytest.mark.parametrize(("n_in", "n_out", "stride"), [(4, 8, 1), (8, 4, 1), (4, 4, 2), (4, 16, 2)])
def test_shortcut_has_the_shape_of_its_convolution(n_in, n_out, stride):
    values = torch.randn(2, n_in, 7, 7)
    convolution = none.FullPrecision().convolution(n_in, n_out, 3, stride=stride)
    assert _blocks.shortcut(values, n_out, stride).shape == convolution(values).shape


def test_shortcut_repeats_and_averages_channels():
    values = torch.arange(4.0).reshape(1, 4, 1, 1)
    assert _blocks.shortcut(values, 8, 1).flatten().tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert _blocks.shortcut(values, 2, 1).flatten().tolist() == [1, 2]


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="16 to 24 channels"):
        _blocks.ShortcutConvolution(none.FullPrecision(), 16, 24, 3)


@pytest.mark.parametrize("name", tables.names(models.BACKBONES))
def test_every_backbone_says_its_sizes(name):
    assert isinstance(tables.load(models.BACKBONES, "backbone", name).SIZES_PX, tuple)


def test_a_size_the_backbone_lacks_is_refused():
    with pytest.raises(ConfigError, match="64 or 112 px, not 100"):
        models.build(_config(size_px=100))


def test_a_mistyped_backbone_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'iresnet18'"):
        models.build(_config("iresnet"))


def test_the_same_seed_builds_the_same_network():
    built = []
    for _ in range(2):
        torch.manual_seed(5)
        built.append(models.build(_config()).state_dict())
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])
