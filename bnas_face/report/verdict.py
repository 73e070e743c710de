"""What the comparisons say, in words: one sentence per protocol and binarized model against its full-precision twin."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnas_face.report import headline, numbers, size
from bnas_face.report.headline import Headline
from bnas_face.report.records import Comparison, Model, Result

ALPHA = 0.05
_WORTH_SAYING = 1.1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One sentence in parts: ``<model> <claim> its full-precision twin <twin>: <evidence>``.

    Attributes
    ----------
    finding : str
        ``below``, ``above``, ``indistinguishable``, ``undecided`` (interval and test disagree) or ``unknown``.
    claim : str
        "is 16.60 points below", "is indistinguishable from", …
    evidence : str
        Both accuracies, interval, p-value and its Holm correction.
    bytes_saved : str
        How much smaller it is than its twin, and whether that is measured or computed; empty where it is not.
    time_saved : str
        How much faster or slower it is, engines and threads named; empty where not both were measured.
    """

    comparison: Comparison
    finding: str
    claim: str
    evidence: str
    bytes_saved: str = ""
    time_saved: str = ""


def verdicts(result: Result) -> list[Verdict]:
    """A verdict on every comparison of a result."""
    models = {model.id: model for model in result.models}
    return [
        replace(
            _verdict(
                comparison,
                _headline(result, comparison, comparison.model),
                _headline(result, comparison, comparison.twin),
            ),
            bytes_saved=_bytes_saved(models[comparison.model], models[comparison.twin]),
            time_saved=_time_saved(models[comparison.model], models[comparison.twin]),
        )
        for comparison in result.comparisons
    ]


def _headline(result: Result, comparison: Comparison, model: str) -> Headline | None:
    """What is compared, of one of both models."""
    entry = result.result_of(comparison.protocol, model)
    return None if entry is None else headline.of(entry)


def p_decisive(comparison: Comparison) -> float | None:
    """The p-value that decides: Holm-corrected where the file has the correction, else as tested."""
    return comparison.p_value if comparison.p_holm is None else comparison.p_holm


def finding(comparison: Comparison) -> str:
    """Whether the gap is beyond chance: interval and (corrected) test must agree, else it is ``undecided``."""
    gap = comparison.difference
    if gap.value is None:
        return "unknown"
    p_value = p_decisive(comparison)
    says = [] if p_value is None else [p_value < ALPHA]
    if gap.low is not None and gap.high is not None:
        says.append(not gap.low <= 0 <= gap.high)
    if not says:
        return "unknown"
    if not any(says):
        return "indistinguishable"
    if not all(says):
        return "undecided"
    return "below" if gap.value < 0 else "above"


def _verdict(comparison: Comparison, own: Headline | None, twin: Headline | None) -> Verdict:
    found = finding(comparison)
    n = own.n if own else 0
    return Verdict(
        comparison=comparison,
        finding=found,
        claim=_claim(comparison, found, n),
        evidence=_evidence(comparison, found, own, twin),
    )


def _claim(comparison: Comparison, found: str, n: int) -> str:
    value = comparison.difference.value
    if value is None:
        return "has no known gap to"
    if found == "indistinguishable":
        return "is indistinguishable from"
    amount = numbers.points(value, n).lstrip("−+")
    side = "below" if value < 0 else "above"
    return f"{'may be' if found == 'undecided' else 'is'} {amount} points {side}"


def _evidence(comparison: Comparison, found: str, own: Headline | None, twin: Headline | None) -> str:
    gap, parts = comparison.difference, []
    n = own.n if own else 0
    unit = own.unit if own else "pairs"
    if comparison.quantity and not (own and own.metric == "rank-1"):
        parts.append(comparison.quantity)
    elif own and twin and own.estimate.value is not None and twin.estimate.value is not None:
        parts.append(
            f"{numbers.percent(own.estimate.value, n)}\u00a0% against {numbers.percent(twin.estimate.value, n)}\u00a0%"
            f" {own.told.replace('of the', f'of {n:,}')}"
        )
    if gap.low is not None and gap.high is not None:
        parts.append(f"95 % interval of the gap {numbers.points_span(gap.low, gap.high, n)} points")
    parts.append(_test(comparison))
    if found == "indistinguishable" and comparison.smallest_gap is not None:
        parts.append(
            f"with as many {unit} decided differently, gaps from {100 * comparison.smallest_gap:.2f} points on "
            "would have been seen (before correction)"
        )
    text = "; ".join(part for part in parts if part)
    closing = {
        "undecided": f" Interval and test disagree: more {unit} are needed to decide.",
        "unknown": f" {gap.reason or 'No interval and no test are given.'}",
    }
    return text + "." + closing.get(found, "")


def _test(comparison: Comparison) -> str:
    if comparison.p_value is None:
        return ""
    text = f"{comparison.p_method or 'test'} {numbers.p_equation(comparison.p_value)}"
    corrected = numbers.p_value(comparison.p_holm)
    if comparison.p_holm is not None and corrected != numbers.p_value(comparison.p_value):
        text += f", Holm {corrected}"
    return text


def _bytes_saved(model: Model, twin: Model) -> str:
    """``"Its file is 21× smaller (0.71 of 15.3 MB)."``; of a simulated network what is computed for it."""
    own, other = size.size_of(model), twin.file_bytes
    if own is None or not other or other < _WORTH_SAYING * own[0]:
        return ""
    ratio = f"{other / own[0]:.{1 if other < 10 * own[0] else 0}f}×"
    sizes = f"{numbers.file_size(own[0])} against {numbers.file_size(other)}"
    if own[1]:
        return f"Packed it would be {ratio} smaller ({sizes}; computed, its file still holds floats)."
    return f"Its file is {ratio} smaller ({sizes})."


def _time_saved(model: Model, twin: Model) -> str:
    """``"It is 6.3× faster on 1 thread (1.02 ms with packed against 6.43 ms with onnxruntime float32, batch 1)."``."""
    own, other = model.measured, twin.measured
    if own is None or other is None or own.p50_ms is None or other.p50_ms is None:
        return ""
    ratio = other.p50_ms / own.p50_ms
    told = f"{max(ratio, 1 / ratio):.{1 if max(ratio, 1 / ratio) < 10 else 0}f}×"
    threads = f"{own.threads} thread{'' if own.threads == 1 else 's'}"
    times = " against ".join(f"{numbers.three_digits(one.p50_ms)} ms with {one.engine}" for one in (own, other))
    return f"It is {told} {'faster' if ratio >= 1 else 'slower'} on {threads} ({times}, batch {own.batch})."
