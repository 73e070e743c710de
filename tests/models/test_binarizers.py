"""Binarizers: the contract over every file of the folder, and the sign they share."""

from __future__ import annotations

import inspect
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face import models, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError
from bnas_face.models.binarizers import _base, none, xnor
from bnas_face.models.binarizers._convolution import BinaryConv2d

BINARIZERS = tables.names(models.BINARIZERS)
GEOMETRIES = st.fixed_dictionaries(
    {
        "kernel_size": st.sampled_from([1, 3, 5]),
        "stride": st.sampled_from([1, 2]),
        "groups": st.sampled_from([1, 2, 4]),
        "dilation": st.sampled_from([1, 2]),
    }
)


def _module(name: str):
    return tables.load(models.BINARIZERS, "binarizer", name)


def _maker(name: str, activation_bits: int, weight_scale: str = "filter", **more):
    """The binarizer, or None where it refuses these bits."""
    try:
        config = ModelConfig(binarizer=name, activation_bits=activation_bits, weight_scale=weight_scale, **more)
        return _module(name).build(config)
    except ConfigError:
        return None


ACCEPTED = tuple((name, bits) for name, bits in product(BINARIZERS, (1, 32)) if _maker(name, bits) is not None)
SETTINGS = tuple((name, bits, scale) for (name, bits), scale in product(ACCEPTED, ("filter", "layer")))


def _layer(name: str, activation_bits: int, weight_scale: str = "filter", **geometry):
    """A float64 convolution 4 → 8 channels whose every parameter is random."""
    geometry = {"kernel_size": 3} | geometry
    layer = (
        _maker(name, activation_bits, weight_scale).convolution(4, 8, geometry.pop("kernel_size"), **geometry).double()
    )
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.7)
    return layer


def _closed_form(module, function: str, layer, *arguments):
    """Call `function` of `module`; parameters it needs beyond `arguments` are attributes of `layer`."""
    form = getattr(module, function)
    wanted = list(inspect.signature(form).parameters.values())[len(arguments) :]
    more = {p.name: getattr(layer, p.name) for p in wanted if hasattr(layer, p.name)}
    more = {key: value.detach() if isinstance(value, torch.Tensor) else value for key, value in more.items()}
    return form(*arguments, **more)


def _input_bits(module, layer, images):
    """What the convolution sees: the closed form of the sign with 1-bit activations."""
    if getattr(layer, "activation_bits", 32) == 32:
        return images
    if hasattr(module, "activation"):
        return _closed_form(module, "activation", layer, images)
    return _base.sign(images)


def _float_convolution(layer, images, weight):
    return F.conv2d(images, weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)


@pytest.mark.parametrize("name", BINARIZERS)
def test_every_binarizer_has_both_closed_forms_and_says_them(name):
    module = _module(name)
    assert next(iter(inspect.signature(module.forward).parameters)) == "weight"
    assert list(inspect.signature(module.pseudo_gradient).parameters)[:2] == ["weight", "gradient"]
    said = module.__doc__.casefold()
    assert name == "none" or all(word in said for word in ("forward", "backward", "clip edge", "references"))


@pytest.mark.parametrize("name", BINARIZERS)
def test_every_binarizer_says_its_bits_and_accepts_some(name):
    for bits in (bits for known, bits in ACCEPTED if known == name):
        maker = _maker(name, bits)
        assert maker.activation_bits == bits
        convolution = maker.convolution(4, 8, 3, stride=2, groups=2)
        assert convolution(torch.zeros(2, 4, 9, 9)).shape == (2, 8, 5, 5)
        assert convolution.bias is None
        assert getattr(convolution, "weight_bits", 32) == maker.weight_bits
        assert getattr(convolution, "activation_bits", 32) == maker.activation_bits


@pytest.mark.parametrize(("name", "bits", "scale"), SETTINGS)
@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(geometry=GEOMETRIES)
def test_a_layer_equals_the_float_layer_fed_closed_forms_and_keeps_the_side(name, bits, scale, geometry):
    torch.manual_seed(0)
    layer = _layer(name, bits, scale, **geometry)
    images = torch.randn(2, 4, 9, 9, dtype=torch.float64)
    images[:, :, 4, 4] = 0
    images[:, :, 0, 0] = -0.0
    weight = _closed_form(_module(name), "forward", layer, layer.weight.detach())
    expected = _float_convolution(layer, _input_bits(_module(name), layer, images), weight)
    torch.testing.assert_close(layer(images), expected)
    assert expected.shape[2] == (9 if geometry["stride"] == 1 else 5)


@pytest.mark.parametrize(("name", "bits", "scale"), SETTINGS)
def test_one_bit_weights_have_two_values_per_scale(name, bits, scale):
    layer = _layer(name, bits, scale)
    if getattr(layer, "weight_bits", 32) == 32:
        pytest.skip("float weights")
    weight = layer.binary_weight().detach()
    filters = weight if layer.per_filter else weight[None]
    for values in filters:
        assert len(values.unique()) == 2 and len(values.abs().unique()) == 1
    n_scales = len(weight.abs().unique())
    assert n_scales == (8 if layer.per_filter else 1)


