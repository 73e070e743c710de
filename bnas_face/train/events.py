"""TensorBoard events of a training: loss and learning rate of every step, and what ``log.csv`` measures, row by row."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

from bnas_face.errors import ConfigError
from bnas_face.train.log import Row

FOLDER = "tensorboard"
_OF_ROWS = ("images_per_s", "development_accuracy", "skipped", "memory_mb", "gpu_memory_mb")


def check_installed() -> None:
    """Raise `ConfigError` where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "--tensorboard needs TensorBoard, which is not installed. Get it: pip install 'bnas_face[tensorboard]', "
            "or leave it out: bnasface show run --html draws the same curves."
        )


class Events:
    """Writes ``runs/NAME/tensorboard``; nothing at all where it is not wanted.

    Parameters
    ----------
    run_dir : Path
    on : bool
        Whether to write.
    step : int
        Steps done: what an interrupted session wrote of later ones is hidden.
    """

    def __init__(self, run_dir: Path, *, on: bool, step: int) -> None:
        self._writer: Any = None
        self._folder, self._on, self._begin = run_dir / FOLDER, on, step

    def step(self, step: int, loss: float, lr: float) -> None:
        """Report a step that is done (1-based)."""
        if self._on:
            self._scalar("loss", loss, step)
            self._scalar("lr", lr, step)

    def row(self, row: Row) -> None:
        """Report a row of ``log.csv``."""
        if self._on:
            for name in _OF_ROWS:
                if (value := getattr(row, name)) is not None:
                    self._scalar(name, value, row.step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):  # of a step that is passed over
            return
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self._begin + 1 if self._begin else None
            self._writer = SummaryWriter(self._folder, purge_step=purge)
        self._writer.add_scalar(name, value, step)
