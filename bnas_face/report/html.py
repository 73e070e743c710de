"""One self-contained ``report.html``: no network, no server; everything that came from a file is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from bnas_face import __version__
from bnas_face.files import write_text
from bnas_face.report import failures, figures, numbers, results, searched, tables, verdict

if TYPE_CHECKING:
    from markupsafe import Markup

PAGE_NAME = "report.html"
_CURVE_DIGITS = 6
_GROUPED_FROM = 10_000


def write(folder: Path) -> Path:
    """Write ``report.html``, ``tables.md`` and ``tables.tex`` of a report folder from its ``result.json``.

    For searched models also their pictures, ``cells_1.svg`` and ``search_1.svg``, numbered as on the page.

    ``pairs.csv`` and ``images/`` are used where they exist. Returns the path of the page.

    Raises
    ------
    ReportError
        If ``result.json`` is absent, one of both is damaged, lacks a field, or they do not belong together; names the
        file and the field.
    """
    result = results.load(folder)
    marks = figures.marks(result.models)
    pairs = failures.read_pairs(folder)
    failures.check_complete(pairs, result, folder)
    page = render(result, pairs, folder)
    write_text(folder / "tables.md", tables.markdown(result, marks))
    write_text(folder / "tables.tex", tables.latex(result, marks))
    for number, group in enumerate(searched.groups(result.models, standalone=True), start=1):
        write_text(folder / f"cells_{number}.svg", group.cells(standalone=True))
        if group.shrinking:
            write_text(folder / f"search_{number}.svg", group.shrinking)
    write_text(folder / PAGE_NAME, page)
    return folder / PAGE_NAME


def render(result: results.Result, pairs: pd.DataFrame | None, folder: Path) -> str:
    """The page as text; `folder` is where images are looked for and what the page is named after."""
    import jinja2

    style, script = _template("report.css"), _template("report.js")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    marks = figures.marks(result.models)
    every = tables.rows(result, marks)
    found, objects = tables.of_faces(every), tables.of_objects(every)
    of_faces = [protocol for protocol in result.protocols if not protocol.is_of_objects]
    groups = searched.groups(result.models)
    hidden = {
        *(() if groups else ("searched",)),
        *(() if objects else ("objects",)),
        *(_OF_FACES if objects and not of_faces else ()),
    }
    sections = [section for section in _SECTIONS if section[0] not in hidden]
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html.j2").render(
        style=style + (searched.style() if groups else ""),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_script_json(_page_data(result)),
        number=numbers,
        version=__version__,
        name=folder.resolve().name,
        quoted_name=shlex.quote(folder.resolve().name),
        result=result,
        marks=marks,
        index={model.id: place for place, model in enumerate(result.models)},
        every=every,
        rows=found,
        objects=objects,
        object_notes=tables.notes(objects),
        gaps=[c for c in result.comparisons if c.protocol in {protocol.name for protocol in of_faces}],
        fmr_targets=sorted({tar.fmr_target for row in found for tar in row.outcome.tar_at_fmr}, reverse=True),
        refusals=list(dict.fromkeys(t.refused for row in found for t in row.outcome.tar_at_fmr if t.refused)),
        stamps=sorted({row.outcome.convention_stamp for row in every} - {""}),
        notes=tables.notes(found),
        verdicts=verdict.verdicts(result),
        forest=figures.forest(result.comparisons, {m.id: mark for m, mark in zip(result.models, marks, strict=True)}),
        curves=[_curves(protocol, result, marks) for protocol in of_faces],
        scores=[plot for protocol in of_faces for plot in _scores(protocol, result, marks, pairs)],
        gallery=failures.gallery(result, pairs, folder),
        provenance=_provenance(result),
        searched=groups,
        flat=_flat,
        sections=sections,
        numbered={name: place for place, (name, _) in enumerate(sections, start=1)},
    )


_SECTIONS = (
    ("verdict", "Verdict"),
    ("comparison", "Comparison"),
    ("objects", "Object recognition"),
    ("curves", "Error curves"),
    ("scores", "Scores"),
    ("failures", "Failures"),
    ("tar", "TAR at FMR"),
    ("searched", "Searched cells"),
    ("provenance", "Provenance"),
)


_OF_FACES = ("comparison", "curves", "scores", "failures", "tar")


def _template(name: str) -> str:
    return (resources.files("bnas_face.report") / "templates" / name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """Escaped text that a browser may break after the punctuation of a path."""
    from markupsafe import Markup

    return Markup("<wbr>").join(part for part in re.split(r"(?<=[/_:.-])(?=\w)", text) if part)


def _script_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _page_data(result: results.Result) -> dict[str, Any]:
    """What the page's script needs: names, twins, and the points of every curve for the read-out."""
    index = {model.id: place for place, model in enumerate(result.models)}
    places = {protocol.name: place for place, protocol in enumerate(result.protocols)}
    twins = {c.model: c.twin for c in result.comparisons} | {m.id: m.twin for m in result.models if m.twin in index}
    curves = {
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
        "curves": curves,
    }


def _entries(protocol: results.Protocol, result: results.Result) -> list[tuple[int, results.Outcome]]:
    """Outcomes of a protocol with the place of their model, in the order of the models."""
    found = ((place, result.outcome(protocol.name, model.id)) for place, model in enumerate(result.models))
    return [(place, outcome) for place, outcome in found if outcome is not None]


