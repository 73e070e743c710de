from typing import Any

from numpy.typing import NDArray

_Array = NDArray[Any]
_Arrays = tuple[_Array | None, ...]

def implementations() -> dict[str, int]: ...
def pack(
    index: int, threads: int, pixels: int, channels: int, values: _Array, threshold: _Array, flip: _Array, bits: _Array
) -> None: ...
def convolve(
    index: int,
    threads: int,
    kind: int,
    sizes: tuple[int, ...],
    values: _Array,
    tiles: _Array,
    ones: _Array | None,
    epilogue: _Arrays,
    shortcut: _Array | None,
    shortcut_sizes: tuple[int, ...],
    floats: _Array | None,
    bits: _Array | None,
) -> None: ...
def pool(
    index: int,
    threads: int,
    kind: int,
    sizes: tuple[int, ...],
    values: _Array,
    epilogue: _Arrays,
    floats: _Array | None,
    bits: _Array | None,
) -> None: ...
def combine(
    index: int,
    threads: int,
    pixels: int,
    channels: int,
    maps: tuple[_Array, ...],
    epilogue: _Arrays,
    floats: _Array | None,
    bits: _Array | None,
) -> None: ...
def linear(
    index: int,
    threads: int,
    type: int,
    n: int,
    inputs: int,
    out: int,
    values: _Array,
    weight: _Array,
    scale: _Array,
    bias: _Array,
    result: _Array,
) -> None: ...
def popcounts(index: int, rounds: int) -> int: ...
def allocate(n_bytes: int) -> bytearray: ...
