"""What follows the sums of a convolution, of a pool or of an addition, in one pass over its output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """Per output channel: scale, bias, shortcut, PReLU between two shifts, signs.

    With s the sum, r the shortcut (0 without one), and fused(a, b, c) = a · b + c rounded once, as torch's batch norm
    has it::

        value = fused(s · magnitude, scale, bias) + r
        value = PReLU(value + before; slope) + after
        bit   = value < threshold   (flip 0)      or   value > threshold   (flip 1)

    A bit is 1 where the sign is negative; NaN gives 0. A channel whose sign is constant has threshold −∞ (never
    negative, flip 0) or +∞ (always).

    The shortcut is `models.backbones._blocks.shortcut` of ``fused(source, shortcut_gain, shortcut_offset)``: averages
    of stride × stride where the source is larger than the output (what is left over at an edge is averaged alone),
    channels repeated to the least common multiple, then averaged down to the output's count.

    Attributes
    ----------
    scale, bias : float32 (out,)
    magnitude : float32 (out,) or None
        Of 1-bit weights; None: 1.
    shortcut_gain, shortcut_offset : float32 (channels of the shortcut's source,) or None
        None: the source as it is. Both or neither.
    before, slope, after : float32 (out,) or None
        None: no activation. All or none.
    keep_floats : bool
        Whether the values themselves are wanted.
    threshold : float32 (out,) or None
        Of the next sign; None: no bits are wanted.
    flip : uint8 (out,) or None
        0 or 1, for `threshold` and for `integer_threshold`.
    integer_threshold : int32 (out,) or None
        Binary convolutions of which only bits leave: the same comparison of the sum s itself; everything else is
        ignored and `keep_floats` is False. int32's ends stand for ∓∞.
    """

    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    magnitude: NDArray[np.float32] | None = None
    shortcut_gain: NDArray[np.float32] | None = None
    shortcut_offset: NDArray[np.float32] | None = None
    before: NDArray[np.float32] | None = None
    slope: NDArray[np.float32] | None = None
    after: NDArray[np.float32] | None = None
    keep_floats: bool = True
    threshold: NDArray[np.float32] | None = None
    flip: NDArray[np.uint8] | None = None
    integer_threshold: NDArray[np.int32] | None = None
