"""The one number that a result is summed up by: accuracy, top-1, rank 1, or TAR where there is no accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.report import numbers
from bnas_face.report.estimate import Estimate
from bnas_face.report.identification import Identification
from bnas_face.report.records import Outcome

LITERATURE_FMR = 1e-4


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A number with its name, the `n` decisions it was counted over and their `unit`; `told` ends a sentence on it."""

    metric: str
    estimate: Estimate
    n: int
    unit: str
    told: str


def of(entry: Outcome | Identification) -> Headline | None:
    """The number of a result, or None where it has none; an undefined accuracy is one with its reason."""
    if isinstance(entry, Identification):
        first = next((one.share for one in entry.ranks if one.rank == 1), None)
        if first is None:
            return None
        unit, told = "mated probes", "of the mated probes named at rank 1"
        return Headline(metric="rank-1", estimate=first, n=entry.n_mated, unit=unit, told=told)
    if entry.accuracy.value is None and (tar := _tar(entry)) is not None:
        return tar
    metric = "top-1" if entry.is_of_objects else "accuracy"
    told = f"of the {entry.unit} decided rightly"
    return Headline(metric=metric, estimate=entry.accuracy, n=entry.n, unit=entry.unit, told=told)


def _tar(entry: Outcome) -> Headline | None:
    """TAR at the target the literature quotes, else at the smallest that the data support."""
    known = {one.fmr_target: one for one in entry.tar_at_fmr if one.refused is None}
    if not known:
        return None
    target = LITERATURE_FMR if LITERATURE_FMR in known else min(known)
    at = f"at FMR {numbers.fmr_target(target)}"
    return Headline(
        metric=f"TAR {at}",
        estimate=known[target].tar,
        n=entry.n_genuine,
        unit="genuine pairs",
        told=f"of the genuine pairs accepted {at}",
    )
