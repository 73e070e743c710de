"""The records of identification, 1:N: ranks, the CMC curve and the open set."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.report import estimate
from bnas_face.report.estimate import Estimate
from bnas_face.report.node import Node

MOST_POINTS = 200


@dataclass(frozen=True, kw_only=True)
class Rank:
    """The share of mated probes whose own subject is among the first `rank` of the gallery."""

    rank: int
    share: Estimate


@dataclass(frozen=True, kw_only=True)
class OpenSet:
    """TPIR and FNIR at one FPIR target, or the reason why the data cannot support it (`refused`)."""

    fpir_target: float
    refused: str | None
    fpir_achieved: float | None
    n_false_positives: int | None
    tpir: Estimate
    fnir: float | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Identification:
    """One model on one protocol of identification. `cmc_rank` and `cmc_value` are the curve, of equal length."""

    model: str
    protocol: str
    convention: str
    convention_stamp: str
    n_gallery: int
    n_subjects: int
    n_mated: int
    n_nonmated: int
    n_failed: int
    ranks: tuple[Rank, ...]
    cmc_rank: tuple[int, ...]
    cmc_value: tuple[float, ...]
    open_set: tuple[OpenSet, ...]

    @property
    def cmc(self) -> list[tuple[int, float]]:
        """The curve as (rank, share), at most `MOST_POINTS` of it: all first ranks, then ever fewer."""
        points = list(zip(self.cmc_rank, self.cmc_value, strict=True))
        if len(points) <= MOST_POINTS:
            return points
        kept = {round((len(points) - 1) ** (k / (MOST_POINTS - 1))) for k in range(MOST_POINTS)}
        return [points[at] for at in sorted({0, *kept})]


def read(node: Node, models: set[str], protocols: set[str]) -> Identification:
    """A result whose task is identification.

    Raises
    ------
    ReportError
        If a field is absent or wrong; names the file and the field.
    """
    cmc, ranks, open_set = node.get("cmc"), node.get("ranks"), node.get("open_set")
    rank = tuple(entry.integer() for entry in cmc["rank"].items()) if cmc else ()
    value = cmc["value"].rates() if cmc else ()
    if cmc and len(rank) != len(value):
        raise cmc.error(f"holds {len(rank)} ranks and {len(value)} values in '{cmc.where}', expected equal counts")
    return Identification(
        model=node["model"].one_of(models, "model"),
        protocol=node["protocol"].one_of(protocols, "protocol"),
        convention=node["convention"].text(),
        convention_stamp=estimate.optional_text(node, "convention_stamp"),
        n_gallery=node["n_gallery"].integer(),
        n_subjects=node["n_subjects"].integer(),
        n_mated=node["n_mated"].integer(),
        n_nonmated=node["n_nonmated"].integer(),
        n_failed=node["n_failed"].integer(),
        ranks=tuple(
            Rank(rank=entry["rank"].integer(), share=estimate.read(entry)) for entry in (ranks.items() if ranks else [])
        ),
        cmc_rank=rank,
        cmc_value=value,
        open_set=tuple(_open_set(entry) for entry in (open_set.items() if open_set else [])),
    )


def _open_set(node: Node) -> OpenSet:
    refused = node["refused"]
    return OpenSet(
        fpir_target=node["fpir_target"].number(),
        refused=None if refused.value is None else refused.text(),
        fpir_achieved=node["fpir_achieved"].maybe_rate(),
        n_false_positives=node["n_false_positives"].maybe_integer(),
        tpir=estimate.read(node, "tpir"),
        fnir=node["fnir"].maybe_rate(),
        threshold=node["threshold"].maybe(),
    )
