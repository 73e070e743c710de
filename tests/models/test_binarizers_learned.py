"""pcnn and react: what they learn beyond the weights, against surrogates that autograd and differences can check."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face import models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.models import cost, saved
from bnas_face.models.binarizers import _base, pcnn, react
from bnas_face.train import recipe


def _weights_and_projection(n_projections: int, size: int = 3, seed: int = 0):
    torch.manual_seed(seed)
    weight = torch.randn(4, 2, size, size, dtype=torch.float64)
    return weight, torch.rand(n_projections * size**2, dtype=torch.float64) + 0.3, torch.randn_like(weight)


def test_pcnn_weights_are_the_layers_mean_magnitude_with_the_sign_of_the_latent_ones():
    weight = torch.tensor([[[[0.5, -1.0]]], [[[0.0, -0.5]]]])
    assert pcnn.forward(weight, torch.tensor([2.0, 1.0])).flatten().tolist() == [0.5, -0.5, 0.5, -0.5]
    assert pcnn.forward(weight, torch.tensor([-2.0, 1.0])).flatten().tolist() == [-0.5, 0.5, 0.5, 0.5]


def test_pcnn_gradients_by_hand():
    weight = torch.tensor([[[[0.5, -1.0]]], [[[0.0, -2.5]]]], dtype=torch.float64)
    projection = torch.tensor([1.0, 1.0], dtype=torch.float64)
    gradient = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], dtype=torch.float64)
    # a = 1, Ĉ = 1 −1 1 −1; |C| = 1 passes, |C| = 2.5 does not; C + η g = 0.6 −0.8 0.3 −2.1, less Ĉ: −0.4 0.2 −0.7 −1.1
    of_weight = pcnn.pseudo_gradient(weight, gradient, projection, strength=10.0, eta=0.1)
    assert of_weight.flatten().tolist() == pytest.approx([1 - 4, 2 + 2, 3 - 7, 0 - 11])
    of_projection = pcnn.projection_gradient(weight, gradient, projection, strength=10.0, eta=0.1)
    assert of_projection.tolist() == pytest.approx([0.5 - 2.4 + 0 - 2.1, -2 - 1.6 + 0 + 23.1])
    assert pcnn.projection_loss(weight, gradient, projection, strength=10.0, eta=0.1) == pytest.approx(5 * 1.9)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    n_projections=st.integers(1, 3),
    size=st.sampled_from([1, 3]),
    seed=st.integers(0, 99),
    strength=st.sampled_from([0.0, 1e-4, 0.5]),
)
def test_pcnn_gradients_are_those_of_clipped_projections_and_the_projection_loss(n_projections, size, seed, strength):
    weight, projection, gradient = _weights_and_projection(n_projections, size, seed)
    latent, learned = weight.clone().requires_grad_(), projection.clone().requires_grad_()
    projected = learned.view(-1, 1, 1, size, size) * latent
    task = (F.hardtanh(projected) * gradient).sum() / n_projections
    (task + pcnn.projection_loss(latent, gradient, learned, strength=strength, eta=0.2)).backward()
    options = {"strength": strength, "eta": 0.2}
    torch.testing.assert_close(latent.grad, pcnn.pseudo_gradient(weight, gradient, projection, **options))
    torch.testing.assert_close(learned.grad, pcnn.projection_gradient(weight, gradient, projection, **options))


def test_pcnn_projection_terms_are_finite_differences_of_the_loss():
    """Between flips Ĉ's scale moves, which the loss holds fixed: differences are taken with Ĉ held, by its formula."""
    weight, projection, gradient = _weights_and_projection(2)
    target = pcnn.forward(weight, projection)

    def loss(latent, learned):
        moved = learned.view(-1, 1, 1, 3, 3) * (latent + 0.2 * gradient / 2)
        return float(0.5 * 0.3 * (target - moved).square().sum())

    def without_task(form):
        with_loss = form(weight, gradient, projection, strength=0.3, eta=0.2)
        return with_loss - form(weight, gradient, projection, strength=0.0, eta=0.2)

    assert loss(weight, projection) == pytest.approx(
        float(pcnn.projection_loss(weight, gradient, projection, strength=0.3, eta=0.2))
    )
    step = torch.zeros_like(weight)
    step[1, 1, 0, 2] = 1e-6
    difference = (loss(weight + step, projection) - loss(weight - step, projection)) / 2e-6
    assert float(without_task(pcnn.pseudo_gradient)[1, 1, 0, 2]) == pytest.approx(difference)
    step = torch.zeros_like(projection)
    step[7] = 1e-6
    difference = (loss(weight, projection + step) - loss(weight, projection - step)) / 2e-6
    assert float(without_task(pcnn.projection_gradient)[7]) == pytest.approx(difference)


def test_pcnn_adds_its_loss_in_the_backward_pass_with_the_documented_constants():
    layer = pcnn.build(ModelConfig(binarizer="pcnn")).convolution(2, 4, 3).double()
    layer.binary_weight().backward(torch.zeros_like(layer.weight))
    assert pcnn.PROJECTIONS == 1 and pcnn.LAMBDA == 1e-4 and pcnn.ETA == 0.01
    residual = layer.weight.detach() - pcnn.forward(layer.weight.detach(), layer.projection.detach())
    torch.testing.assert_close(layer.weight.grad, 1e-4 * residual)  # Wt = 1 and no task gradient


def test_descent_on_the_projection_loss_pulls_weights_towards_two_values():
    weight, projection, _ = _weights_and_projection(1)
    before = (weight.abs() / weight.abs().mean()).std()
    for _ in range(200):
        gradient = torch.zeros_like(weight)
        step = pcnn.pseudo_gradient(weight, gradient, projection, strength=0.05)
        learned = pcnn.projection_gradient(weight, gradient, projection, strength=0.01)
        weight, projection = weight - step, projection - learned
    assert (weight.abs() / weight.abs().mean()).std() < 0.5 * before