@pytest.mark.parametrize(("name", "bits", "scale"), SETTINGS)
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(geometry=GEOMETRIES)
def test_autograd_follows_the_closed_forms(name, bits, scale, geometry):
    torch.manual_seed(1)
    layer, module = _layer(name, bits, scale, **geometry), _module(name)
    images = torch.randn(2, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    latent = layer.weight.detach()
    effective = _closed_form(module, "forward", layer, latent).requires_grad_()
    seen = _input_bits(module, layer, images.detach()).requires_grad_()
    expected = _float_convolution(layer, seen, effective)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    layer(images).backward(upstream)
    for parameter, form in _learned(layer):
        found = _closed_form(module, form, layer, latent, effective.grad)
        torch.testing.assert_close(parameter.grad, found)
        assert parameter.grad.abs().sum() > 0
    _check_input_gradients(module, layer, images, seen.grad)


def _learned(layer):
    """Each parameter that shapes the weights, with the name of its closed form."""
    names = [name for name, _ in layer.named_parameters() if name not in ("weight", "shift")]
    return [(layer.weight, "pseudo_gradient"), *((getattr(layer, name), f"{name}_gradient") for name in names)]


def _check_input_gradients(module, layer, images, gradient):
    if getattr(layer, "activation_bits", 32) == 32:
        torch.testing.assert_close(images.grad, gradient)
    elif hasattr(module, "activation_gradients"):
        of_images, of_shift = _closed_form(module, "activation_gradients", layer, images.detach(), gradient)
        torch.testing.assert_close(images.grad, of_images)
        torch.testing.assert_close(layer.shift.grad, of_shift)
    else:
        torch.testing.assert_close(images.grad, _base.sign_pseudo_gradient(images.detach(), gradient))


@pytest.mark.parametrize(("name", "bits", "scale"), SETTINGS)
def test_a_layer_trains_under_bf16_autocast(name, bits, scale):
    layer = _layer(name, bits, scale)
    layer = layer.float()
    images = torch.randn(2, 4, 6, 6)
    exact = layer(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(images)
        chained = layer(output[:, :4])
    assert output.dtype == chained.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), exact, rtol=0.05, atol=0.05 * float(exact.detach().abs().max()))
    chained.sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad.dtype == torch.float32 and parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "bits"), ACCEPTED)
def test_only_kernels_may_decay(name, bits):
    layer = _layer(name, bits)
    assert [key for key, value in layer.named_parameters() if value.dim() > 1] == ["weight"]
    assert set(getattr(layer, "training_only", ())) <= {key for key, _ in layer.named_parameters()}


def test_every_binarizer_is_tested_with_the_bits_it_is_for():
    assert {("none", 32), ("pcnn", 1), ("pcnn", 32), ("react", 1), ("xnor", 1), ("xnor", 32)} <= set(ACCEPTED)
    assert {name for name, _ in ACCEPTED} == set(BINARIZERS)


def test_a_binary_convolution_without_a_rule_for_its_weights_says_so():
    with pytest.raises(NotImplementedError, match="BinaryConv2d does not say"):
        BinaryConv2d(2, 2, 1)(torch.zeros(1, 2, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("n_copies", [1, 300])
def test_sign_of_zero_and_of_minus_zero_is_plus_one(dtype, n_copies):
    values = torch.tensor([-2.0, -0.0, 0.0, 1e-30, -1e-30, 3.0, -torch.inf, torch.inf], dtype=dtype).repeat(n_copies)
    signs = _base.sign(values)
    assert signs.dtype == dtype
    assert signs.tolist() == [-1, 1, 1, 1, -1, 1, -1, 1] * n_copies


def test_sign_keeps_channels_last_and_its_input():
    values = torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last)
    before = values.clone()
    assert _base.sign(values).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(values, before)


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


def test_xnor_gradient_of_the_scale_alone_is_its_derivative():
    """Along W itself no sign flips and only a moves: there the map is smooth and finite differences hold."""
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    upstream = torch.randn_like(weight)

    def loss(stretch: float) -> float:
        return float((xnor.forward(weight * stretch, per_filter=False) * upstream).sum())

    difference = (loss(1 + 1e-6) - loss(1 - 1e-6)) / 2e-6
    mean = xnor.scale_of(weight, per_filter=False)
    exact = (upstream * _base.sign(weight)).sum() / weight.numel() * _base.sign(weight)  # product rule, all of it
    assert float((exact * weight).sum()) == pytest.approx(difference)
    one = torch.zeros_like(weight)
    one[0, 0, 0, 0] = 1.0  # for a gradient at one element, g / n is the full rule's term at that element
    kept = xnor.pseudo_gradient(weight, one, per_filter=False) - one * mean * (weight.abs() <= 1)
    assert float(kept[0, 0, 0, 0]) == pytest.approx(1 / weight.numel())


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


@pytest.mark.parametrize("name", [name for name in BINARIZERS if name != "none"])
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(geometry=GEOMETRIES)
def test_input_scale_is_the_mean_magnitude_of_what_a_filter_sees(name, geometry):
    torch.manual_seed(2)
    size, groups = geometry["kernel_size"], geometry["groups"]
    rest = {key: geometry[key] for key in ("stride", "dilation", "groups")}
    plain = _maker(name, 1).convolution(4, 8, size, **rest)
    scaled = _maker(name, 1, input_scale=True).convolution(4, 8, size, **rest)
    scaled.load_state_dict(plain.state_dict())
    images = torch.randn(2, 4, 7, 7)
    box = torch.full((8, 4 // groups, size, size), groups / (4 * size**2))
    magnitude = _float_convolution(plain, images.abs(), box)
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
