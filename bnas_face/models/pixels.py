"""From uint8 pixels to what a network of ours takes."""

from __future__ import annotations

from torch import Tensor


def normalised(pixels: Tensor) -> Tensor:
    """RGB uint8 (batch_size, h, w, 3) → float32 (batch_size, 3, h, w) in [-1, 1], channels last in memory."""
    return pixels.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
