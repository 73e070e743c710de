"""``bnasface eval``: models × protocols → a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from bnas_face.config import REPORTS


def _triple(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float, float] | None:
    """Three numbers, one per colour: ``0.485,0.456,0.406``."""
    if value is None:
        return None
    try:
        first, second, third = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not three numbers separated by commas, such as 0.5,0.5,0.5.") from None
    return first, second, third


@click.command(short_help="Evaluate models on protocols and write a report.")
@click.option("--protocol", "protocols", multiple=True, required=True, help="Protocol to evaluate; repeatable.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="runs/NAME, onnx:FILE or facenet:vggface2; repeatable. Default: every run in runs/.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Report folder. Default: reports/MODELS_PROTOCOLS."
)
@click.option("--convention", default="strict", show_default=True, help="strict or insightface.")
@click.option("--twin", multiple=True, metavar="MODEL=TWIN", help="Compare MODEL with this full-precision TWIN.")
@click.option("--no-images", is_flag=True, help="No photographs of failed pairs in the report.")
@click.option("--onnx-mean", callback=_triple, metavar="R,G,B", help="Mean per colour of ONNX models, scale 0 to 1.")
@click.option("--onnx-std", callback=_triple, metavar="R,G,B", help="Standard deviation per colour of ONNX models.")
@click.option("--onnx-colour-order", type=click.Choice(["RGB", "BGR"]), help="Colour order of ONNX models.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Images embedded at once.")
def command(
    protocols: tuple[str, ...], models: tuple[str, ...], out: Path | None, no_images: bool, **options: Any
) -> None:
    """Evaluate models on protocols, side by side, and write a report.

    \b
    Examples:
      bnasface eval --protocol demo_lfw
      bnasface eval --protocol lfw --protocol cfp_fp --model runs/mine --model onnx:FILE --out reports/mine
    """
    from bnas_face.evaluate import evaluate
    from bnas_face.report import html

    chosen = evaluate.models_or_runs(models, protocols, options["convention"])
    folder = out or evaluate.default_out(REPORTS, chosen, protocols)
    with _progress() as progress:
        result = evaluate.evaluate(
            chosen,
            protocols,
            folder,
            images=not no_images,
            command=shlex.join(["bnasface", *sys.argv[1:]]),
            progress=progress,
            **options,
        )
    page = html.write(folder)
    _print(result)
    click.echo(f"Report: {page}")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal's standard error; silence elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"Embedding {what}")
            bar.update(tasks[what], completed=done, total=total)

        yield report


def _print(result: Mapping[str, Any]) -> None:
    """The numbers as a table, their conventions and notes below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Model", overflow="fold")  # a long name gives way, numbers never do
    table.add_column("Protocol", no_wrap=True)
    for name in ("Accuracy % (95 %)", "EER %", "Gap to twin, points (95 %)", "Embeddings"):
        table.add_column(name, justify="right", no_wrap=True)
    gaps = {(entry["model"], entry["protocol"]): entry for entry in result["comparisons"]}
    for entry in result["results"]:
        table.add_row(*_cells(entry, gaps.get((entry["model"], entry["protocol"]))))
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

    n, accuracy = entry["n_pairs"], entry["accuracy"]
    return [
        escape(entry["model"]),
        escape(entry["protocol"]),
        f"{numbers.percent(accuracy['value'], n)} ({numbers.span(accuracy['ci_low'], accuracy['ci_high'], n)})",
        numbers.percent(entry["eer"]["value"], n),
        _gap(gap, n),
        _images(entry),
    ]


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
    return (
        f"{entry['model']} on {entry['protocol']}: {entry['n_failed']:,} of {entry['n_pairs']:,} pairs were not "
        f"compared because {entry['n_images_failed']:,} images failed; they count as wrong decisions in the accuracy."
    )
