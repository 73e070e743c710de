"""Steps of an optimizer on some rows of a weight, and lengths of gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnas_face.train import gradients

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "sgd without momentum": lambda p: torch.optim.SGD(p, lr=0.1),
    "adam": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.01),
}
BIAS_AND_WEIGHT = [(6,), (6, 3)]


def _parameters():
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in BIAS_AND_WEIGHT]


def _backward(parameters, rows, scale=1.0):
    """The gradient of a sum of squares of some rows, sparse."""
    bias, weight = parameters
    taken = F.embedding(rows, weight, sparse=True)
    biases = torch.gather(bias, 0, rows, sparse_grad=True)
    (scale * (taken.square().sum() + (biases * taken[:, 0]).sum())).backward()


def _step(optimizer, parameters, rows):
    optimizer.zero_grad()
    _backward(parameters, rows)
    with gradients.rows_only(optimizer):
        optimizer.step()


def _state(optimizer, parameter):
    return {
        name: value.clone() for name, value in optimizer.state[parameter].items() if isinstance(value, torch.Tensor)
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_every_row_it_is_the_optimizer_itself(name):
    rows, mine, plain = torch.arange(6), _parameters(), _parameters()
    optimizer, expected = OPTIMIZERS[name](mine), OPTIMIZERS[name](plain)
    for _ in range(4):
        _step(optimizer, mine, rows)
        expected.zero_grad()
        _backward(plain, rows)
        for parameter in plain:
            parameter.grad = parameter.grad.to_dense()
        expected.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, plain, strict=True))
    assert optimizer.state_dict()["state"].keys() == expected.state_dict()["state"].keys()
    for a, b in zip(mine, plain, strict=True):
        assert all(torch.equal(_state(optimizer, a)[key], value) for key, value in _state(expected, b).items())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_without_a_gradient_and_their_state_stay_bit_for_bit(name):
    parameters = _parameters()
    optimizer = OPTIMIZERS[name](parameters)
    _step(optimizer, parameters, torch.tensor([0, 1, 2, 5]))
    before = [(p.detach().clone(), _state(optimizer, p)) for p in parameters]
    _step(optimizer, parameters, torch.tensor([1, 3]))
    others = [0, 2, 4, 5]
    for parameter, (value, state) in zip(parameters, before, strict=True):
        assert torch.equal(parameter[others], value[others])
        assert not torch.equal(parameter[[1, 3]], value[[1, 3]])
        now = _state(optimizer, parameter)
        for key, then in state.items():
            if then.shape == parameter.shape:
                assert torch.equal(now[key][others], then[others]) and not torch.equal(now[key], then)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_left_with_its_own_parameters(name):
    parameters = _parameters()
    optimizer = OPTIMIZERS[name](parameters)
    _step(optimizer, parameters, torch.tensor([1, 3]))
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], parameters, strict=True))
    assert set(optimizer.state) <= set(parameters)
    assert all(value.shape in ((), p.shape) for p in parameters for value in _state(optimizer, p).values())


def test_an_error_in_the_step_leaves_the_parameters_in_place():
    parameters = _parameters()
    optimizer = OPTIMIZERS["adam"](parameters)
    _backward(parameters, torch.tensor([1, 3]))
    before = [p.detach().clone() for p in parameters]
    with pytest.raises(RuntimeError, match="stop"), gradients.rows_only(optimizer):
        raise RuntimeError("stop")
    assert all(a is b for a, b in zip(optimizer.param_groups[0]["params"], parameters, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


def test_dense_gradients_are_none_of_its_business():
    mine, plain = _parameters(), _parameters()
    for parameters, context in ((mine, True), (plain, False)):
        optimizer = OPTIMIZERS["adam"](parameters)
        sum(p.square().sum() for p in parameters).backward()
        if context:
            with gradients.rows_only(optimizer):
                optimizer.step()
        else:
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, plain, strict=True))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_is_that_of_torch(sparse, max_norm):
    mine, plain = _parameters(), _parameters()
    for parameters in (mine, plain):
        _backward(parameters, torch.tensor([1, 3, 4]))
        if parameters is plain or not sparse:
            for parameter in parameters:
                parameter.grad = parameter.grad.to_dense()
    expected = nn.utils.clip_grad_norm_(plain, max_norm)
    torch.testing.assert_close(gradients.clip(mine, max_norm), expected)
    for a, b in zip(mine, plain, strict=True):
        torch.testing.assert_close(a.grad.to_dense() if sparse else a.grad, b.grad)


def test_parameters_without_a_gradient_do_not_count():
    parameters = [*_parameters(), nn.Parameter(torch.ones(3))]
    _backward(parameters[:2], torch.tensor([1]))
    assert gradients.clip(parameters, 1.0) > 0 and parameters[2].grad is None


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_is_left_as_it_is_and_told(clip):
    parameters = _parameters()
    _backward(parameters, torch.tensor([1, 3]))
    before = gradients.values(parameters[1].grad).clone()
    parameters[0].grad = parameters[0].grad.coalesce()
    parameters[0].grad.values()[0] = float("inf")
    assert gradients.clip(parameters, clip).isinf()
    assert torch.equal(gradients.values(parameters[1].grad), before)
