"""The wrongly decided pairs as cards: who failed on them and who did not, with their images where there are some."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bnas_face.errors import ReportError
from bnas_face.report.records import Failure, Outcome, Result

PAIRS_NAME = "pairs.csv"
IMAGE_BUDGET_BYTES = 6_000_000
_COLUMNS = ["protocol", "fold", "reference_id", "probe_id", "is_genuine", "model", "score", "threshold", "is_match"]
_KEY = ["protocol", "reference_id", "probe_id"]
_JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one model made of a pair: `failed` where it decided wrongly, `score` None where it could not compare."""

    model: int
    score: float | None
    threshold: float
    failed: bool


@dataclass(frozen=True, kw_only=True)
class Card:
    """A pair that at least one model decided wrongly. Images are data URIs, or None where there is none."""

    protocol: str
    fold: int
    reference_id: str
    probe_id: str
    is_genuine: bool
    reference_image: str | None
    probe_image: str | None
    decisions: tuple[Decision, ...]

    @property
    def failed(self) -> list[int]:
        """Models that failed on the pair."""
        return [entry.model for entry in self.decisions if entry.failed]

    @property
    def passed(self) -> list[int]:
        """Models known to have decided it rightly."""
        return [entry.model for entry in self.decisions if not entry.failed]


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """All cards, hardest first; `missing` are sentences on what could not be shown."""

    cards: tuple[Card, ...]
    missing: tuple[str, ...]
    has_images: bool


def read_pairs(folder: Path) -> pd.DataFrame | None:
    """Decisions of all models on all pairs from ``pairs.csv``, or None where the folder has none.

    Raises
    ------
    ReportError
        If the file is damaged or lacks a column; names both.
    """
    file = folder / PAIRS_NAME
    if not file.exists():
        return None
    try:
        frame: pd.DataFrame = pd.read_csv(
            file,
            dtype={"reference_id": str, "probe_id": str, "protocol": str, "model": str},
            keep_default_na=False,  # a run may be called "null"
            na_values={"score": [""], "threshold": [""]},
        )
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ReportError(f"'{file}' cannot be read: {reason}. Write it again with 'bnasface eval'.") from None
    absent = [column for column in _COLUMNS if column not in frame.columns]
    if absent:
        raise ReportError(f"'{file}' lacks the column '{absent[0]}'. Write it again with 'bnasface eval'.")
    for column in ("score", "threshold", "is_genuine", "is_match"):
        if not pd.api.types.is_numeric_dtype(frame[column]):
            raise ReportError(f"'{file}' holds text in the column '{column}', expected numbers.")
    return frame[_COLUMNS]


def check_complete(pairs: pd.DataFrame | None, result: Result, folder: Path) -> None:
    """Raise `ReportError` unless ``pairs.csv`` holds as many pairs of every outcome as ``result.json`` counts.

    A file that was cut, or that an earlier or later evaluation left, would give other rates without a word.
    """
    if pairs is None:
        return
    found = pairs.groupby(["protocol", "model"]).size().to_dict()
    for entry in result.outcomes:
        n_found = int(found.get((entry.protocol, entry.model), 0))
        is_listed = bool(entry.thresholds) or n_found > 0  # template pairs have no folds, and are too many to list
        if is_listed and n_found != entry.n_pairs:
            raise ReportError(
                f"'{folder / PAIRS_NAME}' holds {n_found:,} pairs of '{entry.model}' on '{entry.protocol}', "
                f"result.json counts {entry.n_pairs:,}. Write both again with 'bnasface eval', or remove {PAIRS_NAME}."
            )


def rates_at(pairs: pd.DataFrame, protocol: str, model: str, threshold: float) -> tuple[float, float] | None:
    """FMR and FNMR of a model at a threshold, counted over its compared pairs; None where a class is absent."""
    own = pairs[(pairs["protocol"] == protocol) & (pairs["model"] == model)]
    own = own[own["score"].notna()]
    match, genuine = own["score"] >= threshold, own["is_genuine"] == 1
    if not genuine.any() or genuine.all():
        return None
    return float(match[~genuine].mean()), float((~match[genuine]).mean())


