"""Binarizers: the contract over every file, and xnor against its papers."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F

from bnas_face import models, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError
from bnas_face.models.binarizers import _base, none, xnor

BINARIZERS = tables.names(models.BINARIZERS)


def _module(name: str):
    return tables.load(models.BINARIZERS, "binarizer", name)


@pytest.mark.parametrize("name", BINARIZERS)
def test_every_binarizer_has_both_closed_forms_and_says_its_bits(name):
    module = _module(name)
    assert next(iter(inspect.signature(module.forward).parameters)) == "weight"
    assert list(inspect.signature(module.pseudo_gradient).parameters)[:2] == ["weight", "gradient"]
    maker = module.build(ModelConfig(binarizer=name))
    assert maker.weight_bits in (1, 32) and maker.activation_bits == 32
    convolution = maker.convolution(4, 8, 3, stride=2, groups=2)
    assert convolution(torch.zeros(2, 4, 9, 9)).shape == (2, 8, 5, 5)
    assert convolution.bias is None
    assert getattr(convolution, "weight_bits", 32) == maker.weight_bits


@pytest.mark.parametrize("name", BINARIZERS)
def test_autograd_follows_the_closed_forms(name):
    module = _module(name)
    convolution = module.build(ModelConfig(binarizer=name)).convolution(3, 5, 3)
    torch.nn.init.normal_(convolution.weight)
    images = torch.randn(2, 3, 6, 6)
    output = convolution(images)
    effective = module.forward(convolution.weight.detach()).requires_grad_()
    expected = F.conv2d(images, effective, padding=1)
    torch.testing.assert_close(output, expected)
    upstream = torch.randn_like(output)
    output.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(
        convolution.weight.grad, module.pseudo_gradient(convolution.weight.detach(), effective.grad)
    )


def test_sign_of_zero_and_of_minus_zero_is_plus_one():
    signs = _base.sign(torch.tensor([-2.0, -0.0, 0.0, 1e-30, 3.0]))
    assert signs.tolist() == [-1, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_sign_keeps_the_dtype(dtype):
    assert _base.sign(torch.randn(3, dtype=dtype)).dtype == dtype


def test_activation_gradient_is_the_polynomial_and_zero_from_the_clip_edge_on():
    values = torch.tensor([-1.5, -1.0, -0.75, 0.0, 0.25, 1.0, 7.0], requires_grad=True)
    _base.binary_activation(values).backward(torch.full((7,), 3.0))
    assert values.grad.tolist() == [0, 0, 3 * 0.5, 3 * 2, 3 * 1.5, 0, 0]


def test_activation_gradient_is_the_derivative_of_the_bi_real_polynomial():
    values = torch.linspace(-1.4, 1.4, 57, dtype=torch.float64, requires_grad=True)
    inner = torch.where(values < 0, 2 * values + values**2, 2 * values - values**2)
    polynomial = torch.where(values.abs() < 1, inner, values.sign())
    (expected,) = torch.autograd.grad(polynomial.sum(), values)
    torch.testing.assert_close(_base.sign_pseudo_gradient(values.detach(), torch.ones_like(values)), expected)


@pytest.mark.parametrize("per_filter", [True, False])
def test_xnor_weights_are_mean_magnitude_times_sign(per_filter):
    weight = torch.randn(4, 3, 3, 3)
    weight[0, 0, 0, 0] = 0
    binary = xnor.forward(weight, per_filter=per_filter)
    for index in range(4):
        scale = weight[index].abs().sum() / 27 if per_filter else weight.abs().sum() / 108
        for value, latent in zip(binary[index].flatten(), weight[index].flatten(), strict=True):
            assert value == pytest.approx(float(scale) * (1 if latent >= 0 else -1))


def test_xnor_gradient_by_hand_for_layer_and_filter():
    weight = torch.tensor([[[[0.5, -1.0]]], [[[1.5, -0.1]]]], requires_grad=True)
    upstream = torch.tensor([[[[1.0, 2.0]]], [[[4.0, 8.0]]]])
    a = 3.1 / 4
    xnor.binary_weight(weight, per_filter=False).backward(upstream)
    expected = [a + 0.25, 2 * a + 0.5, 1.0, 8 * a + 2]  # the third is outside the clip: g / numel alone
    assert weight.grad.flatten().tolist() == pytest.approx(expected)
    weight.grad = None
    xnor.binary_weight(weight, per_filter=True).backward(upstream)
    expected = [0.75 + 0.5, 2 * 0.75 + 1, 2.0, 8 * 0.8 + 4]
    assert weight.grad.flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_one_bit_convolution_equals_the_float_one_fed_signs(stride):
    layer = xnor.XnorConv2d(8, 6, 3, stride=stride, activation_bits=1)
    images = torch.randn(2, 8, 7, 7)
    images[0, :, 3, 3] = 0
    ones, minus = torch.ones(()), -torch.ones(())
    signs = F.conv2d(
        torch.where(images >= 0, ones, minus), torch.where(layer.weight >= 0, ones, minus), stride=stride, padding=1
    )
    scale = layer.weight.abs().mean(dim=(1, 2, 3))[None, :, None, None]
    torch.testing.assert_close(layer(images), signs * scale)


def test_input_scale_is_the_mean_magnitude_under_the_kernel():
    plain = xnor.XnorConv2d(4, 3, 3, stride=2, activation_bits=1)
    scaled = xnor.XnorConv2d(4, 3, 3, stride=2, activation_bits=1, input_scale=True)
    scaled.load_state_dict(plain.state_dict())
    images = torch.randn(2, 4, 6, 6)
    box = torch.full((1, 1, 3, 3), 1 / 9)
    magnitude = F.conv2d(images.abs().mean(dim=1, keepdim=True), box, stride=2, padding=1)
    torch.testing.assert_close(scaled(images), plain(images) * magnitude)


def test_none_changes_nothing():
    weight, gradient = torch.randn(2, 3), torch.randn(2, 3)
    assert none.forward(weight) is weight and none.pseudo_gradient(weight, gradient) is gradient


def test_one_bit_activations_without_a_binarizer_are_refused():
    with pytest.raises(ConfigError, match="Choose --binarizer xnor"):
        ModelConfig(binarizer="none", activation_bits=1)


def test_input_scale_without_one_bit_activations_is_refused():
    with pytest.raises(ConfigError, match="--activation-bits 1"):
        ModelConfig(binarizer="xnor", input_scale=True)
