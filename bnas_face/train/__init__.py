"""Training: images of named people in, a run folder out; may be stopped at any moment and resumed exactly."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`train` is imported when it is first asked for: torch costs seconds."""
    if name == "train":
        from bnas_face.train.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
