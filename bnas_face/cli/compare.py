"""``bnasface compare``: two models on the same pairs, the verdict in ten lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bnas_face.cli import _evaluation, _show


@click.command(short_help="Compare two models on the same pairs, in ten lines.")
@click.argument("model")
@click.argument("other")
@click.option("--protocol", "protocols", multiple=True, required=True, help="Protocol to compare on; repeatable.")
@_evaluation.options
def command(model: str, other: str, protocols: tuple[str, ...], **options: Any) -> None:
    """Compare MODEL with OTHER: is the gap more than chance? Nothing is written but the cache of embeddings.

    \b
    Examples:
      bnasface compare runs/demo_w1a1 runs/demo_full_precision --protocol demo_lfw
      bnasface compare runs/mine onnx:FILE --protocol lfw --protocol cfp_fp
    """
    from bnas_face.evaluate import evaluate
    from bnas_face.report import brief, results

    with _show.embedding_progress() as progress:
        found = evaluate.compare(model, other, protocols, progress=progress, **options)
    for line in brief.lines(results.parse(found, Path("the comparison"))):
        click.echo(line)
