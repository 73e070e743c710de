"""One self-contained ``report.html``: no network, no server; everything that came from a file is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bnas_face import __version__
from bnas_face.files import write_text
from bnas_face.report import bench as benches
from bnas_face.report import (
    best,
    cost,
    curves,
    drift,
    failures,
    figures,
    headline,
    network,
    numbers,
    provenance,
    ranks,
    results,
    searched,
    size,
    slices,
    tables,
    tradeoff,
    verdict,
)
from bnas_face.report.records import Result

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

PAGE_NAME = "report.html"
BENCH_PAGE = "bench.html"
_CURVE_DIGITS = 6


def write(folder: Path) -> Path:
    """Write ``report.html``, ``tables.md`` and ``tables.tex`` of a report folder from its ``result.json``.

    What ``bench.json`` says of the same models is shown with it. A folder that has a bench and no result gets a page
    of the cost alone, ``bench.html``.

    For searched models also their pictures, ``cells_1.svg`` and ``search_1.svg``, numbered as on the page.

    ``pairs.csv`` and ``images/`` are used where they exist. Returns the path of the page.

    Raises
    ------
    ReportError
        If ``result.json`` is absent, one of both is damaged, lacks a field, or they do not belong together; names the
        file and the field.
    """
    measured = benches.load(folder)
    if measured is not None and not (folder / results.FILE_NAME).exists():
        write_text(folder / BENCH_PAGE, render_bench(measured, folder))
        return folder / BENCH_PAGE
    result = benches.joined(results.load(folder), measured)
    marks = figures.marks(result.models)
    pairs = failures.read_pairs(folder)
    failures.check_complete(pairs, result, folder)
    page = render(result, pairs, folder, measured)
    write_text(folder / "tables.md", tables.markdown(result, marks))
    write_text(folder / "tables.tex", tables.latex(result, marks))
    for number, group in enumerate(searched.groups(result.models, standalone=True), start=1):
        write_text(folder / f"cells_{number}.svg", group.cells(standalone=True))
        if group.shrinking:
            write_text(folder / f"search_{number}.svg", group.shrinking)
    write_text(folder / PAGE_NAME, page)
    return folder / PAGE_NAME


def render_bench(measured: benches.Bench, folder: Path) -> str:
    """The page of the cost alone as text; `folder` is what it is named after."""
    name, script = folder.resolve().name, template("report.js")
    return (
        environment()
        .get_template("bench.html.j2")
        .render(
            cost=cost.section(measured, None, ()),
            has_result=False,
            style=template("report.css") + template("parts.css"),
            script=script,
            script_hash=script_hash(script),
            data=script_json({"models": [], "twins": [], "curves": {}}),
            title=f"{name} – cost",
            name=name,
            sections=[("cost", "Cost")],
            numbered={"cost": 1},
        )
    )


def render(result: Result, pairs: pd.DataFrame | None, folder: Path, measured: benches.Bench | None = None) -> str:
    """The page as text; `folder` is where images are looked for and what the page is named after."""
    groups, topic, name = searched.groups(result.models), _topic(result), folder.resolve().name
    content = _content(result, pairs, folder, measured) | {"searched": groups}
    sections = _sections(result, content)
    style, script = template("report.css") + template("parts.css"), template("report.js")
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            **content,
            style=style + (searched.style() if groups else ""),
            script=script,
            script_hash=script_hash(script),
            data=script_json(_page_data(result, content["tradeoffs"], content["network"])),
            topic=topic,
            title=f"{name} – {topic.lower()} report",
            name=name,
            quoted_name=shlex.quote(name),
            sections=sections,
            numbered={name: place for place, (name, _) in enumerate(sections, start=1)},
        )
    )


def _content(
    result: Result, pairs: pd.DataFrame | None, folder: Path, measured: benches.Bench | None
) -> dict[str, Any]:
    """What the sections show, by the name it has in the templates."""
    marks = figures.marks(result.models)
    sizes, costs = size.plots(result, marks), cost.section(measured, result, marks)
    every = tables.rows(result, marks)
    found, objects = tables.of_faces(every), tables.of_objects(every)
    of_pairs = [protocol for protocol in result.protocols if protocol.is_of_pairs]
    tars = [tar for row in found for tar in row.outcome.tar_at_fmr]
    return {
        "result": result,
        "marks": marks,
        "index": result.places,
        "every": every,
        "rows": found,
        "objects": objects,
        "object_notes": tables.notes(objects),
        "gaps": [c for c in result.comparisons if c.protocol in {protocol.name for protocol in of_pairs}],
        "best": best.marked(result),
        "best_note": best.NOTE,
        "unknown_overlaps": list(
            dict.fromkeys(
                f"Overlap with the training set of {row.model.id} is not known: {row.outcome.overlap_unknown}."
                for row in found
                if row.outcome.overlap_unknown
            )
        ),
        "fmr_targets": sorted({tar.fmr_target for tar in tars}, reverse=True),
        "refusals": list(dict.fromkeys(tar.refused for tar in tars if tar.refused)),
        "stamps": sorted({entry.convention_stamp for entry in result.everything} - {""}),
        "notes": tables.notes(found),
        "verdicts": verdict.verdicts(result),
        "forest": figures.forest(
            result.comparisons, {m.id: mark for m, mark in zip(result.models, marks, strict=True)}
        ),
        "headline": headline.of,
        "quantities": _quantities(result),
        "sizes": sizes,
        "cost": costs,
        "has_result": True,
        "tradeoffs": [sizes, costs.plots if costs else ()],
        "costs": size.costs(result, marks),
        "curves": [curves.figures_of(protocol, result, marks) for protocol in of_pairs],
        "scores": [plot for protocol in of_pairs for plot in drift.figures_of(protocol, result, marks, pairs)],
        "gallery": failures.gallery(result, pairs, folder),
        "slices": slices.tables(result, marks),
        "identification": ranks.blocks(result, marks),
        "network": network.families(result, marks),
        "layer_notes": (network.PACKED, network.MACS),
        "provenance": provenance.provenance(result),
    }


_SECTIONS = (
    ("verdict", "Verdict"),
    ("comparison", "Comparison"),
    ("objects", "Object recognition"),
    ("identification", "Identification"),
    ("size", "Accuracy against size"),
    ("cost", "Cost"),
    ("curves", "Error curves"),
    ("scores", "Scores"),
    ("failures", "Failures"),
    ("tar", "TAR at FMR"),
    ("slices", "Slices"),
    ("searched", "Searched cells"),
    ("network", "Network"),
    ("provenance", "Provenance"),
)
_OF_PAIRS = ("comparison", "curves", "scores", "failures", "tar")
_OPTIONAL = ("objects", "identification", "cost", "slices", "searched", "network")


def _sections(result: Result, content: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, title) of the sections that this result has something for.

    A result without anything has the sections of pairs, which say what is missing.
    """
    hidden = {name for name in _OPTIONAL if not content[name]}
    has_pairs = any(protocol.is_of_pairs for protocol in result.protocols)
    if not has_pairs and (content["objects"] or content["identification"]):
        hidden |= set(_OF_PAIRS)
    if not result.outcomes:
        hidden.add("size")
    return [section for section in _SECTIONS if section[0] not in hidden]


