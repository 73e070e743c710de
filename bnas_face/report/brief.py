"""Two models side by side as ten lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Callable

from bnas_face.report import numbers, verdict
from bnas_face.report.records import Comparison, Model, Outcome, Result, Tar


def lines(result: Result) -> list[str]:
    """At most ten lines per comparison: what the models cost, what they reach, and whether the gap is chance.

    Parameters
    ----------
    result : Result
        With a comparison on every protocol.

    Returns
    -------
    list of str
        The verdict is the last line of each protocol, and begins with ``Verdict:``.
    """
    models = {model.id: model for model in result.models}
    found: list[str] = []
    for told in verdict.verdicts(result):
        gap = told.comparison
        own, twin = (result.outcome(gap.protocol, name) for name in (gap.model, gap.twin))
        if own is None or twin is None:
            continue
        found += ["", *_table(models[gap.model], models[gap.twin], own, twin), *_moved(gap, own)]
        found.append(f"Verdict: {gap.model} {told.claim} {gap.twin}: {told.evidence}")
    return found


def _table(first: Model, second: Model, own: Outcome, twin: Outcome) -> list[str]:
    unit = f"{own.n:,} {own.unit}"
    rows: list[tuple[str, str, str]] = [(f"{own.protocol}, {unit}, {own.convention}", first.id, second.id)]

    def row(name: str, cell: Callable[[Model, Outcome], str]) -> None:
        rows.append((name, cell(first, own), cell(second, twin)))

    row("bits of weights/activations", lambda m, o: f"{m.weight_bits}/{m.activation_bits}")
    row("parameters, file", lambda m, o: f"{numbers.short_count(m.n_parameters)}, {numbers.file_size(m.file_bytes)}")
    row("accuracy % (95 %)", lambda m, o: _estimate(o))
    if own.is_of_objects:
        row("top-5 %", lambda m, o: numbers.percent(o.top5.value if o.top5 else None, o.n))
    else:
        row("AUC", lambda m, o: numbers.area(o.auc.value, o.n))
        row("EER %", lambda m, o: numbers.percent(o.eer.value, o.n))
        row(f"TAR % at FMR {_target(own)}", lambda m, o: _tar(o))
    widths = [max(len(line[column]) for line in rows) for column in range(3)]
    return [f"{name:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}" for name, a, b in rows]


def _estimate(outcome: Outcome) -> str:
    found = outcome.accuracy
    return f"{numbers.percent(found.value, outcome.n)} ({numbers.span(found.low, found.high, outcome.n)})"


def _strictest(outcome: Outcome) -> Tar | None:
    """The TAR at the smallest FMR that the data support."""
    return min((t for t in outcome.tar_at_fmr if t.refused is None), key=lambda t: t.fmr_target, default=None)


def _target(outcome: Outcome) -> str:
    found = _strictest(outcome)
    return numbers.MISSING if found is None else numbers.fmr_target(found.fmr_target)


def _tar(outcome: Outcome) -> str:
    found = _strictest(outcome)
    return numbers.MISSING if found is None else numbers.percent(found.tar.value, outcome.n_genuine)


def _moved(gap: Comparison, own: Outcome) -> list[str]:
    """What happens to somebody who swaps the network and keeps the threshold."""
    if gap.transfer is None:
        return []
    before, after = gap.transfer.own, gap.transfer.moved
    rates = [
        f"FMR {numbers.rate(found.fmr.value, own.n_impostor)} %, FNMR {numbers.rate(found.fnmr.value, own.n_genuine)} %"
        for found in (before, after)
    ]
    return [f"{gap.model} at its own threshold: {rates[0]}; at that of {gap.twin}, unchanged: {rates[1]}."]
