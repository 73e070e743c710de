"""The learning rate's course, shared by training and search."""

from __future__ import annotations

import math


def lr_at(step: int, *, peak: float, n_steps: int, n_warmup: int = 0) -> float:
    """Learning rate of step `step` (0-based): a linear rise over `n_warmup` steps, then half a cosine to zero."""
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
