"""``bnasface data``: import, check, where, show, fetch, render."""

from __future__ import annotations

from pathlib import Path

import click

from bnas_face.cli import SuggestingGroup, _show

_PATH = click.Path(path_type=Path)
_SHOWN_PROBLEMS = 50


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Datasets: where to get them, import and check them, look at them."""


@command.command("import")
@click.argument("dataset")
@click.argument("source", type=_PATH)
@click.option("--pairs", type=_PATH, multiple=True, help="Pair list: file, archive or folder; several may be given.")
@click.option("--name", help="Only for 'folder': import under this name, then used as folder:NAME.")
@click.option("--allow-other-counts", is_flag=True, help="Accept a set whose counts are not the published ones.")
def import_(dataset: str, source: Path, pairs: tuple[Path, ...], name: str | None, allow_other_counts: bool) -> None:
    """Import DATASET from SOURCE: an archive (tar, zip), a folder, a .bin or a .rec file.

    Stopped at any moment, the same command goes on where it was; an earlier import stays until the new one is complete.
    """
    from bnas_face.data import importing, library

    request = importing.Request(
        dataset=dataset, source=source, pairs=pairs, name=name, allow_other_counts=allow_other_counts
    )
    with _show.progress_bar(f"Importing {dataset}", percent=True) as progress:
        found = importing.import_dataset(request, lambda sentence: click.echo(sentence, err=True), progress)
    lists = library.list_names(found.name)
    click.echo(
        f"Imported {found.name} ({found.variant}): {found.n_images:,} images of {found.n_identities:,} identities, "
        f"{found.size_px} px; pair lists: {', '.join(lists) or 'none'}."
    )


@command.command()
@click.argument("dataset")
@click.option("--against", metavar="DATASET", help="Count the people that this other set has too, by name.")
def check(dataset: str, against: str | None) -> None:
    """Check DATASET: counts, every image, every pair list. Exit code 1 and a list if something is wrong."""
    from bnas_face.data import audit
    from bnas_face.errors import DatasetError

    with _show.progress_bar(f"Checking {dataset}", percent=True) as progress:
        found = audit.check(dataset, against, progress)
    for fact in found.facts:
        click.echo(fact)
    for problem in found.problems[:_SHOWN_PROBLEMS]:
        click.echo(f"  - {problem}")
    if len(found.problems) > _SHOWN_PROBLEMS:
        click.echo(f"  … and {len(found.problems) - _SHOWN_PROBLEMS:,} more")
    if found.problems:
        raise DatasetError(f"'{dataset}' has {len(found.problems):,} problem(s), listed above.")
    click.echo("No problems found.")


@command.command()
@click.argument("dataset")
@click.option("--against", metavar="DATASET", help="The other set: training and test images must not share people.")
@click.option("--model", help="Compare the people of both sets by this embedder too: runs/NAME or onnx:FILE.")
@click.option("--out", type=_PATH, help="CSV of all findings; default reports/audit_DATASET[_OTHER].csv.")
def audit(dataset: str, against: str | None, model: str | None, out: Path | None) -> None:
    """Audit DATASET: broken images, copies and near copies, people that another set has too.

    \b
    Example:
      bnasface data audit lfw --against cfp --model onnx:FILE
    """
    from bnas_face.config import REPORTS
    from bnas_face.evaluate import audit as auditing

    with _show.progress_bars() as progress:
        found = auditing.audit(dataset, against, model, progress)
    path = (
        out
        or REPORTS
        / f"audit_{'_'.join(spec.replace(':', '-').replace('/', '-') for spec in (dataset, against) if spec)}.csv"
    )
    auditing.write(found, path)
    for fact in found.facts:
        click.echo(fact)
    click.echo(f"All {len(found.findings):,} findings: {path}")


@command.command()
@click.argument("dataset")
def where(dataset: str) -> None:
    """Where to get DATASET, its terms, the layout expected, and the command that imports it."""
    from bnas_face.data import datasets, library

    card = datasets.card(dataset)
    state = f"imported in {library.folder_of(dataset)}" if library.is_imported(dataset) else "not imported"
    click.echo(f"{dataset}: {card.title}\n\nFrom     {card.source}\nTerms    {card.licence}\nHere     {state}\n")
    click.echo("\n".join(f"  {line}" for line in card.layout.splitlines()))
    counts = [
        f"  {variant}: {images:,} images" + (f" of {identities:,} identities" if identities else "")
        for variant, (images, identities) in card.expected.items()
    ]
    if counts:
        click.echo("\nVariants accepted:\n" + "\n".join(counts))


@command.command()
@click.argument("dataset")
@click.option("--out", type=_PATH, help="PNG to write; default DATASET.png in the working directory.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Which images are drawn.")
def show(dataset: str, out: Path | None, seed: int) -> None:
    """Write a contact sheet of DATASET as PNG, to look at."""
    path = out or Path(f"{dataset.partition(':')[0]}.png")
    if dataset == "demo":
        from bnas_face.data.synthetic import sheet

        sheet.write(path)
    else:
        from bnas_face.data import contact_sheet, datasets

        contact_sheet.write(datasets.load(dataset), path, seed=seed)
    click.echo(f"Wrote {path}.")


@command.command()
@click.argument("dataset")
def fetch(dataset: str) -> None:
    """Download DATASET where its owners allow it (lfw through scikit-learn, cifar10 through torchvision)."""
    from bnas_face.config import data_root
    from bnas_face.data import datasets, fetching

    datasets.card(dataset)
    images = fetching.fetch(dataset, data_root() / ".fetched")
    if images.is_file():
        click.echo(f"Downloaded to {images}. Next:\n  bnasface data import {dataset} {images}")
        return
    lists = images.parent
    click.echo(
        f"Downloaded to {images} (not aligned). Next:\n"
        f"  bnasface align {images} aligned\n"
        f"  bnasface data import lfw aligned --pairs {lists / 'pairs.txt'} --pairs {lists / 'pairsDevTrain.txt'} "
        f"--pairs {lists / 'pairsDevTest.txt'}"
    )


@command.command()
@click.option("--images", required=True, type=click.IntRange(2), help="Images in all.")
@click.option(
    "--identities", required=True, type=click.IntRange(2, 1_000_000), help="People; images are shared evenly."
)
@click.option("--to", "folder", required=True, type=_PATH, help="Folder of train.rec, train.idx, train.lst, property.")
@click.option(
    "--variants",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Images made of each rendering: 5 takes a third of the time, but four of five are cut, coloured or coarsened "
    "copies.",
)
@click.option("--seed", default=20, show_default=True, type=click.IntRange(0), help="Of the people; 20 is demo's.")
@click.option("--workers", default=0, type=click.IntRange(0), help="Processes.  [default: one each core]")
def render(images: int, identities: int, folder: Path, variants: int, seed: int, workers: int) -> None:
    """Render faces into record files of CASIA-WebFace's shape, as many as you like.

    Stopped at any moment, the same command goes on where it was.

    \b
    Example, as large as CASIA-WebFace:
      bnasface data render --images 490623 --identities 10572 --to casia_like
      bnasface train --dataset records:casia_like --name large
    """
    from bnas_face.data.synthetic import record_sets

    plan = record_sets.RenderPlan(n_images=images, n_identities=identities, variants=variants, seed=seed)
    with _show.progress_bar("Rendering") as progress:
        path = record_sets.write(folder, plan, workers=workers, progress=progress)
    click.echo(f"Rendered {images:,} images of {identities:,} identities ({plan.n_renderings:,} renderings): {path}.")
    click.echo(f"Now train on them:  bnasface train --dataset records:{folder} --name NAME")
