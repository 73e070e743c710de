"""Search spaces: the contract over every file, and what each operation is made of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnas_face import models, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import UnknownNameError
from bnas_face.genotype import OPERATIONS
from bnas_face.models import cells
from bnas_face.models.backbones._blocks import RPReLU, batch_norm, shortcut
from bnas_face.models.spaces import onebit, paper
from bnas_face.models.spaces._base import Begun

SPACES = tables.names(models.SPACES)
EVERY_OPERATION = [(space, name) for space in SPACES for name in OPERATIONS[space]]


def _binarizer(name="xnor", activation_bits=32):
    config = ModelConfig(binarizer=name, activation_bits=activation_bits)
    return tables.load(models.BINARIZERS, "binarizer", name).build(config)


def _of(space):
    return _binarizer(activation_bits=models.space(space).ACTIVATION_BITS)


def _operation(space, name, n_channels=8, stride=1, **more):
    return models.space(space).operation(name, n_channels, stride, more.pop("binarizer", _of(space)), norm=batch_norm)


def _binary(module):
    return [m for m in module.modules() if getattr(m, "weight_bits", 32) == 1]


def test_every_space_has_its_operations_and_says_its_bits():
    assert set(SPACES) == set(OPERATIONS)
    for name in SPACES:
        assert models.space(name).ACTIVATION_BITS in (1, 32) and models.space(name).TITLE


@pytest.mark.parametrize(("space", "name"), EVERY_OPERATION)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [(7, 7), (8, 8), (5, 8)])
def test_an_operation_keeps_the_channels_and_divides_the_sides_by_its_stride(space, name, stride, side):
    values = torch.randn(2, 8, *side)
    expected = (2, 8, *(-(-length // stride) for length in side))
    assert _operation(space, name, stride=stride)(values).shape == expected


@pytest.mark.parametrize(("space", "name"), EVERY_OPERATION)
@pytest.mark.parametrize("stride", [1, 2])
def test_an_operation_and_its_twin_differ_in_their_bits_alone(space, name, stride):
    built = []
    for binarizer in (_of(space), _binarizer("none")):
        torch.manual_seed(1)
        built.append(_operation(space, name, stride=stride, binarizer=binarizer))
    binary, twin = (module.state_dict() for module in built)
    assert list(binary) == list(twin) and all(torch.equal(binary[key], twin[key]) for key in binary)
    assert not _binary(built[1])
    values = torch.randn(2, 8, 6, 6)
    assert torch.equal(built[0](values), built[1](values)) == (not _binary(built[0]))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(("n_in", "n_out"), [(32, 8), (24, 16), (8, 8), (4, 8)])
@pytest.mark.parametrize("after_reduction", [False, True])
def test_preprocessing_gives_the_width_of_the_cell(space, n_in, n_out, after_reduction):
    module = models.space(space).preprocess(n_in, n_out, _of(space), norm=batch_norm, after_reduction=after_reduction)
    side = 4 if after_reduction else 7
    assert module(torch.randn(2, n_in, 7, 7)).shape == (2, n_out, side, side)


@pytest.mark.parametrize("after_reduction", [False, True])
def test_paper_alone_keeps_its_reduction_after_a_reduction_cell_in_float(after_reduction):
    for space, n_binary in (("paper", 0 if after_reduction else 1), ("onebit", 1)):
        module = models.space(space).preprocess(8, 4, _of(space), norm=batch_norm, after_reduction=after_reduction)
        assert len(_binary(module)) == n_binary


@pytest.mark.parametrize(
    ("name", "stride", "kinds", "n_weights"),
    [
        ("dil_conv_3x3", 1, "ReLU Conv Conv BatchNorm2d", 9 * 8 + 64),
        ("dil_conv_5x5", 2, "ReLU Conv Conv BatchNorm2d", 25 * 8 + 64),
        ("sep_conv_3x3", 2, "ReLU Conv Conv BatchNorm2d ReLU Conv Conv BatchNorm2d", 2 * (9 * 8 + 64)),
        ("max_pool_3x3", 1, "MaxPool2d BatchNorm2d", 0),
        ("avg_pool_3x3", 2, "AvgPool2d BatchNorm2d", 0),
        ("skip_connect", 1, "Identity", 0),
        ("skip_connect", 2, "Conv Conv BatchNorm2d", 64),
    ],
)
def test_operations_of_paper_are_the_released_ones(name, stride, kinds, n_weights):
    module = _operation("paper", name, stride=stride)
    leaves = [m for m in module.modules() if not list(m.children())]
    found = ["Conv" if isinstance(m, nn.Conv2d) else type(m).__name__ for m in leaves]
    assert " ".join(found) == kinds
    assert sum(m.weight.numel() for m in _binary(module)) == n_weights
    convolutions = [m for m in leaves if isinstance(m, nn.Conv2d)]
    if name != "skip_connect":
        assert [m.groups for m in convolutions] == [8, 1] * (len(convolutions) // 2)
        assert [m.stride[0] for m in convolutions] == [stride, 1, 1, 1][: len(convolutions)]
        assert all(m.dilation[0] == (2 if name.startswith("dil") and m.groups > 1 else 1) for m in convolutions)


@pytest.mark.parametrize("sides", [(6, 6), (5, 8), (7, 3), (1, 1)])
def test_picked_pixels_carry_the_gradient_of_slices(sides):
    values = torch.randn(2, 3, *sides, dtype=torch.float64, requires_grad=True)
    padded = torch.nn.functional.pad(values, (0, 1, 0, 1))
    rows, columns = (-(-length // 2) for length in sides)
    expected = values[:, :, ::2, ::2], padded[:, :, 1::2, 1::2][:, :, :rows, :columns]
    found = paper.picked(values)
    gradients = [torch.randn_like(part) for part in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    of_found, of_expected = (torch.autograd.grad(parts, [values], gradients) for parts in (found, expected))
    assert torch.equal(of_found[0], of_expected[0])
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(paper.picked(values), expected, strict=True))


@pytest.mark.parametrize(("space", "name"), [(s, n) for s, n in EVERY_OPERATION if "conv" in n])
def test_a_convolution_takes_the_beginning_that_is_there_already(space, name):
    module, values = _operation(space, name), torch.randn(2, 8, 6, 6)
    assert isinstance(module, Begun) and ("relu" if space == "paper" else "norm") == module.BEGINNING
    begun = module.begin(values)
    torch.testing.assert_close(begun, values.relu() if space == "paper" else batch_norm(8)(values))
    assert torch.equal(module(values), module(values, begun))
    assert not torch.equal(module(values), module(values, values - 0.5))


def test_the_two_halves_of_a_factorised_reduction_read_shifted_pixels():
    module = _operation("paper", "skip_connect", n_channels=2, stride=2, binarizer=_binarizer("none")).eval()
    with torch.no_grad():
        module.conv1.weight.fill_(0.5)
        module.conv2.weight.fill_(0.5)
        values = torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, 2, 3, 3)
        halves = module(values)[0]
    torch.testing.assert_close(halves[0], torch.tensor([[0.0, 2.0], [6.0, 8.0]]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(halves[1], torch.tensor([[4.0, 0.0], [0.0, 0.0]]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS["onebit"])
@pytest.mark.parametrize("stride", [1, 2])
def test_no_relu_and_no_depthwise_convolution_stand_in_onebit(name, stride):
    module = _operation("onebit", name, n_channels=64, stride=stride)
    assert not [m for m in module.modules() if isinstance(m, nn.ReLU)]
    for convolution in _binary(module):
        assert convolution.activation_bits == 1
        assert convolution.in_channels // convolution.groups >= 32


def test_groups_are_equal_and_have_at_least_32_channels():
    assert [onebit.n_groups(n) for n in (8, 32, 63, 64, 72, 96, 100, 128)] == [1, 1, 1, 2, 2, 3, 2, 4]


def test_a_block_is_the_formula_of_its_docstring():
    block = _operation("onebit", "dil_conv_3x3").eval()
    nn.init.normal_(block.activation.before)
    values = torch.randn(2, 8, 6, 6)
    normed = block.norm_in(values)
    inner = block.norm_out(block.conv(normed)) + normed
    z = inner + block.activation.before[:, None, None]
    expected = torch.where(z > 0, z, 0.25 * z)
    torch.testing.assert_close(block(values), expected)
    assert block.conv.dilation == (2, 2) and block.conv.padding == (2, 2)


def test_rprelu_has_the_gradient_of_its_formula():
    module = RPReLU(3).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    values = torch.randn(4, 3, 2, 2, dtype=torch.double, requires_grad=True)

    def call(values, *parts):
        names = [name for name, _ in module.named_parameters()]
        return torch.func.functional_call(module, dict(zip(names, parts, strict=True)), values)

    assert torch.autograd.gradcheck(call, (values, *module.parameters()))
    z = values + module.before[:, None, None]
    expected = nn.functional.prelu(z, module.slope) + module.after[:, None, None]
    torch.testing.assert_close(module(values), expected)


def test_rprelu_keeps_bf16_and_the_memory_format():
    values = torch.randn(2, 3, 4, 4).bfloat16().contiguous(memory_format=torch.channels_last)
    output = RPReLU(3)(values)
    assert output.dtype == torch.bfloat16
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_a_shortcut_joins_channels_that_do_not_divide():
    values = torch.arange(3.0).reshape(1, 3, 1, 1)
    assert shortcut(values, 2, 1).flatten().tolist() == [(0 + 2 + 1) / 3, (1 + 0 + 2) / 3]
    assert shortcut(values, 6, 1).flatten().tolist() == [0, 1, 2, 0, 1, 2]


def test_a_mistyped_operation_is_suggested():
    with pytest.raises(
        UnknownNameError, match=r"Unknown operation of space 'paper' 'dil_conv_3x4'\. Did you mean 'dil_"
    ):
        _operation("paper", "dil_conv_3x4")
    with pytest.raises(UnknownNameError, match="operation of space 'onebit' 'sep_conv_3x3'"):
        _operation("onebit", "sep_conv_3x3")


def test_reductions_stand_at_thirds_of_classifiers_and_at_quarters_of_face_networks():
    assert cells.reduction_positions(20, 2) == (6, 13)
    assert cells.reduction_positions(6, 2) == (2, 4)
    assert cells.reduction_positions(8, 3) == (2, 4, 6)
    for n_cells in range(3, 30):
        assert len(set(cells.reduction_positions(n_cells, 3))) == 3


@pytest.mark.parametrize(
    ("task", "size_px", "stride", "channels", "halves"),
    [
        ("classification", 32, 1, (24, 24), False),
        ("classification", 64, 2, (24, 24), False),
        ("classification", 224, 8, (8, 8), True),
        ("embedding", 32, 1, (24, 24), False),
        ("embedding", 64, 2, (24, 24), False),
        ("embedding", 112, 2, (24, 24), False),
    ],
)
def test_the_stem_follows_task_and_size(task, size_px, stride, channels, halves):
    stem = cells.stem(task, size_px, 8, batch_norm)
    before, previous = stem(torch.randn(1, 3, size_px, size_px))
    assert (stem.channels, stem.stride, stem.halves) == (channels, stride, halves)
    assert previous.shape == (1, channels[1], size_px // stride, size_px // stride)
    assert before.shape == (1, channels[0], *(2 * [size_px // stride * (1 + halves)]))


def test_the_plan_chains_the_channels_of_the_cells():
    stem = cells.stem("classification", 32, 8, batch_norm)
    plans = cells.plan("classification", 6, 8, stem)
    assert [plan.kind[0] for plan in plans] == ["n", "n", "r", "n", "r", "n"]
    assert [plan.n_channels for plan in plans] == [8, 8, 16, 16, 32, 32]
    assert [plan.n_previous for plan in plans] == [24, 32, 32, 64, 64, 128]
    assert [plan.n_before for plan in plans] == [24, 24, 32, 32, 64, 64]
    assert [plan.after_reduction for plan in plans] == [False, False, False, True, False, True]
    assert cells.final_side("classification", 32, stem) == 8
