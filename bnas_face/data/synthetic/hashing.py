"""Random numbers by counter: the same (seed, stream, identity, index) gives the same numbers, whatever else is drawn.

An image rendered alone or in any batch is therefore the same image.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def uniforms(seed: int, stream: str, identity: Integers, index: Integers, count: int) -> Floats:
    """Independent uniform numbers in (0, 1).

    Parameters
    ----------
    seed : int
        Seed of the whole set, in [0, 2⁶³).
    stream : str
        What the numbers are for; different streams are independent.
    identity, index : ndarray of int64, shape (n,)
        Counters: number of the identity, and of the image of that identity.
    count : int
        Numbers per image.

    Returns
    -------
    ndarray of float64, shape (n, count)

    References
    ----------
    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (the SplitMix64 finaliser).
    """
    salt = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}/{stream}".encode()).digest()[:8], "little"))
    state = _mix(_mix(salt ^ identity.astype(np.uint64)) ^ index.astype(np.uint64))
    bits = _mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def normals(seed: int, stream: str, identity: Integers, index: Integers, count: int, limit: float = 2.5) -> Floats:
    """Independent standard normal numbers, clipped to ±`limit`; arguments and shape as in `uniforms`.

    Box–Muller: z = √(−2 ln u₁) · cos(2π u₂).
    """
    drawn = uniforms(seed, stream, identity, index, 2 * count)
    radius = np.sqrt(-2.0 * np.log(drawn[:, :count]))
    return np.asarray(np.clip(radius * np.cos(2.0 * np.pi * drawn[:, count:]), -limit, limit))


def words(text: str) -> tuple[str, ...]:
    """The words of a text: names of drawn numbers, in their order."""
    return tuple(text.split())


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser; wraps modulo 2⁶⁴ on purpose."""
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))
