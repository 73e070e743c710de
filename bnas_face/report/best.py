"""Which number of a column is significantly the best: beyond every other model of the protocol, or none is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnas_face.report.estimate import Estimate
from bnas_face.report.records import Comparison, Outcome, Result
from bnas_face.report.verdict import finding

NOTE = (
    "★ = significantly best of its protocol: a model beside its twin by the verdict's own rule (interval and corrected "
    "test), any other two models by 95 % intervals that do not overlap (those of the accuracy take decisions as "
    "independent). "
    "Where no model is marked, the best is not told from the next."
)
_Read = Callable[[Outcome], Estimate | None]
COLUMNS: tuple[tuple[str, _Read, bool], ...] = (
    ("accuracy", lambda outcome: outcome.accuracy, True),
    ("eer", lambda outcome: outcome.eer, False),
    ("auc", lambda outcome: outcome.auc, True),
    ("top1", lambda outcome: outcome.top1, True),
    ("top5", lambda outcome: outcome.top5, True),
)
_DECIDED = ("accuracy", "top1")


def marked(result: Result) -> set[tuple[str, str, str]]:
    """(protocol, model, column) of every number that is significantly the best of its column."""
    found = set()
    for protocol in result.protocols:
        entries = [outcome for _, outcome in result.entries(protocol)]
        verdicts = {(c.model, c.twin): c for c in result.comparisons if c.protocol == protocol.name}
        for column, read, more_is_better in COLUMNS:
            winner = best(
                [(entry.model, estimate) for entry in entries if (estimate := read(entry)) is not None],
                more_is_better,
                verdicts if column in _DECIDED else {},
            )
            if winner is not None:
                found.add((protocol.name, winner, column))
    return found


def best(
    entries: Sequence[tuple[str, Estimate]],
    more_is_better: bool,
    verdicts: dict[tuple[str, str], Comparison] | None = None,
) -> str | None:
    """The one model that is beyond all others, or None; one model alone is no best."""
    known = [(name, entry) for name, entry in entries if entry.value is not None]
    if len(known) < 2:
        return None
    sign = 1 if more_is_better else -1
    name, top = max(known, key=lambda item: sign * (item[1].value or 0.0))
    rivals = [(other, entry) for other, entry in known if other != name]
    return name if all(_beyond(name, top, other, entry, sign, verdicts or {}) for other, entry in rivals) else None


def _beyond(
    name: str, top: Estimate, other: str, entry: Estimate, sign: int, verdicts: dict[tuple[str, str], Comparison]
) -> bool:
    if (name, other) in verdicts:
        return finding(verdicts[name, other]) == "above"
    if (other, name) in verdicts:
        return finding(verdicts[other, name]) == "below"
    if top.low is None or top.high is None or entry.low is None or entry.high is None:
        return False
    return top.low > entry.high if sign > 0 else top.high < entry.low
