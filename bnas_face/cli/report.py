"""``bnasface report``: write the page and the tables of a report folder again from its result.json."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path, file_okay=False)
)
def command(folders: tuple[Path, ...]) -> None:
    """Write report.html, tables.md and tables.tex of FOLDER again from its result.json.

    \b
    Example:
      bnasface report reports/mine
    """
    from bnas_face.report import html

    for folder in folders:
        page = html.write(folder)
        click.echo(f"{page} ({page.stat().st_size / 1e6:.2f} MB, opens without network)")
