"""``bnasface eval``: models × protocols → a report."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bnas_face import ranks
from bnas_face.cli import _evaluation, _results, _show
from bnas_face.config import REPORTS


@click.command(short_help="Evaluate models on protocols and write a report.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    required=True,
    help="Protocol to evaluate, csv:PATH or folder:PATH; repeatable.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="runs/NAME, a packed FILE.bnn, onnx:FILE or facenet:vggface2; repeatable. Default: every run in runs/.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Report folder. Default: reports/MODELS_PROTOCOLS."
)
@click.option("--twin", multiple=True, metavar="MODEL=TWIN", help="Compare MODEL with this full-precision TWIN.")
@click.option("--threshold-from", metavar="PROTOCOL", help="Also decide at a threshold fitted on this one: lfw_dev.")
@click.option(
    "--same-people",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="AUDIT.csv",
    help="Findings of bnasface data audit: these people are in the training set too, under another name.",
)
@click.option("--no-images", is_flag=True, help="No photographs of failed pairs in the report.")
@_evaluation.options
def command(
    protocols: tuple[str, ...], models: tuple[str, ...], out: Path | None, no_images: bool, **options: Any
) -> None:
    """Evaluate models on protocols, side by side, and write a report.

    \b
    Examples:
      bnasface eval --protocol demo_lfw
      bnasface eval --protocol lfw --protocol cfp_fp --model runs/mine --model onnx:FILE --out reports/mine
      torchrun --nproc-per-node 4 -m bnas_face eval --protocol ijbc --model runs/mine
    """
    from bnas_face.evaluate import evaluate, plan, shared
    from bnas_face.report import html

    chosen = plan.models_or_runs(models, protocols, options["convention"])
    folder = out or plan.default_out(REPORTS, chosen, protocols)
    with _show.embedding_progress() as progress, ranks.joined() as job:
        if job.world_size > 1:
            opened = {name: value for name, value in options.items() if name != "seed"}
            shared.embed_all(chosen, protocols, progress=progress if job.is_first else None, **opened)
    if not job.is_first:
        return
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
    _results.show(result)
    click.echo(f"Report: {page}")
