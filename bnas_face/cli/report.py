"""``bnasface report``: the page and the tables of a report folder again, or several folders in one leaderboard."""

from __future__ import annotations

from pathlib import Path

import click

LEADERBOARD = Path("reports") / "leaderboard"


@click.command(short_help="Page, tables and figures again, or a leaderboard of several.")
@click.argument(
    "folders", nargs=-1, required=True, metavar="FOLDER...", type=click.Path(path_type=Path, file_okay=False)
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of the leaderboard of several FOLDERs. Default: {LEADERBOARD}.",
)
@click.option("--figures", is_flag=True, help="Write every figure of FOLDER as SVG and PNG into FOLDER/figures, too.")
def command(folders: tuple[Path, ...], out: Path | None, figures: bool) -> None:
    """Write report.html, tables.md and tables.tex of FOLDER again from its result.json.

    Several FOLDERs are merged into one leaderboard (leaderboard.html, .csv, .md and .tex) and are not changed.

    \b
    Examples:
      bnasface report reports/mine
      bnasface report reports/mine --figures
      bnasface report reports/mine reports/yours --out reports/both
    """
    if len(folders) > 1:
        _leaderboard(folders, out or LEADERBOARD, figures)
        return
    if out is not None:
        raise click.UsageError(f"--out {out} is for the leaderboard of several folders; one folder's page stays in it.")
    from bnas_face.report import html, plates

    _say(html.write(folders[0]))
    if figures:
        for line in plates.write(folders[0]):
            click.echo(line)


def _leaderboard(folders: tuple[Path, ...], out: Path, figures: bool) -> None:
    if figures:
        raise click.UsageError(f"--figures expects one folder, {len(folders)} are named. Ask for them one by one.")
    from bnas_face.report import leaderboard

    _say(leaderboard.write(folders, out))


def _say(page: Path) -> None:
    click.echo(f"{page} ({page.stat().st_size / 1e6:.2f} MB, opens without network)")
