"""Thresholds at which a sign after normalisations and shifts turns, exactly as the trained network computes it.

``sign(BN(x) − b)`` is monotone in x, in float arithmetic, too, since every rounded step is. So there is one float32 at
which it turns; it is found by asking the network's own modules, not by solving for it: the algebraic solution is off by
a few units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Function = Callable[[Tensor], Tensor]

INFINITY = 0x7F800000
"""The key of +∞; keys number the float32 in ascending order, both zeros being 0."""
NEVER, ALWAYS = np.iinfo(np.int32).min, np.iinfo(np.int32).max


def of_keys(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 of each key."""
    patterns = np.where(keys >= 0, keys, np.int64(1 << 31) - keys)
    return patterns.astype(np.uint32).view(np.float32)


def threshold(negative: Function, n_channels: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Where the sign of each channel turns.

    Parameters
    ----------
    negative : callable
        float32 (1, n_channels, 1, 1) → bool of that shape: whether the sign is −1; monotone in each channel.
    n_channels : int

    Returns
    -------
    threshold : float32 (n_channels,)
    flip : uint8 (n_channels,)
        As in `kernels.Epilogue`: for every float32 x but NaN, the sign is −1 where x < threshold (flip 0), or where
        x > threshold (flip 1).
    """

    def ask(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        with torch.inference_mode():
            answer: NDArray[np.bool_] = negative(torch.from_numpy(of_keys(keys)).reshape(1, -1, 1, 1)).numpy().ravel()
        return answer

    low = np.full(n_channels, -INFINITY + 1, np.int64)  # the ends of the finite numbers: 0 · ∞ has no sign
    high = np.full(n_channels, INFINITY - 1, np.int64)
    at_low, at_high = ask(low), ask(high)
    turns, flip = at_low != at_high, at_high & ~at_low
    while (high - low > 1).any():
        middle = (low + high) // 2
        like_low = ask(middle) == at_low
        low, high = np.where(like_low, middle, low), np.where(like_low, high, middle)
    found = of_keys(np.where(flip, low, high))
    constant = np.where(at_low, np.inf, -np.inf)
    return np.where(turns, found, constant).astype(np.float32), flip.astype(np.uint8)


def integer_threshold(negative: NDArray[np.bool_], smallest: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]] | None:
    """The same for whole numbers.

    Parameters
    ----------
    negative : bool (n_channels, n)
        Whether the sign is −1 at `smallest`, `smallest` + 1, …

    Returns
    -------
    threshold : int32 (n_channels,)
    flip : uint8 (n_channels,)
        None if any channel turns more than once (after a PReLU of negative slope).
    """
    n_turns = (negative[:, 1:] != negative[:, :-1]).sum(axis=1)
    if n_turns.max(initial=0) > 1:
        return None
    flip = negative[:, -1] & ~negative[:, 0]
    last_like_first = (negative == negative[:, :1]).sum(axis=1) - 1
    turn = smallest + np.where(flip, last_like_first, last_like_first + 1)
    found = np.where(n_turns == 0, np.where(negative[:, 0], ALWAYS, NEVER), turn)
    return found.astype(np.int32), flip.astype(np.uint8)
