"""``bnasface eval``: models × protocols → a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bnas_face.cli import _show
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
@click.option("--convention", default="strict", show_default=True, help="strict, insightface or facex.")
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
    with _show.embedding_progress() as progress:
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
    _show.results(result)
    click.echo(f"Report: {page}")
