"""The numpy operations of the packed engine against torch's and the simulation's."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnas_face.models.backbones._blocks import RPReLU, shortcut
from bnas_face.models.binarizers._base import sign
from bnas_face.packed.kernels import Epilogue, fallback


def nhwc(values: torch.Tensor) -> np.ndarray:
    """(n, c, h, w) → contiguous (n, h, w, c)."""
    return np.ascontiguousarray(values.permute(0, 2, 3, 1).numpy())


def plain(n_channels: int, **more: object) -> Epilogue:
    """An epilogue that leaves the sums as they are."""
    return Epilogue(scale=np.ones(n_channels, np.float32), bias=np.zeros(n_channels, np.float32), **more)  # type: ignore[arg-type]


SHAPES = st.fixed_dictionaries(
    {
        "n": st.integers(1, 3),
        "c": st.sampled_from([1, 3, 32, 63, 64, 65, 130]),
        "out": st.integers(1, 9),
        "height": st.integers(1, 9),
        "width": st.integers(1, 9),
        "kernel": st.sampled_from([1, 3, 5]),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "groups": st.sampled_from([1, 2, 5, 1000]),
        "seed": st.integers(0, 99),
    }
)


def case(shape: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    """Random values, random weights, and the convolution's arguments; groups 1000 is depthwise."""
    groups = shape["c"] if shape["groups"] == 1000 else shape["groups"]
    c, out = -(-shape["c"] // groups) * groups, shape["out"] * groups
    generator = torch.Generator().manual_seed(shape["seed"])
    values = torch.randn(shape["n"], c, shape["height"], shape["width"], generator=generator)
    weight = torch.randn(out, c // groups, shape["kernel"], shape["kernel"], generator=generator)
    return values, weight, {"stride": shape["stride"], "dilation": shape["dilation"], "groups": groups}


@settings(max_examples=60, deadline=None)
@given(SHAPES)
def test_sums_of_bits_are_those_of_torch_exactly(shape: dict[str, int]) -> None:
    values, weight, arguments = case(shape)
    c, out = values.shape[1], weight.shape[0]
    padding = arguments["dilation"] * (weight.shape[-1] // 2)
    expected = F.conv2d(sign(values), sign(weight), padding=padding, **arguments)
    bits = fallback.pack_signs(nhwc(values), np.zeros(c, np.float32), np.zeros(c, np.uint8))
    packed = fallback.pack(nhwc(weight) < 0)
    ready = fallback.prepare_binary(packed, in_channels=c, groups=arguments["groups"])
    found, none = fallback.binary_convolution(bits, ready, in_channels=c, epilogue=plain(out), **arguments)
    assert none is None
    np.testing.assert_array_equal(found, nhwc(expected))


@settings(max_examples=40, deadline=None)
@given(SHAPES)
def test_float_and_signed_sums_are_those_of_torch(shape: dict[str, int]) -> None:
    values, weight, arguments = case(shape)
    padding = arguments["dilation"] * (weight.shape[-1] // 2)
    epilogue = plain(weight.shape[0])
    found, _ = fallback.convolution(nhwc(values), nhwc(weight), epilogue=epilogue, **arguments)
    np.testing.assert_allclose(found, nhwc(F.conv2d(values, weight, padding=padding, **arguments)), atol=1e-4)
    signed = fallback.prepare_signed(
        fallback.pack(nhwc(weight) < 0), in_channels=values.shape[1], groups=arguments["groups"]
    )
    found, _ = fallback.signed_convolution(nhwc(values), signed, epilogue=epilogue, **arguments)
    np.testing.assert_allclose(found, nhwc(F.conv2d(values, sign(weight), padding=padding, **arguments)), atol=1e-4)


def test_an_unpadded_kernel_as_large_as_the_map_gives_one_pixel() -> None:
    values, weight = torch.randn(2, 6, 4, 4), torch.randn(6, 1, 4, 4)
    found, _ = fallback.convolution(nhwc(values), nhwc(weight), padding=0, groups=6, epilogue=plain(6))
    np.testing.assert_allclose(found, nhwc(F.conv2d(values, weight, groups=6)), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([(4, 8), (8, 4), (6, 4), (3, 3)]))
def test_the_shortcut_is_that_of_the_networks(stride: int, height: int, width: int, channels: tuple[int, int]) -> None:
    c, out = channels
    source, gain, offset = torch.randn(2, c, height, width), torch.randn(c), torch.randn(c)
    rows, columns = -(-height // stride), -(-width // stride)
    epilogue = plain(out, shortcut_gain=gain.numpy(), shortcut_offset=offset.numpy())
    found, _ = fallback.finish(np.zeros((2, rows, columns, out), np.float32), epilogue, nhwc(source), stride)
    affine = source * gain[:, None, None] + offset[:, None, None]
    np.testing.assert_allclose(found, nhwc(shortcut(affine, out, stride)), atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil_mode"), [(3, 1, 1, False), (3, 2, 1, False), (2, 2, 0, True), (8, 8, 0, True)]
)
@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_pools_are_torchs(kernel: int, stride: int, padding: int, ceil_mode: bool, side: int) -> None:
    values = torch.randn(2, 5, side, side)
    arguments = {"kernel": kernel, "stride": stride, "padding": padding}
    largest, _ = fallback.max_pool(nhwc(values), epilogue=plain(5), **arguments)
    average, _ = fallback.average_pool(nhwc(values), epilogue=plain(5), **arguments)
    np.testing.assert_array_equal(largest, nhwc(F.max_pool2d(values, kernel, stride, padding, ceil_mode=ceil_mode)))
    expected = F.avg_pool2d(values, kernel, stride, padding, ceil_mode=ceil_mode, count_include_pad=False)
    np.testing.assert_allclose(average, nhwc(expected), atol=1e-6)


def test_scale_bias_activation_and_signs_follow_each_other() -> None:
    activation = RPReLU(3)
    with torch.no_grad():
        for part in activation.parameters():
            part.normal_()
    values = torch.randn(2, 3, 4, 4)
    before, slope, after = (part.detach().numpy() for part in (activation.before, activation.slope, activation.after))
    scale, bias = np.array([2, -1, 0.5], np.float32), np.array([0.1, 0, -0.3], np.float32)
    threshold, flip = np.array([0.2, 0, np.inf], np.float32), np.array([0, 1, 0], np.uint8)
    epilogue = Epilogue(scale=scale, bias=bias, before=before, slope=slope, after=after, threshold=threshold, flip=flip)
    floats, bits = fallback.elementwise([nhwc(values), nhwc(values)], epilogue=epilogue)
    with torch.no_grad():
        scaled = 2 * values * torch.tensor(scale)[:, None, None] + torch.tensor(bias)[:, None, None]
        expected = nhwc(activation(scaled))
    np.testing.assert_allclose(floats, expected, atol=1e-6)
    negative = np.stack([expected[..., 0] < 0.2, expected[..., 1] > 0, np.ones((2, 4, 4), bool)], axis=-1)
    np.testing.assert_array_equal(bits, fallback.pack(negative))


def test_a_bit_is_one_where_the_value_is_negative_and_zeros_are_positive() -> None:
    values = np.array([-1, -0.0, 0.0, 1, np.nan], np.float32).reshape(1, 1, 1, 5)
    bits = fallback.pack_signs(values, np.zeros(5, np.float32), np.zeros(5, np.uint8))
    assert bits.tolist() == [[[[1]]]]
    assert fallback.unpack(bits, 5).ravel().tolist() == [-1, 1, 1, 1, 1]


def test_channel_64_is_the_first_bit_of_the_second_word() -> None:
    negative = np.zeros(65, bool)
    negative[[1, 63, 64]] = True
    assert fallback.pack(negative).tolist() == [2 + (1 << 63), 1]


def test_an_integer_threshold_compares_the_sums_themselves() -> None:
    bits = np.zeros((1, 1, 1, 1), np.uint64)  # all +1: the sum is 3 − 2 · (negative weights)
    weight = fallback.prepare_binary(np.array([0, 1, 3, 7], np.uint64).reshape(4, 1, 1, 1), in_channels=3, groups=1)
    epilogue = plain(
        4,
        keep_floats=False,
        integer_threshold=np.array([3, 2, -1, -4], np.int32),
        flip=np.array([0, 0, 1, 1], np.uint8),
    )
    floats, found = fallback.binary_convolution(bits, weight, in_channels=3, epilogue=epilogue)
    assert floats is None
    assert found is not None and found.ravel().tolist() == [0b1010]  # 3<3 no, 1<2 yes, -1>-1 no, -3>-4 yes


def test_windows_larger_than_the_map_take_no_more_memory_than_the_map() -> None:
    values = np.arange(2 * 3 * 3 * 4, dtype=np.float32).reshape(2, 3, 3, 4)
    tracemalloc.start()
    found, _ = fallback.finish(np.zeros((2, 1, 1, 4), np.float32), plain(4), values, stride=4096)
    pooled, _ = fallback.average_pool(values, kernel=4096, stride=4096, padding=0, epilogue=plain(4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, values.mean(axis=(1, 2), keepdims=True))
    np.testing.assert_array_equal(pooled, found)
    assert peak < 1 << 20
