"""The operations of the packed engine, by the fastest means at hand; `fallback` defines what each of them does."""

from __future__ import annotations

from bnas_face.packed.kernels._epilogue import Epilogue
from bnas_face.packed.kernels.fallback import (
    average_pool,
    binary_convolution,
    convolution,
    elementwise,
    implementation,
    linear,
    max_pool,
    pack_signs,
    prepare_binary,
    prepare_float,
    prepare_linear,
    prepare_signed,
    signed_convolution,
)

__all__ = [
    "Epilogue",
    "average_pool",
    "binary_convolution",
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