def gallery(result: Result, pairs: pd.DataFrame | None, folder: Path) -> Gallery:
    """Cards of the failures listed in a result, joined with what every other model made of the same pair."""
    listed = [(rank, entry, failure) for entry in result.outcomes for rank, failure in enumerate(entry.failures)]
    index = {model.id: place for place, model in enumerate(result.models)}
    others = _others(pairs, listed, index)
    images = _Images(folder)
    places = {protocol.name: place for place, protocol in enumerate(result.protocols)}
    groups: dict[tuple[str, str, str], list[tuple[int, Outcome, Failure]]] = {}
    for item in listed:
        groups.setdefault((item[1].protocol, item[2].reference_id, item[2].probe_id), []).append(item)
    ordered = sorted(groups.items(), key=lambda item: (min(rank for rank, *_ in item[1]), places[item[0][0]]))
    cards = tuple(_card(group, others.get(key, []), index, images) for key, group in ordered)
    return Gallery(cards=cards, missing=tuple(_missing(cards, pairs, images)), has_images=images.n_shown > 0)


def _others(
    pairs: pd.DataFrame | None, listed: Sequence[tuple[int, Outcome, Failure]], index: dict[str, int]
) -> dict[tuple[str, str, str], list[Decision]]:
    """Decisions of all models on the listed pairs, by protocol, reference and probe."""
    if pairs is None or not listed:
        return {}
    wanted = pd.DataFrame(
        [(e.protocol, f.reference_id, f.probe_id) for _, e, f in listed], columns=_KEY
    ).drop_duplicates()
    found: dict[tuple[str, str, str], list[Decision]] = {}
    for row in pairs.merge(wanted, on=_KEY).drop_duplicates([*_KEY, "model"]).to_dict("records"):
        if row["model"] in index:
            compared = not pd.isna(row["score"])
            decision = Decision(
                model=index[row["model"]],
                score=float(row["score"]) if compared else None,
                threshold=float(row["threshold"]),
                failed=not compared or bool(row["is_match"]) != bool(row["is_genuine"]),
            )
            found.setdefault((row["protocol"], row["reference_id"], row["probe_id"]), []).append(decision)
    return found


def _card(
    group: Sequence[tuple[int, Outcome, Failure]], others: Sequence[Decision], index: dict[str, int], images: _Images
) -> Card:
    decisions = {entry.model: entry for entry in others}
    for _, outcome, failure in group:
        place = index[outcome.model]
        decisions[place] = Decision(model=place, score=failure.score, threshold=failure.threshold, failed=True)
    _, outcome, first = group[0]
    return Card(
        protocol=outcome.protocol,
        fold=first.fold,
        reference_id=first.reference_id,
        probe_id=first.probe_id,
        is_genuine=first.is_genuine,
        reference_image=images.inline(next((f.reference_image for *_, f in group if f.reference_image), None)),
        probe_image=images.inline(next((f.probe_image for *_, f in group if f.probe_image), None)),
        decisions=tuple(decisions[place] for place in sorted(decisions)),
    )


def _missing(cards: Sequence[Card], pairs: pd.DataFrame | None, images: _Images) -> list[str]:
    text = []
    if cards and not images.n_named:
        text.append(
            "This report carries no images, so pairs are named by their ids: it was written with --no-images, as a"
            " report that is published must be when its photographs show real people."
        )
    if images.n_broken:
        text.append(f"Images that are absent, or no JPEG inside this folder: {images.n_broken}; their places say so.")
    if images.n_over:
        text.append(f"Images left out to keep the page small enough to mail: {images.n_over}.")
    if cards and pairs is None:
        text.append(
            f"{PAIRS_NAME} is not beside this report: whether another model failed on the same pair is known only where"
            " the pair is among its own hardest failures."
        )
    return text


class _Images:
    """Turns named JPEGs of a report folder into data URIs, each read once, up to a budget."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._known: dict[str, str | None] = {}
        self._used_bytes = 0
        self.n_named = self.n_shown = self.n_broken = self.n_over = 0

    def inline(self, name: str | None) -> str | None:
        """Data URI of an image named relative to the report folder; None where it is not to be had."""
        if name is None:
            return None
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> str | None:
        self.n_named += 1
        try:
            file = (self._folder / name).resolve()
            content = file.read_bytes() if file.is_relative_to(self._folder / "images") else b""
        except (OSError, ValueError):
            content = b""
        if not content.startswith(_JPEG_START):
            self.n_broken += 1
            return None
        if self._used_bytes + len(content) > IMAGE_BUDGET_BYTES:
            self.n_over += 1
            return None
        self._used_bytes += len(content)
        self.n_shown += 1
        return "data:image/jpeg;base64," + base64.b64encode(content).decode()
