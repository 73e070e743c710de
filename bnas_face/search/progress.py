"""What a user sees while searching: a bar in a terminal, one line per 20 seconds or phase anywhere else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

SECONDS_BETWEEN_LINES = 20.0
WORDS = {"warm_up": "warming up", "sample": "sampling", "mixed": "mixing"}


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How far a search is, after a unit.

    Attributes
    ----------
    n_done, n_units : int
        Epochs behind, and in all.
    phase : str
        Of the unit that is done.
    n_operations : int
        Largest number of operations that an edge still has.
    loss, accuracy, images_per_s : float or None
        Of that unit.
    seconds_left : float
        By the mean time of the units of each phase so far.
    """

    n_done: int
    n_units: int
    phase: str
    n_operations: int
    loss: float | None
    accuracy: float | None
    images_per_s: float | None
    seconds_left: float


class TimeLeft:
    """Estimates what is left of a plan from the mean time of each phase in this process.

    Parameters
    ----------
    plan : sequence of str
        The phase of every unit.
    """

    def __init__(self, plan: Sequence[str]) -> None:
        self._plan = plan
        self._times: dict[str, list[float]] = {}

    def add(self, phase: str, seconds: float) -> None:
        """Note how long a unit took."""
        self._times.setdefault(phase, []).append(seconds)

    def seconds(self, n_done: int) -> float:
        """Time left after `n_done` units; a phase that was not seen yet counts like the others."""
        means = {phase: sum(times) / len(times) for phase, times in self._times.items()}
        usual = sum(means.values()) / len(means) if means else 0.0
        return sum(means.get(phase, usual) for phase in self._plan[n_done:])


class SearchProgress:
    """Shows phase, remaining operations, accuracy and the time left; a context manager, called with each `Moment`."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=True, highlight=False)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line, self._last_phase = time.monotonic(), ""
        if self._console.is_terminal:
            columns = (TextColumn("{task.fields[text]}"), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)

    def __enter__(self) -> SearchProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, moment: Moment) -> None:
        """Show a moment."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("search", total=moment.n_units, text="")
            self._bar.update(self._task, completed=moment.n_done, text=text(moment))
        elif self._due(moment):
            self._last_line, self._last_phase = time.monotonic(), moment.phase
            self._console.print(f"epoch {moment.n_done}/{moment.n_units}  {text(moment)}")

    def _due(self, moment: Moment) -> bool:
        """A line at the end, and one after 20 seconds; a new phase is worth one after a quarter of them."""
        waited = time.monotonic() - self._last_line
        new = moment.phase != self._last_phase
        return moment.n_done == moment.n_units or waited >= SECONDS_BETWEEN_LINES / (4 if new else 1)


def text(moment: Moment) -> str:
    """A moment in words: ``sampling, 5 of 8 operations left…``."""
    parts = [WORDS.get(moment.phase, moment.phase), f"{moment.n_operations} operations an edge"]
    if moment.loss is not None:
        parts.append(f"loss {moment.loss:.3f}")
    if moment.accuracy is not None:
        parts.append(f"accuracy {moment.accuracy:.3f}")
    if moment.images_per_s is not None:
        parts.append(f"{moment.images_per_s:.0f} images/s")
    parts.append(f"{int(moment.seconds_left) // 60}:{int(moment.seconds_left) % 60:02d} min left")
    return "  ".join(parts)
