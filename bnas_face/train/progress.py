"""What a user sees while training: a bar in a terminal, one line per epoch or every 20 seconds anywhere else."""

from __future__ import annotations

import time
from types import TracebackType

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bnas_face import machine
from bnas_face.train import devices

SECONDS_BETWEEN_LINES = 20.0
SECONDS_BETWEEN_TEXTS = 0.1
"""Of the bar in a terminal."""


class TrainingProgress:
    """Shows epoch, loss, images/s, memory and the time left; a context manager.

    Parameters
    ----------
    n_steps, done : int
        Steps of the whole run, and how many are behind.
    n_epochs : int
    device : torch.device
        Whose memory is shown besides that of the process.
    quiet : bool
        Show nothing (all processes but the first).
    """

    def __init__(self, n_steps: int, done: int, n_epochs: int, *, device: torch.device, quiet: bool = False) -> None:
        self._device = device
        self._console = Console(quiet=quiet, soft_wrap=True, highlight=False)
        self._n_steps, self._n_epochs = n_steps, n_epochs
        self._first_step, self._started = done, time.monotonic()
        self._last_line = self._started
        self._bar: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bar = _bar(self._console)
            self._task: TaskID = self._bar.add_task("training", total=n_steps, completed=done, text="")

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, step: int, epoch: int, loss: float, images_per_s: float) -> None:
        """Report a step that is done (1-based), its mean loss and the present speed."""
        since = time.monotonic() - self._last_line
        if self._console.quiet or since < (SECONDS_BETWEEN_TEXTS if self._bar else SECONDS_BETWEEN_LINES):
            return
        text = f"epoch {epoch}/{self._n_epochs}  loss {loss:.3f}  {images_per_s:.0f} images/s  {self._memory()}"
        if self._bar is not None:
            self._last_line = time.monotonic()
            self._bar.update(self._task, completed=step, text=text)
        else:
            self._line(f"{text}  {self._time_left(step)} left")

    def epoch(self, epoch: int, step: int, loss: float, images_per_s: float, accuracy: float | None) -> None:
        """Report the end of an epoch; `accuracy` is the development accuracy, a fraction, or None."""
        measured = "" if accuracy is None else f"  development accuracy {accuracy:.4f}"
        self._line(
            f"epoch {epoch}/{self._n_epochs}  loss {loss:.3f}  {images_per_s:.0f} images/s{measured}"
            f"  {self._memory()}  {self._time_left(step)} left"
        )

    def _memory(self) -> str:
        """Of the process, and the most that tensors took of a GPU."""
        held, on_gpu = machine.memory_bytes(), devices.memory_bytes(self._device)
        parts = [] if held is None else [f"{held / 1e9:.1f} GB"]
        return " + ".join([*parts, *([f"GPU {on_gpu / 1e9:.1f} GB"] if on_gpu else [])])

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        self._console.print(text)

    def _time_left(self, step: int) -> str:
        done = step - self._first_step
        seconds = (time.monotonic() - self._started) / done * (self._n_steps - step) if done else 0.0
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[text]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
