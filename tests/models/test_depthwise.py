"""Depthwise convolutions with a backward pass of their own, against torch's."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from bnas_face.config import ModelConfig
from bnas_face.models.binarizers import _depthwise, none, xnor

GEOMETRIES = list(product((3, 5, 7), (1, 2), (1, 2)))
SIDES = [(8, 8), (13, 7), (4, 5), (1, 3)]


def draw(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), GEOMETRIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_and_gradients_are_those_of_torch(kernel_size, stride, dilation, sides, dtype):
    values, weight = draw(3, 6, *sides, dtype=dtype), draw(6, 1, kernel_size, kernel_size, dtype=dtype, seed=1)
    found = _depthwise.convolution(values, weight, stride, dilation)
    expected = F.conv2d(values, weight, None, stride, dilation * (kernel_size // 2), dilation, 6)
    torch.testing.assert_close(found, expected)
    gradient = draw(*expected.shape, dtype=dtype, seed=2)
    of_found = torch.autograd.grad(found, (values, weight), gradient)
    of_expected = torch.autograd.grad(expected, (values, weight), gradient)
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(of_found, of_expected, **tolerance)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (5, 1, 2), (5, 2, 1)])
def test_gradients_are_those_of_differences(kernel_size, stride, dilation):
    values, weight = draw(1, 2, 5, 6), draw(2, 1, kernel_size, kernel_size, seed=1)
    assert torch.autograd.gradcheck(lambda v, w: _depthwise.convolution(v, w, stride, dilation), (values, weight))


def test_a_gradient_nobody_needs_is_not_computed(monkeypatch):
    def fail(*_):
        raise AssertionError("the gradient of the weights was computed")

    monkeypatch.setattr(_depthwise, "weight_gradient", fail)
    values, weight = draw(1, 2, 5, 6), draw(2, 1, 3, 3, seed=1)
    _depthwise.convolution(values, weight.detach(), 1, 1).sum().backward()
    with pytest.raises(AssertionError, match="gradient of the weights"):
        _depthwise.convolution(values, weight, 1, 1).sum().backward()


@pytest.mark.parametrize("make", [none, xnor])
@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (5, 1), (3, 2)])
def test_a_dilated_layer_has_right_gradients_under_autocast(make, kernel_size, stride):
    # torch's own gradient of the weights is wrong from some 30 columns on, channels last
    layer = make.build(ModelConfig(activation_bits=32)).convolution(
        8, 8, kernel_size, groups=8, stride=stride, dilation=2
    )
    values = draw(4, 8, 40, 33, dtype=torch.float32)
    inputs = values.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = draw(4, 8, -(-40 // stride), -(-33 // stride), dtype=torch.float32, seed=2).detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(inputs)
    expected = layer(values)
    assert found.dtype == torch.bfloat16
    of_found = torch.autograd.grad(found, (inputs, layer.weight), gradient.bfloat16())
    of_expected = torch.autograd.grad(expected, (values, layer.weight), gradient)
    for one, other in zip((found, *of_found), (expected, *of_expected), strict=True):
        assert ((one.float() - other).norm() / other.norm()).item() < 0.01


@pytest.mark.parametrize("make", [none, xnor])
@pytest.mark.parametrize(("groups", "kernel_size"), [(6, 3), (6, 1), (2, 3), (1, 3)])
def test_depthwise_layers_take_it_in_training_alone(make, groups, kernel_size, monkeypatch):
    calls = []
    plain = _depthwise.convolution
    monkeypatch.setattr(_depthwise, "convolution", lambda *a: calls.append(a) or plain(*a))
    layer = make.build(ModelConfig(activation_bits=32)).convolution(6, 6, kernel_size, groups=groups, stride=2)
    values = draw(2, 6, 7, 7, dtype=torch.float32)
    trained = layer(values)
    assert len(calls) == (groups == 6 and kernel_size == 3)
    with torch.no_grad():
        torch.testing.assert_close(layer(values), trained)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16
    assert len(calls) <= 1
