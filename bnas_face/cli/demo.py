"""``bnasface demo``: the whole chain on rendered faces."""

from __future__ import annotations

from pathlib import Path

import click

from bnas_face import config
from bnas_face.cli import _show


@click.command("demo", short_help="Train, evaluate and report on rendered faces; needs no data.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=config.REPORTS / "demo",
    show_default=True,
    help="Report folder.",
)
@click.option("--seed", default=0, show_default=True, help="Of training and of the bootstrap.")
@click.option("--fresh", is_flag=True, help="Train again even where a network is already trained.")
def command(out: Path, seed: int, fresh: bool) -> None:
    """Train a small network and its 1-bit forms (W1A32, W1A1) on rendered people, test them on other rendered people,
    and write a report. Needs no data; about six minutes on two cores. Stop it at any moment: the next call goes on.
    """
    import time

    from bnas_face import files
    from bnas_face.pipeline import demo

    start = time.monotonic()
    with _show.embedding_progress() as progress:
        report = demo(out, config.RUNS, fresh=fresh, seed=seed, say=click.echo, progress=progress)
    _show.results(files.read_json(out / "result.json"))
    click.echo(f"Done in {(time.monotonic() - start) / 60:.1f} minutes. Open {report}")