def _curves(protocol: results.Protocol, result: results.Result, marks: Sequence[figures.Mark]) -> dict[str, Any]:
    entries = _entries(protocol, result)
    return {
        "protocol": protocol,
        "place": result.protocols.index(protocol),
        "entries": entries,
        "without": [result.models[place].id for place, entry in entries if entry.curve is None],
        "plots": [plot for plot in (figures.det(entries, marks), figures.roc(entries, marks)) if plot],
    }


def _scores(
    protocol: results.Protocol, result: results.Result, marks: Sequence[figures.Mark], pairs: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """A histogram figure per binarized model with its twin, then one per model that is in none of these."""
    entries = dict(_entries(protocol, result))
    index = {model.id: place for place, model in enumerate(result.models)}
    couples: list[tuple[int | None, int]] = [
        (index[c.twin], index[c.model]) for c in result.comparisons if c.protocol == protocol.name
    ]
    shown = {place for couple in couples for place in couple}
    couples += [(None, place) for place in entries if place not in shown]
    return [
        _score_figure(protocol, result, marks, pairs, entries, twin, own) for twin, own in couples if own in entries
    ]


def _score_figure(
    protocol: results.Protocol,
    result: results.Result,
    marks: Sequence[figures.Mark],
    pairs: pd.DataFrame | None,
    entries: dict[int, results.Outcome],
    twin: int | None,
    own: int,
) -> dict[str, Any]:
    other = entries.get(twin) if twin is not None else None
    plot = figures.scores((twin, other) if twin is not None and other else None, (own, entries[own]), marks)
    return {
        "protocol": protocol,
        "own": own,
        "twin": twin if plot and len(plot.panels) == 2 else None,
        "plot": plot,
        "drift": _drift(entries[own], other, pairs),
    }


def _drift(own: results.Outcome, twin: results.Outcome | None, pairs: pd.DataFrame | None) -> str:
    """What the twin's threshold does when it is applied unchanged to the binarized model, as a sentence."""
    if twin is None or not twin.thresholds or not own.thresholds:
        return ""
    if pairs is None:
        return f"What the twin's threshold would do here is not known: {failures.PAIRS_NAME} is not beside this report."
    shared, fitted = median(twin.thresholds), median(own.thresholds)
    moved = failures.rates_at(pairs, own.protocol, own.model, shared)
    kept = failures.rates_at(pairs, own.protocol, own.model, fitted)
    if moved is None or kept is None:
        return ""
    fmr = [numbers.rate(value, own.n_impostor) for value in (kept[0], moved[0])]
    fnmr = [numbers.rate(value, own.n_genuine) for value in (kept[1], moved[1])]
    return (
        f"With its own threshold ({numbers.score(fitted)}) the FMR is {fmr[0]}\u00a0% and the FNMR {fnmr[0]}\u00a0%;"
        f" with the twin's ({numbers.score(shared)}), applied unchanged, FMR {fmr[1]}\u00a0% and FNMR {fnmr[1]}\u00a0%."
    )


def _provenance(result: results.Result) -> dict[str, Any]:
    """What section 7 lists: everything in the file that is not drawn elsewhere, as pairs of name and text."""
    raw = result.raw
    return {
        "seed": raw.get("seed"),
        "package_version": dict(_flat(raw.get("versions"))).get("bnas_face", __version__),
        "versions": _flat(raw.get("versions")),
        "environment": _flat(raw.get("environment")),
        "models": [
            {
                "model": model,
                "facts": _flat({key: model.raw.get(key) for key in _MODEL_FACTS} | {"twin": model.twin or "none"}),
                "preprocessing": _flat(model.raw.get("preprocessing")),
                "training": _flat(model.raw.get("training")),
            }
            for model in result.models
        ],
        "protocols": [
            {
                "protocol": protocol,
                "facts": _counts(protocol) + _flat({key: protocol.raw.get(key) for key in _facts_of(protocol)}),
                "n_failed": [
                    (o.model, numbers.count(o.n_failed)) for o in result.outcomes if o.protocol == protocol.name
                ],
            }
            for protocol in result.protocols
        ],
    }


_MODEL_FACTS = (
    "twin",
    "source",
    "backbone",
    "binarizer",
    "n_binary_parameters",
    "size_px",
    "embedding_dim",
    "weights_sha256",
)
_OBJECT_FACTS = ("dataset", "licence", "version", "labels_sha256", "images_hash")
_PROTOCOL_FACTS = ("dataset", "licence", "alignment", "version", "scheme", "n_folds", "pairs_sha256", "images_hash")


def _facts_of(protocol: results.Protocol) -> tuple[str, ...]:
    return _OBJECT_FACTS if protocol.is_of_objects else _PROTOCOL_FACTS


def _counts(protocol: results.Protocol) -> list[tuple[str, str]]:
    """How many images of how many classes, or how many pairs."""
    if protocol.is_of_objects:
        return [("images", numbers.count(protocol.n_images)), ("classes", numbers.count(protocol.n_classes))]
    genuine, impostor = numbers.count(protocol.n_genuine), numbers.count(protocol.n_impostor)
    return [("pairs", f"{numbers.count(protocol.n_pairs)} ({genuine} genuine, {impostor} impostor)")]


def _flat(content: Any) -> list[tuple[str, str]]:
    """The fields of an object as (name, text), nested names joined by dots; null as "not given"."""
    if not isinstance(content, dict):
        return [] if content is None else [("", _text(content))]
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            found += [(f"{key}.{name}".rstrip("."), text) for name, text in _flat(value)]
        else:
            found.append((str(key), _text(value)))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list):
        return ", ".join(_text(member) for member in value) or "none"
    if isinstance(value, int) and not isinstance(value, bool) and value >= _GROUPED_FROM:
        return f"{value:,}"
    return str(value)
