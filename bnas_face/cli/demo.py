"""``bnasface demo``: the whole chain on rendered faces."""

from __future__ import annotations

from pathlib import Path

import click

from bnas_face import config
from bnas_face.cli import _results, _show


@click.command("demo", short_help="The whole chain on rendered faces; needs no data.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=config.REPORTS / "demo",
    show_default=True,
    help="Report folder.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Of search, training and the bootstrap."
)
@click.option("--fresh", is_flag=True, help="Search and train again even where that is done.")
def command(out: Path, seed: int, fresh: bool) -> None:
    """Search the cells of a small network on rendered people, train it with 1 bit and in full precision, test both on
    other rendered people, and write a report. Needs no data; about six minutes on two cores. Stop it at any moment: the
    next call goes on.
    """
    import time

    from bnas_face import files
    from bnas_face.pipeline import demo

    start = time.monotonic()
    with _show.embedding_progress() as progress:
        report = demo(out, config.RUNS, fresh=fresh, seed=seed, say=click.echo, progress=progress)
    _results.show(files.read_json(out / "result.json"))
    click.echo(f"Done in {(time.monotonic() - start) / 60:.1f} minutes. Open {report}")
