"""What several commands show: progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars(*, percent: bool = False) -> Iterator[Callable[[str, int, int | None], None]]:
    """Bars on a terminal's standard error, one for each text that is reported, in per cent or "m/n"; else silence."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    count = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:

        def report(text: str, done: int, total: int | None) -> None:
            if text not in tasks:
                tasks[text] = bars.add_task(text, total=None)
            bars.update(tasks[text], completed=done, total=total)

        yield report


@contextmanager
def progress_bar(text: str, *, percent: bool = False) -> Iterator[Callable[[int, int], None]]:
    """One bar, there from the start."""
    with progress_bars(percent=percent) as report:
        report(text, 0, None)
        yield lambda done, total: report(text, done, total)


@contextmanager
def embedding_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each model and image set that is embedded."""
    with progress_bars() as report:
        yield lambda what, done, total: report(f"Embedding {what}", done, total)
