"""The score histograms of every model beside its twin's, and what the twin's threshold does to it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low
from typing import Any

import pandas as pd

from bnas_face.report import failures, figures, numbers
from bnas_face.report.detail import Transfer
from bnas_face.report.estimate import Estimate
from bnas_face.report.records import Comparison, Outcome, Protocol, Result


def figures_of(
    protocol: Protocol, result: Result, marks: Sequence[figures.Mark], pairs: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """A histogram figure per binarized model with its twin, then one per model that is in none of these."""
    entries, index = dict(result.entries(protocol)), result.places
    couples: list[tuple[int | None, int, Comparison | None]] = [
        (index[c.twin], index[c.model], c) for c in result.comparisons if c.protocol == protocol.name
    ]
    shown = {place for twin, own, _ in couples for place in (twin, own)}
    couples += [(None, place, None) for place in entries if place not in shown]
    return [
        {"protocol": protocol, "own": own, **_figure(entries, marks, twin, own)}
        | _told(entries[own], entries.get(twin) if twin is not None else None, comparison, pairs)
        for twin, own, comparison in couples
        if own in entries
    ]


def _figure(entries: dict[int, Outcome], marks: Sequence[figures.Mark], twin: int | None, own: int) -> dict[str, Any]:
    other = entries.get(twin) if twin is not None else None
    plot = figures.scores((twin, other) if twin is not None and other else None, (own, entries[own]), marks)
    return {"plot": plot, "twin": twin if plot and len(plot.panels) == 2 else None}


def _told(
    own: Outcome, twin: Outcome | None, comparison: Comparison | None, pairs: pd.DataFrame | None
) -> dict[str, Any]:
    """The drift as a sentence and, where the file has it measured with intervals, as rows of a table."""
    if comparison is not None and comparison.transfer is not None:
        return {"drift": _sentence(comparison.transfer, own), "rates": _rows(comparison.transfer, own)}
    return {"drift": _counted(own, twin, pairs), "rates": []}


def _sentence(transfer: Transfer, outcome: Outcome) -> str:
    def moved(name: str, n: int) -> str:
        before, after = (getattr(rates, name).value for rates in (transfer.own, transfer.moved))
        return f"{name.upper()} {numbers.rate(before, n)}\u00a0% → {numbers.rate(after, n)}\u00a0%"

    return (
        f"The twin's threshold ({numbers.score(transfer.threshold)}) applied unchanged: "
        f"{moved('fmr', outcome.n_impostor)}, {moved('fnmr', outcome.n_genuine)}."
    )


def _rows(transfer: Transfer, outcome: Outcome) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """(whose threshold, threshold, (rate, interval, count) of FMR and FNMR)."""
    found = []
    for whose, threshold, rates in (
        ("its own", transfer.own_threshold, transfer.own),
        ("the twin's", transfer.threshold, transfer.moved),
    ):
        cells = [
            _cell(rates.fmr, rates.n_false_matches, outcome.n_impostor),
            _cell(rates.fnmr, rates.n_false_non_matches, outcome.n_genuine),
        ]
        found.append((whose, numbers.score(threshold), cells))
    return found


def _cell(rate: Estimate, errors: int | None, n: int) -> tuple[str, str, str]:
    return numbers.rate(rate.value, n), numbers.rate_span(rate.low, rate.high, n), numbers.count(errors)


def _counted(own: Outcome, twin: Outcome | None, pairs: pd.DataFrame | None) -> str:
    """For files without ``transfer``: counted here from ``pairs.csv``."""
    if twin is None or not twin.thresholds or not own.thresholds:
        return ""
    if pairs is None:
        return f"What the twin's threshold would do here is not known: {failures.PAIRS_NAME} is not beside this report."
    shared, fitted = median_low(twin.thresholds), median_low(own.thresholds)
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
