"""Two models side by side as ten lines of text for a terminal."""

from __future__ import annotations

from bnas_face.report import numbers, verdict
from bnas_face.report.estimate import Estimate
from bnas_face.report.identification import Identification
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
        own, twin = (result.result_of(gap.protocol, name) for name in (gap.model, gap.twin))
        if own is None or twin is None:
            continue
        columns = [_cells(models[gap.model], own), _cells(models[gap.twin], twin)]
        found += ["", *_table(_head(own), gap, columns)]
        found += _moved(gap, own) if isinstance(own, Outcome) else []
        found.append(f"Verdict: {gap.model} {told.claim} {gap.twin}: {told.evidence}")
    return found


def _table(head: str, gap: Comparison, columns: list[dict[str, str]]) -> list[str]:
    names = dict.fromkeys(name for column in columns for name in column)
    left, right = columns
    rows = [(head, gap.model, gap.twin)]
    rows += [(name, left.get(name, numbers.MISSING), right.get(name, numbers.MISSING)) for name in names]
    widths = [max(len(line[column]) for line in rows) for column in range(3)]
    return [f"{name:<{widths[0]}}  {a:>{widths[1]}}  {b:>{widths[2]}}" for name, a, b in rows]


def _head(entry: Outcome | Identification) -> str:
    if isinstance(entry, Identification):
        return f"{entry.protocol}, {entry.n_mated:,} mated probes, {entry.convention}"
    return f"{entry.protocol}, {entry.n:,} {entry.unit}, {entry.convention}"


def _cells(model: Model, entry: Outcome | Identification) -> dict[str, str]:
    """What is said of one model, by name of the row."""
    found = {
        "bits of weights/activations": f"{model.weight_bits}/{model.activation_bits}",
        "parameters, file": f"{numbers.short_count(model.n_parameters)}, {numbers.file_size(model.file_bytes)}",
    }
    if isinstance(entry, Identification):
        return found | _searches(entry)
    found["accuracy % (95 %)"] = _estimate(entry.accuracy, entry.n)
    if entry.is_of_objects:
        return found | {"top-5 %": numbers.percent(entry.top5.value if entry.top5 else None, entry.n)}
    return found | {
        "AUC": numbers.area(entry.auc.value, entry.n),
        "EER %": numbers.percent(entry.eer.value, entry.n),
        f"TAR % at FMR {_target(entry)}": _tar(entry),
    }


def _searches(entry: Identification) -> dict[str, str]:
    """Rank rates, and TPIR at the smallest FPIR that the data support."""
    found = {f"rank-{rank.rank} % (95 %)": _estimate(rank.share, entry.n_mated) for rank in entry.ranks[:2]}
    known = min((o for o in entry.open_set if o.refused is None), key=lambda o: o.fpir_target, default=None)
    if known is not None:
        found[f"TPIR % at FPIR {numbers.fmr_target(known.fpir_target)}"] = _estimate(known.tpir, entry.n_mated)
    return found


def _estimate(found: Estimate, n: int) -> str:
    return f"{numbers.percent(found.value, n)} ({numbers.span(found.low, found.high, n)})"


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