def test_pcnn_keeps_one_scale_and_does_not_ship_its_projection():
    layer = pcnn.build(ModelConfig(binarizer="pcnn", weight_scale="filter")).convolution(2, 4, 3)
    assert layer.per_filter is False and layer.training_only == ("projection",)
    assert layer.projection.shape == (9,) and bool((layer.projection == 1).all())


@pytest.mark.parametrize(("binarizer", "learned"), [("pcnn", "projection"), ("react", "shift")])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_a_binarizer_learns_beside_weights_does_not_decay(binarizer, learned, optimizer):
    model = ModelConfig(binarizer=binarizer, activation_bits=1)
    layer = {"pcnn": pcnn, "react": react}[binarizer].build(model).convolution(2, 4, 3)
    config = recipe.resolve(TrainConfig(name="x", model=model, optimizer=optimizer))
    groups = recipe.make_optimizer(layer, config).param_groups
    (home,) = [group for group in groups if any(p is getattr(layer, learned) for p in group["params"])]
    assert home["weight_decay"] == 0 and home["lr"] == config.lr


def test_react_at_the_threshold_is_plus_one_and_shifts_each_channel():
    values = torch.tensor([[[[0.5, 0.49, -1.0]], [[0.5, -0.25, -0.26]]]])
    signs = react.activation(values, torch.tensor([0.5, -0.25]))
    assert signs.tolist() == [[[[1, -1, -1]], [[1, 1, -1]]]]


def test_react_gradients_by_hand():
    values = torch.tensor([[[[0.5, 1.0, 1.5]]], [[[0.0, -0.5, 9.0]]]])
    gradient = torch.tensor([[[[1.0, 1.0, 1.0]]], [[[2.0, 4.0, 8.0]]]])
    of_values, of_shift = react.activation_gradients(values, gradient, torch.tensor([0.5]))
    assert of_values.flatten().tolist() == [2.0, 1.0, 0.0, 2.0, 0.0, 0.0]  # |x − b| = 0, ½, 1, ½, 1, 8½
    assert of_shift.tolist() == [-5.0]


def test_react_gradients_are_those_of_the_shifted_bi_real_polynomial():
    torch.manual_seed(0)
    values = torch.randn(3, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(4, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(3, 4, 5, 5, dtype=torch.float64)

    def polynomial(values, shift):
        moved = values - shift[None, :, None, None]
        return torch.where(moved.abs() < 1, 2 * moved - moved * moved.abs(), moved.sign())

    assert torch.autograd.gradcheck(polynomial, (values, shift))
    (polynomial(values, shift) * gradient).sum().backward()
    of_values, of_shift = react.activation_gradients(values.detach(), gradient, shift.detach())
    torch.testing.assert_close(values.grad, of_values)
    torch.testing.assert_close(shift.grad, of_shift)


def test_react_begins_as_xnor():
    torch.manual_seed(0)
    layer = react.build(ModelConfig(binarizer="react", activation_bits=1)).convolution(4, 8, 3)
    images = torch.randn(2, 4, 5, 5)
    expected = F.conv2d(_base.sign(images), react.forward(layer.weight), padding=1)
    torch.testing.assert_close(layer(images), expected)


def test_react_stays_in_bf16_where_its_input_is():
    layer = react.build(ModelConfig(binarizer="react", activation_bits=1)).convolution(4, 8, 3)
    assert layer.activation(torch.randn(1, 4, 3, 3, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_react_without_one_bit_activations_is_refused():
    with pytest.raises(ConfigError) as caught:
        react.build(ModelConfig(binarizer="react", activation_bits=32))
    assert str(caught.value) == (
        "Binarizer 'react' needs 1-bit activations, and activation bits are 32. "
        "Add --activation-bits 1, or choose --binarizer xnor."
    )


def _network(binarizer: str, **more):
    options = {"activation_bits": 1, "weight_scale": "layer", "width": 0.125, "embedding_dim": 8} | more
    config = ModelConfig(binarizer=binarizer, **options)
    return models.build(config), config


def test_a_shipped_pcnn_network_costs_what_a_layer_scaled_xnor_network_costs():
    assert cost.summary(*_network("pcnn")) == cost.summary(*_network("xnor"))


def test_react_costs_one_more_float_per_input_channel():
    model, config = _network("react")
    n_shifts = sum(part.shift.numel() for part in model.modules() if isinstance(part, react.ReactConv2d))
    react_cost, xnor_cost = cost.summary(model, config), cost.summary(*_network("xnor"))
    assert n_shifts > 0
    assert react_cost["n_parameters"] - xnor_cost["n_parameters"] == n_shifts
    assert react_cost["packed_bytes"] - xnor_cost["packed_bytes"] == 4 * n_shifts


@pytest.mark.parametrize(("binarizer", "bits"), [("pcnn", 1), ("pcnn", 32), ("react", 1)])
def test_what_a_binarizer_learns_moves_and_is_saved_with_the_network(binarizer, bits, tmp_path):
    torch.manual_seed(0)
    model, _ = _network(binarizer, activation_bits=bits)
    config = recipe.resolve(TrainConfig(name="x", model=_network(binarizer, activation_bits=bits)[1]))
    before = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    optimizer = recipe.make_optimizer(model, config)
    (model(torch.randn(4, 3, 64, 64)) * torch.randn(4, 8)).sum().backward()
    optimizer.step()
    assert [name for name, value in model.named_parameters() if name in before and value.equal(before[name])] == []
    saved.save(tmp_path, model, config)
    reopened, _, _ = saved.load(tmp_path)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(reopened(images), model.eval()(images))
