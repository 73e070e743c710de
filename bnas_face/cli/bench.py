"""``bnasface bench``: what networks cost on this machine, engine beside engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bnas_face.config import REPORTS


class Numbers(click.ParamType):  # type: ignore[type-arg]  # generic in some versions of click only
    """Whole numbers with commas between them: ``1,32``."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """A tuple of int."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not whole numbers with commas between them, as in 1,2.", param, ctx)


def _usual_threads() -> tuple[int, ...]:
    from bnas_face.bench import measure

    return measure.usual_threads()


@click.command(short_help="Measure bytes, milliseconds and memory of models.")
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--threads",
    type=Numbers(),
    default=_usual_threads,
    show_default="1,2 where there are two",
    help="Numbers of threads.",
)
@click.option("--batch", "batches", type=Numbers(), default="1,32", show_default=True, help="Images at once.")
@click.option("--engines", default="", metavar="NAME,NAME", help="Only these: bnasface ls engines.  [default: all]")
@click.option("--rounds", type=int, default=5, show_default=True, help="Turns of every engine with every batch size.")
@click.option("--seconds", type=float, default=0.4, show_default=True, help="Of one turn, at least; at least 3 calls.")
@click.option(
    "--calibrate",
    default="demo:50x4",
    show_default=True,
    metavar="DATASET[:N]",
    help="Images on which 8-bit ranges are measured; never people who are tested.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=REPORTS / "bench",
    show_default=True,
    help="Report folder; that of an evaluation gets accuracy against milliseconds.",
)
def command(models: tuple[str, ...], engines: str, out: Path, **options: Any) -> None:
    """Measure MODELs in every engine that runs them, side by side: a run folder, onnx:FILE or a packed FILE.bnn.

    \b
    Examples:
      bnasface bench runs/mine runs/mine-float
      bnasface bench runs/mine onnx:FILE --threads 1 --batch 1,32 --out reports/mine

    Every engine runs every model in a process of its own, and all of them take turns. A 1-bit network that cannot be
    packed is only simulated, and has no speed.
    """
    from bnas_face.bench import measure, output
    from bnas_face.report import html

    plan = measure.Plan(engines=tuple(name for name in engines.split(",") if name), **options)
    found = measure.bench(models, plan, progress=lambda line: click.echo(line, err=True))
    output.save(found, out)
    _show(found)
    click.echo(f"Report: {html.write(out)}")


def _show(found: Mapping[str, Any]) -> None:
    """The table of what was measured, and below it why the rest was not."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from bnas_face.report import numbers

    rows: Sequence[Mapping[str, Any]] = found["rows"]
    measured = [row for row in rows if row["reason"] is None]
    table = Table(box=box.SIMPLE)
    for name in ("Model", "Engine"):
        table.add_column(name, overflow="fold")
    for name in ("Threads", "Batch", "p50 ms", "p95 ms", "Images/s", "File", "Memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in measured:
        times = [numbers.three_digits(row[name]) for name in ("p50_ms", "p95_ms", "images_per_s")]
        sizes = [numbers.file_size(row[name]) for name in ("file_bytes", "peak_bytes")]
        table.add_row(row["model"], row["engine"], str(row["threads"]), str(row["batch"]), *times, *sizes)
    console = Console(markup=False, highlight=False)
    console.width = max(console.width, 130)
    console.print(table)
    reasons = {(row["model"], row["engine"]): row["reason"] for row in rows if row["reason"] is not None}
    for (model, engine), reason in reasons.items():
        click.echo(f"{model}, {engine}: not measured, {reason}")
    cpu, kernels = found["environment"]["cpu"], found["kernels"]
    click.echo(f"{cpu}; kernels of the packed engine: {kernels}. Memory: of a process that computed no larger batch.")
