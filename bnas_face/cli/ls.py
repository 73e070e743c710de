"""``bnasface ls``: what can be named on the command line."""

from __future__ import annotations

import click

KINDS = ("protocols", "datasets", "backbones", "heads", "binarizers", "spaces", "searchers", "genotypes", "engines")
PACKAGES = {"searchers": "bnas_face.search.searchers", "engines": "bnas_face.bench.engines"}


@click.command("ls", short_help="List protocols, datasets, backbones and all else that has a name.")
@click.argument("kind", metavar=f"{{{'|'.join(KINDS)}}}")
def command(kind: str) -> None:
    """List what can be named on the command line, with one line each."""
    from bnas_face import tables

    tables.check_known("kind", kind, KINDS)
    rows = _rows(kind)
    width = max(len(name) for name, _ in rows)
    for name, line in rows:
        click.echo(f"{name:<{width}}  {line}")


def _rows(kind: str) -> list[tuple[str, str]]:
    if kind == "protocols":
        from bnas_face.evaluate import protocol

        return [(name, protocol.card(name).title) for name in protocol.names()]
    if kind == "datasets":
        from bnas_face.data import datasets

        return [(name, datasets.card(name).title) for name in datasets.names()]
    if kind == "genotypes":
        from bnas_face import genotype

        return [(name, str(found.origin.get("source", found.space))) for name, found in genotype.PUBLISHED.items()]
    from bnas_face import tables

    package = PACKAGES.get(kind, f"bnas_face.models.{kind}")
    return [(name, tables.summary(package, name)) for name in tables.names(package)]
