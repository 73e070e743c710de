"""``bnasface data``: import, check, where, show, fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Datasets: where to get them, import and check them, look at them."""


@command.command("import")
@click.argument("dataset")
@click.argument("source", type=_PATH)
@click.option(
    "--pairs", type=_PATH, multiple=True, help="Pair list: a file, archive or folder. May be given several times."
)
@click.option("--name", help="Import under this name (dataset 'folder': then used as folder:NAME).")
@click.option("--allow-other-counts", is_flag=True, help="Accept a set whose counts are not the published ones.")
def import_(dataset: str, source: Path, pairs: tuple[Path, ...], name: str | None, allow_other_counts: bool) -> None:
    """Import DATASET from SOURCE: an archive (tar, zip), a folder, a .bin or a .rec file.

    Stopped at any moment, the same command goes on where it was; an earlier import stays until the new one is complete.
    """
    from bnas_face.data import importing, library

    request = importing.Request(
        dataset=dataset, source=source, pairs=pairs, name=name, allow_other_counts=allow_other_counts
    )
    with _progress(f"Importing {dataset}") as progress:
        found = importing.import_dataset(request, lambda sentence: click.echo(sentence, err=True), progress)
    lists = sorted(path.stem for path in (library.folder_of(found.name) / "pairs").glob("*.csv"))
    click.echo(
        f"Imported {found.name} ({found.variant}): {found.n_images:,} images of {found.n_identities:,} identities, "
        f"{found.size_px} px; pair lists: {', '.join(lists) or 'none'}."
    )


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal's standard error; silence elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