def _quantities(result: Result) -> list[str]:
    """What the comparisons are about, each once: accuracy, top-1, or what the file calls it."""
    objects = {protocol.name for protocol in result.protocols if protocol.is_of_objects}
    named = (gap.quantity or ("top-1" if gap.protocol in objects else "accuracy") for gap in result.comparisons)
    return list(dict.fromkeys(name.partition(",")[0] for name in named))


def _topic(result: Result) -> str:
    """What was evaluated, in words."""
    kinds = {
        "face verification": any(protocol.is_of_pairs for protocol in result.protocols) or not result.protocols,
        "face identification": any(protocol.is_of_gallery for protocol in result.protocols),
        "object recognition": any(protocol.is_of_objects for protocol in result.protocols),
    }
    return " and ".join(name for name, there in kinds.items() if there).capitalize()


@cache
def environment() -> Environment:
    """Where the templates are and what they may call; every value is escaped. Compiled once: it takes half a second."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["breakable"] = breakable
    found.globals |= {"number": numbers, "share": network.share, "version": __version__, "flat": provenance.flat}
    return found


def script_hash(script: str) -> str:
    """The hash by which the page's content security policy allows its own script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def template(name: str) -> str:
    """The text of a file of ``templates/``."""
    return (resources.files("bnas_face.report") / "templates" / name).read_text(encoding="utf-8")


def breakable(text: str) -> Markup:
    """Escaped text that a browser may break after the punctuation of a path."""
    from markupsafe import Markup

    return Markup("<wbr>").join(part for part in re.split(r"(?<=[/_:.-])(?=\w)", text) if part)


def script_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _page_data(
    result: Result, tradeoffs: Sequence[Sequence[tradeoff.Plot]], families: list[network.Family]
) -> dict[str, Any]:
    """What the page's script needs: names, twins, and the points of every curve for the read-out."""
    index = result.places
    places = {protocol.name: place for place, protocol in enumerate(result.protocols)}
    twins = {c.model: c.twin for c in result.comparisons} | {m.id: m.twin for m in result.models if m.twin in index}
    found: dict[str, Any] = {
        f"{places[entry.protocol]}-{index[entry.model]}": {
            "threshold": [round(v, _CURVE_DIGITS) for v in entry.curve.threshold],
            "fmr": [round(v, _CURVE_DIGITS) for v in entry.curve.fmr],
            "fnmr": [round(v, _CURVE_DIGITS) for v in entry.curve.fnmr],
            "n_impostor": entry.n_impostor,
            "n_genuine": entry.n_genuine,
        }
        for entry in result.outcomes
        if entry.curve
    }
    return {
        "models": [model.id for model in result.models],
        "twins": [index[twins[model.id]] if model.id in twins else None for model in result.models],
        "curves": found
        | ranks.points(result)
        | {f"{p.quantity.kind}{n}-all": tradeoff.tips(p) for plots in tradeoffs for n, p in enumerate(plots)}
        | network.tips(families),
    }
