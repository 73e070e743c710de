"""The operations of the packed engine, by the fastest means at hand; `fallback` defines what each of them does.

The environment variable ``BNASFACE_KERNELS`` forces one implementation: avx512-vpopcntdq, avx2, neon, portable, numpy.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from bnas_face.errors import ConfigError
from bnas_face.packed.kernels import fallback
from bnas_face.packed.kernels._epilogue import Epilogue

__all__ = [
    "Epilogue",
    "available",
    "average_pool",
    "binary_convolution",
    "concatenate",
    "convolution",
    "elementwise",
    "implementation",
    "linear",
    "max_pool",
    "pack_signs",
    "prepare_binary",
    "prepare_float",
    "prepare_linear",
    "prepare_signed",
    "signed_convolution",
]

P = ParamSpec("P")
R = TypeVar("R")


def available() -> dict[str, Any]:
    """Implementations that run here, best first: name → object or module with the operations of this one."""
    try:
        compiled = importlib.import_module("bnas_face.packed.kernels.compiled")
    except ImportError:
        return {"numpy": fallback}
    return {**{name: compiled.Compiled(name) for name in compiled.implementations()}, "numpy": fallback}


@cache
def _chosen() -> Any:
    found, forced = available(), os.environ.get("BNASFACE_KERNELS")
    if forced and forced not in found:
        raise ConfigError(f"BNASFACE_KERNELS '{forced}' cannot run here: expected one of {', '.join(found)}.")
    if not forced and len(found) == 1:
        warnings.warn(
            "The kernels of the packed engine are not compiled: exact but slow numpy code runs in their place. "
            "Install bnas_face again where there is a C compiler.",
            RuntimeWarning,
            stacklevel=3,
        )
    return found[forced or next(iter(found))]


def implementation() -> str:
    """Which one runs: "avx512-vpopcntdq", "avx2", "neon", "portable" or "numpy"."""
    name: str = _chosen().implementation()
    return name


def _by_chosen(definition: Callable[P, R]) -> Callable[P, R]:
    """The same operation by the chosen implementation."""

    @wraps(definition)
    def operation(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = getattr(_chosen(), definition.__name__)(*args, **kwargs)
        return result

    return operation


pack_signs = _by_chosen(fallback.pack_signs)
prepare_binary = _by_chosen(fallback.prepare_binary)
prepare_signed = _by_chosen(fallback.prepare_signed)
prepare_float = _by_chosen(fallback.prepare_float)
prepare_linear = _by_chosen(fallback.prepare_linear)
binary_convolution = _by_chosen(fallback.binary_convolution)
signed_convolution = _by_chosen(fallback.signed_convolution)
convolution = _by_chosen(fallback.convolution)
linear = _by_chosen(fallback.linear)
average_pool = _by_chosen(fallback.average_pool)
max_pool = _by_chosen(fallback.max_pool)
concatenate = _by_chosen(fallback.concatenate)
elementwise = _by_chosen(fallback.elementwise)
