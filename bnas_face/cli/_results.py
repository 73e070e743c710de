"""The table of results that ``bnasface eval`` prints, one for each kind of protocol."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How the results of one kind are shown.

    Attributes
    ----------
    columns : tuple of str
        Headings of the two numbers.
    cells : callable
        Entry of ``results`` → the two numbers as text.
    counted : str
        Field of the entry with the number of cases the numbers are counted over.
    failed : callable
        Entry → a sentence on its failures.
    """

    columns: tuple[str, str]
    cells: Callable[[Entry], tuple[str, str]]
    counted: str
    failed: Callable[[Entry], str]


def show(result: Mapping[str, Any]) -> None:
    """The numbers as tables, their conventions and notes below."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    gaps = {(entry["model"], entry["protocol"]): entry for entry in result["comparisons"]}
    for kind in KINDS:
        entries = [entry for entry in result["results"] if _kind(entry) == kind]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("Model", overflow="fold")  # a long name gives way, numbers never do
        table.add_column("Protocol", no_wrap=True)
        unit = "Images" if kind == "classification" else "Embeddings"
        for name in (*KINDS[kind].columns, "Gap to twin, points (95 %)", unit):
            table.add_column(name, justify="right", no_wrap=True)
        for entry in entries:
            table.add_row(*_row(entry, gaps.get((entry["model"], entry["protocol"]))))
        if entries:
            console.print(table)
    for stamp in dict.fromkeys(entry["convention_stamp"] for entry in result["results"]):
        console.print(f"Convention {stamp}.", markup=False, style="dim")
    for note in result["notes"]:
        console.print(f"Note: {note}.", markup=False)
    for entry in result["results"]:
        if entry["n_failed"]:
            text = f"{entry['model']} on {entry['protocol']}: {KINDS[_kind(entry)].failed(entry)}"
            console.print(text, markup=False, style="bold")


def _kind(entry: Entry) -> str:
    """The task of a result; templates are told from other pairs by their pooling."""
    return str(entry.get("task", "templates" if "n_templates" in entry else "verification"))


def _row(entry: Entry, gap: Entry | None) -> list[str]:
    from rich.markup import escape

    shown = KINDS[_kind(entry)]
    numbers_of = shown.cells(entry)
    return [
        escape(entry["model"]),
        escape(entry["protocol"]),
        *numbers_of,
        _gap(gap, int(entry[shown.counted])),
        _images(entry),
    ]


def _share(found: Entry, n: int, key: str = "value") -> str:
    """``99.02 (98.71–99.22)``."""
    from bnas_face.report import numbers

    return f"{numbers.percent(found[key], n)} ({numbers.span(found['ci_low'], found['ci_high'], n)})"


def _verification(entry: Entry) -> tuple[str, str]:
    from bnas_face.report import numbers

    n = entry["n_pairs"]
    return _share(entry["accuracy"], n), numbers.percent(entry["eer"]["value"], n)


def _classification(entry: Entry) -> tuple[str, str]:
    from bnas_face.report import numbers

    n = entry["n_images"]
    return _share(entry["top1"], n), numbers.percent(entry["top5"]["value"], n)


def _templates(entry: Entry) -> tuple[str, str]:
    """TAR at the smallest FMR target that the data support."""
    from bnas_face.report import numbers

    told = [tar for tar in entry["tar_at_fmr"] if tar["refused"] is None]
    eer = numbers.percent(entry["eer"]["value"], entry["n_genuine"])
    return (
        f"{_share(told[-1], entry['n_genuine'], 'tar')} at {told[-1]['fmr_target']:g}" if told else numbers.MISSING,
        eer,
    )


def _identification(entry: Entry) -> tuple[str, str]:
    """The first rank that was asked for, and TPIR at the smallest FPIR target that the data support."""
    from bnas_face.report import numbers

    n = entry["n_mated"]
    first = f"{_share(entry['ranks'][0], n)} at {entry['ranks'][0]['rank']}" if entry["ranks"] else numbers.MISSING
    told = [one for one in entry["open_set"] if one["refused"] is None]
    return first, f"{_share(told[-1], n, 'tpir')} at {told[-1]['fpir_target']:g}" if told else numbers.MISSING


def _gap(gap: Entry | None, n: int) -> str:
    from bnas_face.report import numbers

    if gap is None:
        return numbers.MISSING
    return f"{numbers.points(gap['difference'], n)} ({numbers.points_span(gap['ci_low'], gap['ci_high'], n)})"


def _images(entry: Entry) -> str:
    total, cached = entry["n_images"], entry["n_images_from_cache"]
    return f"{total:,} cached" if cached == total else f"{total - cached:,} new, {cached:,} cached"


def _failed_pairs(entry: Entry) -> str:
    return (
        f"{entry['n_failed']:,} of {entry['n_pairs']:,} pairs were not compared because {entry['n_images_failed']:,} "
        "images failed; they count as wrong decisions in the accuracy."
    )


def _failed_templates(entry: Entry) -> str:
    return (
        f"{entry['n_failed']:,} of {entry['n_pairs']:,} pairs were not compared (templates without embedding: "
        f"{entry['n_templates_failed']:,}); rates are over the others."
    )


def _failed_images(entry: Entry) -> str:
    return f"{entry['n_failed']:,} of {entry['n_images']:,} images failed; they count as wrong."


def _failed_probes(entry: Entry) -> str:
    n_probes = entry["n_mated"] + entry["n_nonmated"]
    return f"{entry['n_failed']:,} of {n_probes:,} probes failed; mated ones count as misses."


KINDS: Mapping[str, Shown] = {
    "verification": Shown(
        columns=("Accuracy % (95 %)", "EER %"), cells=_verification, counted="n_pairs", failed=_failed_pairs
    ),
    "templates": Shown(
        columns=("TAR % (95 %) at FMR", "EER %"), cells=_templates, counted="n_genuine", failed=_failed_templates
    ),
    "identification": Shown(
        columns=("Found % (95 %) at rank", "TPIR % (95 %) at FPIR"),
        cells=_identification,
        counted="n_mated",
        failed=_failed_probes,
    ),
    "classification": Shown(
        columns=("Top-1 % (95 %)", "Top-5 %"), cells=_classification, counted="n_images", failed=_failed_images
    ),
}
