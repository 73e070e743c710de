"""``bnasface show``: what a file holds, as text and as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from bnas_face.cli import SuggestingGroup


@click.group("show", cls=SuggestingGroup, short_help="Show a genotype or a training, as text and as pictures.")
def command() -> None:
    """Show what a file holds."""


@command.command("genotype", short_help="Print both cells and draw them as SVG.")
@click.argument("source", metavar="PATH")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    help="Where the picture goes.  [default: beside the genotype]",
)
def genotype(source: str, out: Path | None) -> None:
    """Print the cells of a genotype and draw them.

    PATH is a genotype file, a folder that holds genotype.json, or a published one: bnasface ls genotypes.

    \b
      bnasface show genotype runs/s1/genotype.json
      bnasface show genotype bnas_xnor_1 --out cells.svg
    """
    from bnas_face import files
    from bnas_face import genotype as genotypes
    from bnas_face.report import cells

    found = genotypes.load(source)
    click.echo(genotypes.as_text(found))
    path = Path(source)
    target = out or (path / genotypes.FILE if path.is_dir() else path).with_suffix(".svg")
    files.write_text(target, cells.svg(found))
    click.echo(f"Drawn in {target}")


@command.command("run", short_help="Print how a training goes; --html draws its curves.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="runs/NAME")
@click.option("--html", "as_page", is_flag=True, help="Write a page of curves beside the run: runs/NAME/run.html.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html", help="Write that page here."
)
def run(folder: Path, as_page: bool, out: Path | None) -> None:
    """Print what a run is, how far it is and how it goes; it may still be training.

    \b
      bnasface show run runs/mine
      bnasface show run runs/mine --html
    """
    from bnas_face.report import run as runs

    found = runs.read(folder)
    click.echo(runs.text(found))
    if as_page or out is not None:
        from bnas_face.report import run_page

        click.echo(f"Drawn in {run_page.write(found, out or folder / run_page.PAGE_NAME)}")
