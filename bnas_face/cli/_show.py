"""What several commands show: the progress of embedding and a table of results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


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


def results(result: Mapping[str, Any]) -> None:
    """The numbers as a table, their conventions and notes below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    gaps = {(entry["model"], entry["protocol"]): entry for entry in result["comparisons"]}
    for names, is_of_objects in ((("Accuracy % (95 %)", "EER %"), False), (("Top-1 % (95 %)", "Top-5 %"), True)):
        entries = [entry for entry in result["results"] if _is_of_objects(entry) == is_of_objects]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("Model", overflow="fold")  # a long name gives way, numbers never do
        table.add_column("Protocol", no_wrap=True)
        for name in (*names, "Gap to twin, points (95 %)", "Images" if is_of_objects else "Embeddings"):
            table.add_column(name, justify="right", no_wrap=True)
        for entry in entries:
            table.add_row(*_cells(entry, gaps.get((entry["model"], entry["protocol"]))))
        if entries:
            console.print(table)
    for stamp in dict.fromkeys(entry["convention_stamp"] for entry in result["results"]):
        console.print(f"Convention {stamp}.", markup=False, style="dim")
    for note in result["notes"]:
        console.print(f"Note: {note}.", markup=False)
    for entry in result["results"]:
        if entry["n_failed"]:
            console.print(_failed(entry), markup=False, style="bold")


def _cells(entry: Mapping[str, Any], gap: Mapping[str, Any] | None) -> list[str]:
    from rich.markup import escape

    from bnas_face.report import numbers

    n, accuracy = _n(entry), entry["accuracy"]
    second = entry["top5"] if _is_of_objects(entry) else entry["eer"]
    return [
        escape(entry["model"]),
        escape(entry["protocol"]),
        f"{numbers.percent(accuracy['value'], n)} ({numbers.span(accuracy['ci_low'], accuracy['ci_high'], n)})",
        numbers.percent(second["value"], n),
        _gap(gap, n),
        _images(entry),
    ]


def _is_of_objects(entry: Mapping[str, Any]) -> bool:
    return entry.get("task") == "classification"


def _n(entry: Mapping[str, Any]) -> int:
    """What the accuracy is counted over: images of objects, or pairs."""
    return int(entry["n_images"] if _is_of_objects(entry) else entry["n_pairs"])


def _gap(gap: Mapping[str, Any] | None, n_pairs: int) -> str:
    from bnas_face.report import numbers

    if gap is None:
        return "–"
    span = numbers.points_span(gap["ci_low"], gap["ci_high"], n_pairs)
    return f"{numbers.points(gap['difference'], n_pairs)} ({span})"


def _images(entry: Mapping[str, Any]) -> str:
    total, cached = entry["n_images"], entry["n_images_from_cache"]
    return f"{total:,} cached" if cached == total else f"{total - cached:,} new, {cached:,} cached"


def _failed(entry: Mapping[str, Any]) -> str:
    if _is_of_objects(entry):
        return (
            f"{entry['model']} on {entry['protocol']}: {entry['n_failed']:,} of {entry['n_images']:,} images failed; "
            "they count as wrong."
        )
    return (
        f"{entry['model']} on {entry['protocol']}: {entry['n_failed']:,} of {entry['n_pairs']:,} pairs were not "
        f"compared because {entry['n_images_failed']:,} images failed; they count as wrong decisions in the accuracy."
    )
