"""The learning rate's course, shared by training and search."""

from __future__ import annotations

import math
from dataclasses import dataclass

KINDS = ("cosine", "poly", "step")


@dataclass(frozen=True, kw_only=True)
class Course:
    """How the learning rate falls after its warm-up; p is the share of the steps after it that are done, in [0, 1].

    Attributes
    ----------
    kind : str
        ``"cosine"``: half a cosine to zero, ``(1 + cos πp) / 2``; ``"poly"``: ``(1 − p)^power``; ``"step"``: times
        `factor` at every share of `step_at`.
    power : float
    step_at : tuple of float
        Shares of all steps, warm-up included, rising, in (0, 1).
    factor : float
    """

    kind: str = "cosine"
    power: float = 2.0
    step_at: tuple[float, ...] = ()
    factor: float = 0.1


COSINE = Course()


def lr_at(step: int, *, peak: float, n_steps: int, n_warmup: int = 0, course: Course = COSINE) -> float:
    """Learning rate of step `step` (0-based): a linear rise over `n_warmup` steps, then `course`."""
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    if course.kind == "poly":
        return float(peak * (1 - progress) ** course.power)
    if course.kind == "step":
        return float(peak * course.factor ** sum(step >= round(share * n_steps) for share in course.step_at))
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
