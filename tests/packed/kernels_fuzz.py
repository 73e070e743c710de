"""Calls the extension with arguments that lie about their sizes; run as a program, the extension's path its argument.

Whatever it is given, it computes or raises; under a sanitizer a step beyond an array ends the process.
"""

from __future__ import annotations

import random
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import numpy as np

HOSTILE = (-(2**63), -(2**31), -1, 0, 1, 2, 3, 5, 15, 16, 64, 65, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1)
THREADS = 3
REFUSED = (ValueError, TypeError, OverflowError, MemoryError)


def load(path: str) -> Any:
    """The extension of that file, whatever is installed."""
    spec = spec_from_loader("_kernels", ExtensionFileLoader("_kernels", path))
    if spec is None or spec.loader is None:
        raise SystemExit(f"'{path}' is no extension.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def epilogue(out: int, *, whole: bool = False) -> tuple[Any, ...]:
    """Arrays of an epilogue with bits and, unless `whole`, floats."""
    floats = [np.ones(out, np.float32) for _ in range(5)]
    flip = np.arange(out, dtype=np.uint8) % 2
    if whole:
        return (floats[0], floats[1], None, None, None, None, flip, np.ones(out, np.int32), None, None, None)
    return (*floats, np.zeros(out, np.float32), flip, None, floats[0], None, None)


def valid_calls(index: int) -> list[tuple[str, list[Any]]]:
    """Small calls of every function that are as they should be."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 5, 6, 20), np.float32)
    calls: list[tuple[str, list[Any]]] = []
    for kind, out, groups, whole in (
        (0, 17, 1, False),
        (0, 20, 20, False),
        (0, 24, 2, True),
        (1, 20, 1, False),
        (2, 10, 2, False),
        (3, 20, 20, False),
    ):
        inside, outside = 20 // groups, out // groups
        depthwise = inside == outside == 1
        blocks = -(-out // (16 if kind else 64)) if depthwise else groups * -(-outside // 16)
        words = 1 if kind == 0 else inside
        dtype, lanes = ((np.uint64, 1 if depthwise else 16), (np.uint16, 1), (np.float32, 16), (np.float32, 16))[kind]
        values = rng.integers(0, 2**20, (2, 5, 6, 1), np.uint64) if kind == 0 else maps
        tiles = np.ones((blocks * 9 * words * lanes,), dtype)
        ones = np.ones((9, out + 16), np.int32) if kind == 0 else None
        shortcut = None if whole else np.ones((2, 5, 6, out), np.float32)
        floats = None if whole else np.empty((2, 5, 6, out), np.float32)
        bits = np.empty((2, 5, 6, 1), np.uint64)
        sizes = (2, 5, 6, 20, out, 3, 1, 1, 1, groups)
        source = (0, 0, 0) if whole else (5, 6, out)
        arrays = epilogue(out, whole=whole)
        calls.append(
            ("convolve", [index, THREADS, kind, sizes, values, tiles, ones, arrays, shortcut, source, floats, bits])
        )
    bits, floats = np.empty((2, 5, 6, 1), np.uint64), np.empty((2, 5, 6, 20), np.float32)
    threshold, flip = np.zeros(20, np.float32), np.zeros(20, np.uint8)
    calls.append(("pack", [index, THREADS, 60, 20, maps, threshold, flip, bits]))
    calls.append(("pool", [index, THREADS, 0, (2, 5, 6, 20, 20, 3, 1, 1, 1, 1), maps, epilogue(20), floats, bits]))
    calls.append(("combine", [index, THREADS, 60, 20, (maps, maps), epilogue(20), floats, bits]))
    weight, scale, result = np.ones((7, 20), np.float16), np.ones(7, np.float32), np.empty((60, 7), np.float32)
    calls.append(("linear", [index, THREADS, 1, 60, 20, 7, maps, weight, scale, scale, result]))
    return calls


def spoilt(rng: random.Random, argument: Any) -> Any:
    """Something else in the place of an argument."""
    if isinstance(argument, tuple):
        i = rng.randrange(len(argument))
        return (*argument[:i], spoilt(rng, argument[i]), *argument[i + 1 :])
    if isinstance(argument, int):
        return rng.choice(HOSTILE)
    if not isinstance(argument, np.ndarray):
        return rng.choice((np.ones(rng.randrange(1, 99), np.float32), "text", 7))
    flat = np.ascontiguousarray(argument).reshape(-1)
    read_only = argument.copy()
    read_only.flags.writeable = False
    choices = (
        None,
        flat[:-1].copy(),
        np.append(flat, flat[:1]),
        flat[:0],
        flat[::2],
        read_only,
        b"",
        7,
        flat.view(np.uint8)[1:],
    )
    return choices[rng.randrange(len(choices))]


def n_threads() -> int:
    """Of this process, where the system tells; they stay after the call that began them."""
    tasks = Path("/proc/self/task")
    return sum(1 for _ in tasks.iterdir()) if tasks.exists() else 0


def main(path: str, rounds: int) -> None:
    """Calls every function as it should be, then `rounds` times with one to three arguments spoilt."""
    module, rng = load(path), random.Random(0)
    begun = n_threads()
    for index in module.implementations().values():
        calls = valid_calls(index)
        for name, arguments in calls:
            getattr(module, name)(*arguments)
        if begun and n_threads() != begun + THREADS - 1:
            raise SystemExit(f"{n_threads() - begun} threads were begun; expected {THREADS - 1}.")
        for _ in range(rounds):
            name, arguments = rng.choice(calls)
            arguments = list(arguments)
            for _ in range(rng.randrange(1, 4)):
                i = rng.randrange(1, len(arguments))
                arguments[i] = spoilt(rng, arguments[i])
            try:
                getattr(module, name)(*arguments)
            except REFUSED:
                continue
    for size in (-(2**63), -1, 0, 2**45, 2**63 - 1, 2**64, "1", None):
        try:
            module.allocate(size)
        except REFUSED:
            continue
        raise SystemExit(f"{size!r} bytes were not refused.")
    print("survived")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
