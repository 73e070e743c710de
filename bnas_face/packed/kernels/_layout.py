"""Weights in the order in which the compiled kernels read them: blocks of 16 output channels, side by side.

| weights | inputs | layout |
| --- | --- | --- |
| 1 bit | 1 bit | uint64 (groups, blocks, taps, words, 16) |
| 1 bit | float | uint16 (groups, blocks, taps, channels): bit i is output channel i of the block |
| float | float | float32 (groups, blocks, taps, channels, 16) |
| depthwise, 1 bit | 1 bit | uint64 (words, taps): 64 channels a word |
| depthwise | float | uint16 (blocks, taps), float32 (blocks, taps, 16) |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.packed.kernels import fallback

BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Prepared weights of one convolution.

    Attributes
    ----------
    tiles : ndarray
        In the order of this module's table.
    ones : int32 (taps, out + 16) or None
        Bits set in every tap and channel, zeros behind; of 1-bit inputs only.
    out, kernel, inputs, groups : int
        Output channels, side of the kernel, input channels of a group, groups.
    exact : bool
        Whether sums of floats are made in double precision.
    """

    tiles: NDArray[Any]
    ones: NDArray[np.int32] | None
    out: int
    kernel: int
    inputs: int
    groups: int
    exact: bool = False


def binary(weight: NDArray[np.uint64], in_channels: int, groups: int) -> Weight:
    """1-bit weights (out, k, k, words) for 1-bit inputs."""
    inputs = _checked(weight, groups, in_channels)
    if weight.shape[3] != fallback.n_words(inputs):
        raise ValueError(f"Weights of {weight.shape[3]} words cannot hold {inputs} channels a group.")
    weight = weight & fallback.pack(np.ones(inputs, np.bool_))  # unused bits are zero
    out, kernel = weight.shape[:2]
    ones = np.zeros((kernel * kernel, out + BLOCK), np.int32)
    ones[:, :out] = np.bitwise_count(weight).sum(axis=3, dtype=np.int32).reshape(out, -1).T
    if _is_depthwise(inputs, out, groups):
        tiles = fallback.pack(weight.reshape(out, -1).T != 0).T
    else:
        tiles = _blocks(weight.reshape(out, -1), groups).transpose(0, 1, 3, 2)
    return Weight(tiles=np.ascontiguousarray(tiles), ones=ones, out=out, kernel=kernel, inputs=inputs, groups=groups)


def signed(weight: NDArray[np.uint64], in_channels: int, groups: int) -> Weight:
    """1-bit weights (out, k, k, words) for float inputs."""
    inputs = _checked(weight, groups, in_channels)
    if weight.shape[3] != fallback.n_words(inputs):
        raise ValueError(f"Weights of {weight.shape[3]} words cannot hold {inputs} channels a group.")
    out, kernel = weight.shape[:2]
    negative = fallback.ones(weight, inputs).reshape(out, -1)
    blocks = _blocks(negative, 1 if _is_depthwise(inputs, out, groups) else groups)
    octets = np.packbits(blocks, axis=2, bitorder="little")  # (groups, blocks, 2, n)
    tiles = np.ascontiguousarray(octets.transpose(0, 1, 3, 2)).view("<u2")
    return Weight(tiles=tiles, ones=None, out=out, kernel=kernel, inputs=inputs, groups=groups)


def floats(weight: NDArray[Any], groups: int) -> Weight:
    """float32 or float16 (out, k, k, in / groups)."""
    inputs = _checked(weight, groups, weight.shape[3] * groups)
    out, kernel = weight.shape[:2]
    flat = weight.astype(np.float32, copy=False).reshape(out, -1)
    blocks = _blocks(flat, 1 if _is_depthwise(inputs, out, groups) else groups)
    tiles = np.ascontiguousarray(blocks.transpose(0, 1, 3, 2))
    return Weight(tiles=tiles, ones=None, out=out, kernel=kernel, inputs=inputs, groups=groups)


def _checked(weight: NDArray[Any], groups: int, in_channels: int) -> int:
    """Input channels of a group."""
    if weight.ndim != 4 or weight.shape[1] != weight.shape[2] or 0 in weight.shape:
        raise ValueError(f"Weights of shape {weight.shape}: expected (out, kernel, kernel, …).")
    if groups < 1 or in_channels < 1 or in_channels % groups or weight.shape[0] % groups:
        raise ValueError(f"{groups} groups do not divide {in_channels} and {weight.shape[0]} channels.")
    return in_channels // groups


def _is_depthwise(inputs: int, out: int, groups: int) -> bool:
    return groups > 1 and inputs == 1 and out == groups


def _blocks(flat: NDArray[Any], groups: int) -> NDArray[Any]:
    """(out, n) → (groups, blocks, 16, n), the last block of a group filled with zeros."""
    out, n = flat.shape
    inside = out // groups
    n_blocks = -(-inside // BLOCK)
    padded = np.zeros((groups, n_blocks * BLOCK, n), flat.dtype)
    padded[:, :inside] = flat.reshape(groups, inside, n)
    return padded.reshape(groups, n_blocks, BLOCK, n)
