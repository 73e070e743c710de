"""What the page says of searched networks: their cells, where these come from, and how the search found them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import mean
from typing import Any

from bnas_face.errors import FormatError
from bnas_face.genotype import Genotype
from bnas_face.report import cells, history, numbers, picture, search
from bnas_face.report.records import Model

_PAGE_LACKS = ("conv", "tint", "pool", "shade", "alert")
_TOLD = {
    "name": "name", "source": "source", "searcher": "searcher", "binarizer": "binarizer", "fitness": "fitness",
    "seed": "seed", "dataset": "dataset",
}  # fmt: skip
_BITS = {"paper": "paper (W1A32)", "onebit": "onebit (W1A1)"}

_NOISE = (
    "Within the noise: the margin to the next operation is no larger than one standard error of what was measured, so "
    "another seed may well decide otherwise. Where the search recorded no noise it is that of counting the held-out "
    "images alone, and the true noise is larger."
)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Models that share a genotype (a network and its twin), and its pictures as SVG.

    Attributes
    ----------
    models : tuple of int
        Places in the list of models.
    genotype : Genotype
    facts : list of (name, text)
        Where it comes from.
    settings : mapping
        The rest of its origin, without the history.
    shrinking : str
        SVG; empty where there is none, and then `missing` says why.
    missing : str
    noise : str
        What "within the noise" means here; empty where it is not said.
    rounds : list of int
        Numbers of the rounds that abandoned operations.
    losses : list of (edge, list of list of Loss)
        For every edge what it lost in each of these rounds.
    """

    models: tuple[int, ...]
    genotype: Genotype
    facts: list[tuple[str, str]]
    settings: Mapping[str, Any]
    shrinking: str
    missing: str
    noise: str
    rounds: list[int]
    losses: list[tuple[str, list[list[history.Loss]]]]

    def cells(self, *, standalone: bool = False) -> str:
        """Both cells as SVG."""
        return cells.svg(self.genotype, standalone=standalone)


def groups(models: Sequence[Model], *, standalone: bool = False) -> list[Searched]:
    """The searched models, those with the same genotype and origin together, in the order of the models."""
    found: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        if model.genotype is not None:
            found.setdefault(json.dumps(model.genotype.to_json(), sort_keys=True), []).append(place)
    return [_group(models, places, standalone) for places in found.values()]


def _group(models: Sequence[Model], places: list[int], standalone: bool) -> Searched:
    genotype = models[places[0]].genotype
    if genotype is None:
        raise ValueError("a group has a genotype")
    shrinking, missing, total = "", "", None
    moments: tuple[history.Moment, ...] = ()
    try:
        moments = history.read(genotype.origin.get("history") or [], genotype.origin)
        drawn = search.shrinking(genotype.origin.get("history") or [], genotype=genotype, standalone=standalone)
        shrinking, missing = (drawn, "") if drawn != search.NOTHING else ("", _no_history(genotype.origin))
        total = history.shrinkage(moments)
    except FormatError as error:
        missing = str(error)
    return Searched(
        models=tuple(places),
        genotype=genotype,
        facts=_facts(genotype, total),
        settings=_settings(genotype.origin),
        shrinking=shrinking,
        missing=missing,
        rounds=[moment.number for moment in moments if moment.abandoned],
        losses=history.losses(moments),
        noise=_NOISE if total is not None and total.n_coin_tosses is not None else "",
    )


def _settings(origin: Mapping[str, Any]) -> dict[str, Any]:
    """The origin without its lists of rounds and samples, and without what `_facts` tell."""
    rest = {key: value for key, value in origin.items() if key not in ("history", *_TOLD)}
    if isinstance(summary := rest.get("summary"), Mapping):
        rest["summary"] = {key: value for key, value in summary.items() if key != "samples"}
    return rest


def _no_history(origin: Mapping[str, Any]) -> str:
    return search.NOTHING if origin.get("searcher") else "How these cells were found is not recorded in the genotype."


def _facts(genotype: Genotype, total: history.Shrinkage | None) -> list[tuple[str, str]]:
    """Name and text of what a reader asks first; what the origin does not tell is left out."""
    origin = genotype.origin
    facts = [("space", _BITS.get(genotype.space, genotype.space))]
    facts += [(label, _short(origin[key])) for key, label in _TOLD.items() if origin.get(key) is not None]
    if type(origin.get("n_images")) is int:
        facts.append(("images", numbers.count(origin["n_images"])))
    if (took := duration(origin.get("seconds"))) is not None:
        facts.append(("search took", took))
    summary = origin.get("summary")
    for key in ("single_path_epochs", "mixed_epochs"):
        if isinstance(summary, Mapping) and type(summary.get(key)) is int:
            facts.append((key.replace("_", " ").replace("single path", "single-path"), numbers.count(summary[key])))
    return facts + _samples(summary) + _certainty(total)


def _samples(summary: Any) -> list[tuple[str, str]]:
    """What random search saw: how many genotypes, how accurate."""
    samples = summary.get("samples") if isinstance(summary, Mapping) else None
    if not isinstance(samples, list):
        return []
    found = [sample.get("accuracy") for sample in samples if isinstance(sample, Mapping)]
    known = [value for value in found if isinstance(value, float) and 0 <= value <= 1]
    facts = [("genotypes drawn", numbers.count(len(samples)))]
    if known:
        facts.append(("their accuracy", f"mean {100 * mean(known):.1f} %, best {100 * max(known):.1f} %"))
    return facts


def _certainty(total: history.Shrinkage | None) -> list[tuple[str, str]]:
    """How clear the abandonments were."""
    if total is None or not total.n_abandoned:
        return []
    facts = [("operations abandoned", numbers.count(total.n_abandoned))]
    if total.n_coin_tosses is not None:
        share = f"{100 * total.n_coin_tosses / total.n_abandoned:.0f} %"
        facts.append(("of these within the noise", f"{numbers.count(total.n_coin_tosses)} ({share})"))
    if total.median_margin is not None:
        facts.append(("median margin", f"{total.median_margin:.2g}"))
    return facts


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def duration(seconds: Any) -> str | None:
    """Seconds as ``"42 s"``, ``"12 min 3 s"`` or ``"3 h 12 min"``; None for what is no duration."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
        return None
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def style() -> str:
    """CSS of the pictures for a page that has ``report.css``: the colours it lacks, and the sheet of the pictures."""
    light, dark = (
        picture.variables({name: colours[name] for name in _PAGE_LACKS}) for colours in (picture.LIGHT, picture.DARK)
    )
    page = (resources.files("bnas_face.report") / "templates" / "searched.css").read_text(encoding="utf-8")
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ {light} }} }}\n{picture.style()}{page}"
    )
