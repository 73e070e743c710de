"""Every operation of the packed engine in numpy: the definition of the compiled kernels, and what runs without them.

Maps are float32 (n, h, w, c), contiguous. A bit is 1 where the value is negative; sign(0) = sign(−0) = +1. Packed maps
are uint64 (n, h, w, words), words = ceil(c / 64): channel i is bit i % 64 of word i // 64, unused bits are 0. 1-bit
weights are uint64 (out, kh, kw, ceil(c / groups / 64)) in the same order. Padding contributes 0 to a sum, so that a sum
over K valid bits is K − 2 · popcount(input XOR weight). Sums of bits are exact; those of floats are in no fixed order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.packed.kernels._epilogue import Epilogue

WORD = 64

Floats = NDArray[np.float32]
Bits = NDArray[np.uint64]
Result = tuple[Floats | None, Bits | None]


def implementation() -> str:
    """``"numpy"``."""
    return "numpy"


def n_words(n_channels: int) -> int:
    """Words of 64 bits that hold `n_channels` bits."""
    return -(-n_channels // WORD)


def pack(negative: NDArray[np.bool_]) -> Bits:
    """Booleans (…, c) → uint64 (…, ceil(c / 64))."""
    c = negative.shape[-1]
    padded = np.zeros((*negative.shape[:-1], n_words(c) * WORD), np.bool_)
    padded[..., :c] = negative
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def ones(bits: Bits, n_channels: int) -> NDArray[np.uint8]:
    """Bits (…, words) → 0 or 1 (…, n_channels)."""
    octets = np.ascontiguousarray(bits.astype("<u8", copy=False)).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=n_channels, bitorder="little")


def unpack(bits: Bits, n_channels: int) -> Floats:
    """Bits (…, words) → float32 (…, n_channels): −1 where a bit is 1, else +1."""
    return np.float32(1) - np.float32(2) * ones(bits, n_channels).astype(np.float32)


def pack_signs(values: Floats, threshold: NDArray[np.float32], flip: NDArray[np.uint8], *, threads: int = 1) -> Bits:
    """Signs of a map (n, h, w, c): bit 1 where value < threshold, or with flip 1 where value > threshold."""
    return pack(np.where(flip.astype(np.bool_), values > threshold, values < threshold))


def prepare_binary(weight: Bits, *, in_channels: int, groups: int) -> Any:
    """1-bit weights in the form that `binary_convolution` takes; made once, when a model is opened.

    Parameters
    ----------
    weight : uint64 (out, kh, kw, ceil(in_channels / groups / 64))
    in_channels, groups : int
    """
    return unpack(weight, in_channels // groups)


def prepare_signed(weight: Bits, *, in_channels: int, groups: int) -> Any:
    """1-bit weights in the form that `signed_convolution` takes; parameters as in `prepare_binary`."""
    return unpack(weight, in_channels // groups)


def prepare_float(weight: NDArray[Any], *, groups: int, exact: bool = False) -> Any:
    """float32 or float16 (out, kh, kw, in / groups) in the form that `convolution` takes.

    With `exact` the sums are made in double precision and rounded once, so that their order does not matter: a sign
    may hang on their last bit.
    """
    return weight.astype(np.float64 if exact else np.float32, copy=False)


def prepare_linear(weight: NDArray[Any]) -> Any:
    """float32, float16 or int8 (out, k) in the form that `linear` takes."""
    return weight


def binary_convolution(
    bits: Bits,
    weight: Any,
    *,
    in_channels: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    epilogue: Epilogue,
    shortcut: Floats | None = None,
    threads: int = 1,
) -> Result:
    """1-bit inputs, 1-bit weights, "same" padding; borders are exact (padding is 0, neither −1 nor +1).

    Parameters
    ----------
    bits : uint64 (n, h, w, ceil(in_channels / 64))
    weight
        Of `prepare_binary`; square odd kernel.
    in_channels, stride, dilation, groups : int
    epilogue : Epilogue
    shortcut : float32 (n, h', w', any number of channels) or None
        Of the output's height and width, or `stride` times as large (rounded up).
    threads : int
        At most; results do not depend on it.

    Returns
    -------
    floats : float32 (n, ceil(h / stride), ceil(w / stride), out) or None
        None without ``epilogue.keep_floats``.
    bits : uint64 (n, …, ceil(out / 64)) or None
        None where the epilogue has no threshold.
    """
    sums = _convolve(unpack(bits, in_channels), weight, stride, dilation, groups)
    if epilogue.integer_threshold is not None and epilogue.flip is not None:
        whole = sums.astype(np.int32)
        flip = epilogue.flip.astype(np.bool_)
        return None, pack(np.where(flip, whole > epilogue.integer_threshold, whole < epilogue.integer_threshold))
    return finish(sums, epilogue, shortcut, stride)


def signed_convolution(
    values: Floats,
    weight: Any,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    epilogue: Epilogue,
    shortcut: Floats | None = None,
    threads: int = 1,
) -> Result:
    """Float inputs (n, h, w, c), 1-bit weights of `prepare_signed` (W1A32): sums of ± values; else as above."""
    return finish(_convolve(values, weight, stride, dilation, groups), epilogue, shortcut, stride)


def convolution(
    values: Floats,
    weight: Any,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int | None = None,
    groups: int = 1,
    epilogue: Epilogue,
    shortcut: Floats | None = None,
    threads: int = 1,
) -> Result:
    """Float inputs (n, h, w, c), float weights of `prepare_float`.

    `padding` None is "same"; 0 with a kernel as large as the map gives one pixel (a global depthwise convolution, whose
    kernel may be even).
    """
    return finish(_convolve(values, weight, stride, dilation, groups, padding), epilogue, shortcut, stride)


def linear(values: Floats, weight: Any, scale: Floats, bias: Floats, *, threads: int = 1) -> Floats:
    """``(values @ weight.T) · scale + bias``: (n, k), weight (out, k) of `prepare_linear` → float32 (n, out)."""
    result: Floats = (values @ weight.astype(np.float32, copy=False).T) * scale + bias
    return result


def average_pool(
    values: Floats, *, kernel: int, stride: int, padding: int, epilogue: Epilogue, threads: int = 1
) -> Result:
    """Averages of windows: (n, h, w, c) → (n, ceil(h / stride), ceil(w / stride), c), then the epilogue.

    Window i begins at pixel i · stride − padding; what it has outside of the map is not counted. This is torch's pool
    of kernel 3 with padding 1, of kernel 2 with stride 2 and ``ceil_mode``, and the global pool (kernel = stride = h).
    """
    total = np.zeros((), np.float32)
    count = np.zeros((), np.float32)
    inside = np.ones((1, *values.shape[1:3], 1), np.float32)
    for part, valid in zip(
        _windows(values, kernel, stride, padding, 0.0), _windows(inside, kernel, stride, padding, 0.0), strict=True
    ):
        total, count = total + part, count + valid
    return finish((total / count).astype(np.float32, copy=False), epilogue, None, 1)


def max_pool(values: Floats, *, kernel: int, stride: int, padding: int, epilogue: Epilogue, threads: int = 1) -> Result:
    """Largest valid value of every window; windows as in `average_pool`."""
    largest = functools.reduce(np.maximum, _windows(values, kernel, stride, padding, -np.inf))
    return finish(largest, epilogue, None, 1)


def elementwise(values: Sequence[Floats], *, epilogue: Epilogue, threads: int = 1) -> Result:
    """The sum of one or more maps of the same shape, and what the epilogue makes of it."""
    total = values[0]
    for other in values[1:]:
        total = total + other
    return finish(total, epilogue, None, 1)


def concatenate(values: Sequence[Floats]) -> Floats:
    """One map (n, h, w, sum of channels) of maps (n, h, w, channels), their channels one after another."""
    return np.concatenate(values, axis=3)


def _windows(values: Floats, kernel: int, stride: int, padding: int, fill: float) -> Iterator[Floats]:
    """For every tap of the window the map of what it sees, `fill` outside of the map."""
    n, height, width, c = values.shape
    kernel = min(kernel, max(height, width) + padding)  # further taps see nothing of the map
    rows, columns = -(-height // stride), -(-width // stride)
    shape = (n, (rows - 1) * stride + kernel, (columns - 1) * stride + kernel, c)
    padded = np.full((n, max(shape[1], height + padding), max(shape[2], width + padding), c), fill, np.float32)
    padded[:, padding : padding + height, padding : padding + width] = values
    return (
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(kernel)
        for j in range(kernel)
    )


def _convolve(
    values: Floats, weight: Floats, stride: int, dilation: int, groups: int, padding: int | None = None
) -> Floats:
    """Sums of a convolution: (n, h, w, c), (out, k, k, c / groups) → (n, h', w', out)."""
    n, height, width, c = values.shape
    out, kernel = weight.shape[:2]
    pad = dilation * (kernel // 2) if padding is None else padding
    reach = dilation * (kernel - 1) + 1
    rows, columns = ((side + 2 * pad - reach) // stride + 1 for side in (height, width))
    padded = np.zeros((n, height + 2 * pad, width + 2 * pad, c), weight.dtype)
    padded[:, pad : pad + height, pad : pad + width] = values
    total = np.zeros((n * rows * columns, groups, out // groups), weight.dtype)
    for i in range(kernel):
        for j in range(kernel):
            top, left = i * dilation, j * dilation
            seen = padded[
                :, top : top + (rows - 1) * stride + 1 : stride, left : left + (columns - 1) * stride + 1 : stride
            ]
            total += _grouped(seen.reshape(-1, groups, c // groups), weight[:, i, j])
    return total.reshape(n, rows, columns, out).astype(np.float32, copy=False)


def _grouped(values: Floats, weight: Floats) -> Floats:
    """(pixels, groups, c) and (groups · out, c) → (pixels, groups, out)."""
    groups, c = values.shape[1:]
    tap = weight.reshape(groups, -1, c)
    result: Floats
    if groups == 1:
        result = (values[:, 0] @ tap[0].T)[:, None]
    elif c == 1:
        result = values * tap[:, :, 0]
    else:
        result = (values.transpose(1, 0, 2) @ tap.transpose(0, 2, 1)).transpose(1, 0, 2)
    return result


def finish(sums: Floats, epilogue: Epilogue, shortcut: Floats | None, stride: int) -> Result:
    """What `Epilogue` says, of sums (n, h, w, out)."""
    values = fused(sums if epilogue.magnitude is None else sums * epilogue.magnitude, epilogue.scale, epilogue.bias)
    if shortcut is not None:
        values += _shortcut(shortcut, epilogue, values.shape, stride)
    if epilogue.before is not None and epilogue.slope is not None and epilogue.after is not None:
        values += epilogue.before
        values = np.maximum(values, 0) + epilogue.slope * np.minimum(values, 0) + epilogue.after
    bits = None
    if epilogue.threshold is not None and epilogue.flip is not None:
        bits = pack_signs(values, epilogue.threshold, epilogue.flip)
    return (np.ascontiguousarray(values) if epilogue.keep_floats else None), bits


def _shortcut(source: Floats, epilogue: Epilogue, shape: tuple[int, ...], stride: int) -> Floats:
    """The shortcut's values, of the output's `shape`."""
    if epilogue.shortcut_gain is not None and epilogue.shortcut_offset is not None:
        source = fused(source, epilogue.shortcut_gain, epilogue.shortcut_offset)
    if source.shape[1:3] != shape[1:3]:
        (source, _) = average_pool(source, kernel=stride, stride=stride, padding=0, epilogue=_plain(source.shape[3]))  # type: ignore[assignment]  # floats are kept
    in_channels, out_channels = source.shape[3], shape[3]
    groups = in_channels // math.gcd(in_channels, out_channels)
    total = np.zeros((), np.float32)
    for group in range(groups):
        total = total + source[..., (group * out_channels + np.arange(out_channels)) % in_channels]
    return total / np.float32(groups)


def fused(values: Floats, factor: Floats, addend: Floats) -> Floats:
    """``values · factor + addend``, rounded once (but for one case in 2²⁹, in which it is rounded twice)."""
    product = values.astype(np.float64) * factor  # exact
    return (product + addend).astype(np.float32)


def _plain(n_channels: int) -> Epilogue:
    return Epilogue(scale=np.ones(n_channels, np.float32), bias=np.zeros(n_channels, np.float32))
