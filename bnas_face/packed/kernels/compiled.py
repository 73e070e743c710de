"""The operations of the packed engine by the compiled kernels; `fallback` defines what each of them does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.packed.kernels import _kernels, _layout
from bnas_face.packed.kernels._epilogue import Epilogue
from bnas_face.packed.kernels.fallback import Bits, Floats, Result, n_words

_BITS_BITS, _FLOATS_BITS, _FLOATS_FLOATS, _FLOATS_EXACT = range(4)
_AVERAGE, _MAX = range(2)
_LINEAR_TYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8))
"""In the order of the kernels' numbers."""
_SMALL_BYTES = 16 * 1024


def implementations() -> dict[str, int]:
    """Those that this processor can run, best first."""
    return _kernels.implementations()


class Compiled:
    """The operations by one implementation of `implementations`.

    Every size is checked, here or in C, before memory is touched: what does not fit is a ValueError.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._index = implementations()[name]

    def implementation(self) -> str:
        """The instruction set."""
        return self._name

    def pack_signs(
        self, values: Floats, threshold: NDArray[np.float32], flip: NDArray[np.uint8], *, threads: int = 1
    ) -> Bits:
        """As `fallback.pack_signs`."""
        values = _map(values, np.float32)
        n, height, width, c = values.shape
        bits = _empty((n, height, width, n_words(c)), np.uint64, 8)
        _kernels.pack(self._index, threads, n * height * width, c, values, threshold, flip, bits)
        return bits

    def prepare_binary(self, weight: Bits, *, in_channels: int, groups: int) -> _layout.Weight:
        """As `fallback.prepare_binary`."""
        return _layout.binary(weight, in_channels, groups)

    def prepare_signed(self, weight: Bits, *, in_channels: int, groups: int) -> _layout.Weight:
        """As `fallback.prepare_signed`."""
        return _layout.signed(weight, in_channels, groups)

    def prepare_float(self, weight: NDArray[Any], *, groups: int, exact: bool = False) -> _layout.Weight:
        """As `fallback.prepare_float`."""
        return replace(_layout.floats(weight, groups), exact=exact)

    def prepare_linear(self, weight: NDArray[Any]) -> NDArray[Any]:
        """As `fallback.prepare_linear`."""
        return np.ascontiguousarray(weight, weight.dtype if weight.dtype in _LINEAR_TYPES else np.float32)

    def binary_convolution(
        self,
        bits: Bits,
        weight: _layout.Weight,
        *,
        in_channels: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        epilogue: Epilogue,
        shortcut: Floats | None = None,
        threads: int = 1,
    ) -> Result:
        """As `fallback.binary_convolution`."""
        bits = _map(bits, np.uint64)
        sizes = (*bits.shape[:3], in_channels)
        window = (stride, dilation, dilation * (weight.kernel // 2), groups)
        return self._convolve(_BITS_BITS, bits, weight, sizes, window, epilogue, shortcut, threads)

    def signed_convolution(
        self,
        values: Floats,
        weight: _layout.Weight,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        epilogue: Epilogue,
        shortcut: Floats | None = None,
        threads: int = 1,
    ) -> Result:
        """As `fallback.signed_convolution`."""
        values = _map(values, np.float32)
        window = (stride, dilation, dilation * (weight.kernel // 2), groups)
        return self._convolve(_FLOATS_BITS, values, weight, values.shape, window, epilogue, shortcut, threads)

    def convolution(
        self,
        values: Floats,
        weight: _layout.Weight,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        groups: int = 1,
        epilogue: Epilogue,
        shortcut: Floats | None = None,
        threads: int = 1,
    ) -> Result:
        """As `fallback.convolution`."""
        values = _map(values, np.float32)
        window = (stride, dilation, dilation * (weight.kernel // 2) if padding is None else padding, groups)
        kind = _FLOATS_EXACT if weight.exact else _FLOATS_FLOATS
        return self._convolve(kind, values, weight, values.shape, window, epilogue, shortcut, threads)

    def linear(self, values: Floats, weight: NDArray[Any], scale: Floats, bias: Floats, *, threads: int = 1) -> Floats:
        """As `fallback.linear`."""
        values = np.ascontiguousarray(values, np.float32)
        if values.ndim != 2 or weight.ndim != 2 or values.shape[1] != weight.shape[1]:
            raise ValueError(f"A linear layer of {weight.shape} cannot take {values.shape}.")
        result = np.empty((len(values), len(weight)), np.float32)
        n, inputs = values.shape
        _kernels.linear(
            self._index,
            threads,
            _LINEAR_TYPES.index(weight.dtype),
            n,
            inputs,
            len(weight),
            values,
            weight,
            scale,
            bias,
            result,
        )
        return result

    def average_pool(
        self, values: Floats, *, kernel: int, stride: int, padding: int, epilogue: Epilogue, threads: int = 1
    ) -> Result:
        """As `fallback.average_pool`."""
        return self._pool(_AVERAGE, values, kernel, stride, padding, epilogue, threads)

    def max_pool(
        self, values: Floats, *, kernel: int, stride: int, padding: int, epilogue: Epilogue, threads: int = 1
    ) -> Result:
        """As `fallback.max_pool`."""
        return self._pool(_MAX, values, kernel, stride, padding, epilogue, threads)

    def elementwise(self, values: Sequence[Floats], *, epilogue: Epilogue, threads: int = 1) -> Result:
        """As `fallback.elementwise`."""
        maps = tuple(_map(each, np.float32) for each in values)
        if any(each.shape != maps[0].shape for each in maps):
            raise ValueError(f"Maps of shapes {[each.shape for each in maps]} cannot be added.")
        n, height, width, c = maps[0].shape
        floats, bits = _outputs((n, height, width), c, epilogue)
        _kernels.combine(self._index, threads, n * height * width, c, maps, _arrays(epilogue), floats, bits)
        return floats, bits

    def concatenate(self, values: Sequence[Floats]) -> Floats:
        """As `fallback.concatenate`; all channels of a pixel are copied as one item."""
        maps = [_map(each, np.float32) for each in values]
        result = _empty((*maps[0].shape[:3], sum(each.shape[3] for each in maps)), np.float32, 4)
        first = 0
        for each in maps:
            end = first + each.shape[3]
            pixels = f"V{each.shape[3] * each.itemsize}"
            result[..., first:end].view(pixels)[:] = each.view(pixels)
            first = end
        return result

    def _pool(
        self, kind: int, values: Floats, kernel: int, stride: int, padding: int, epilogue: Epilogue, threads: int
    ) -> Result:
        values = _map(values, np.float32)
        n, height, width, c = values.shape
        sizes = (n, height, width, c, c, kernel, stride, 1, padding, 1)
        floats, bits = _outputs((n, -(-height // stride), -(-width // stride)), c, epilogue)
        _kernels.pool(self._index, threads, kind, sizes, values, _arrays(epilogue), floats, bits)
        return floats, bits

    def _convolve(
        self,
        kind: int,
        values: NDArray[Any],
        weight: _layout.Weight,
        sizes: tuple[int, ...],
        window: tuple[int, int, int, int],
        epilogue: Epilogue,
        shortcut: Floats | None,
        threads: int,
    ) -> Result:
        """`sizes`: n, h, w, c; `window`: stride, dilation, padding, groups."""
        stride, dilation, padding, groups = window
        if groups != weight.groups or sizes[3] != weight.inputs * groups:
            raise ValueError(
                f"Weights of {weight.groups} groups of {weight.inputs} channels cannot take {sizes[3]} in {groups}."
            )
        out, kernel = weight.out, weight.kernel
        reach = dilation * (kernel - 1) + 1
        rows, columns = ((side + 2 * padding - reach) // stride + 1 for side in sizes[1:3])
        floats, bits = _outputs((sizes[0], max(rows, 0), max(columns, 0)), out, epilogue)
        source = None if shortcut is None else _map(shortcut, np.float32)
        dims = (*sizes, out, kernel, stride, dilation, padding, groups)
        source_dims = (0, 0, 0) if source is None else source.shape[1:]
        common = (self._index, threads, kind, dims, values, weight.tiles, weight.ones)
        _kernels.convolve(*common, _arrays(epilogue), source, source_dims, floats, bits)
        return floats, bits


def _map(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """A contiguous map (n, h, w, channels or words)."""
    if values.ndim != 4:
        raise ValueError(f"A map of shape {values.shape}: expected (n, height, width, channels).")
    return np.ascontiguousarray(values, dtype)


def _outputs(size: tuple[int, int, int], out: int, epilogue: Epilogue) -> Result:
    """Arrays for what the epilogue lets through."""
    whole = epilogue.integer_threshold is not None
    floats = _empty((*size, out), np.float32, 4) if epilogue.keep_floats and not whole else None
    bits = _empty((*size, n_words(out)), np.uint64, 8) if epilogue.threshold is not None or whole else None
    return floats, bits


def _empty(shape: tuple[int, ...], dtype: type[np.generic], item_bytes: int) -> NDArray[Any]:
    """An array of undefined values; a large one begins at a cache line and reuses the memory of earlier ones."""
    n_bytes = math.prod(shape) * item_bytes
    if n_bytes < _SMALL_BYTES:
        return np.empty(shape, dtype)
    return np.frombuffer(_kernels.allocate(n_bytes), dtype).reshape(shape)


def _arrays(epilogue: Epilogue) -> tuple[NDArray[Any] | None, ...]:
    """In the order that the extension reads."""
    whole = epilogue.integer_threshold
    return (
        epilogue.scale,
        epilogue.bias,
        epilogue.before,
        epilogue.slope,
        epilogue.after,
        epilogue.threshold if whole is None else None,
        epilogue.flip,
        whole,
        epilogue.magnitude,
        epilogue.shortcut_gain,
        epilogue.shortcut_offset,
    )
