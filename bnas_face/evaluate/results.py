"""What is measured of one model on one protocol, as the entries of ``result.json``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import MetricError
from bnas_face.evaluate import breakdown, entries
from bnas_face.evaluate.conventions import Convention, Verdicts, decide
from bnas_face.evaluate.protocol import Protocol
from bnas_face.metrics import folds, paired, rates, uncertainty

SCHEMA = "bnas_face.result/1"
N_REPLICATES = 1000
BAND_POINTS = 31
NOBODY_KNOWN = breakdown.People(names=frozenset(), reason="what the model was trained on is not known")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Scores and decisions of one model on one protocol, with their entry of ``results``.

    Attributes
    ----------
    model : str
    protocol : Protocol
    scores : ndarray of float64, shape (n_pairs,)
        NaN where a pair was not compared.
    verdicts : Verdicts
    convention : Convention
    replicates : Replicates
        Of the bootstrap; `tar` at the targets that the data support, then at those of the band.
    entry : dict
        Numbers as plain Python values; undefined ones are None with a reason beside them.
    """

    model: str
    protocol: Protocol
    scores: NDArray[np.float64]
    verdicts: Verdicts
    convention: Convention
    replicates: uncertainty.Replicates
    entry: dict[str, Any]


def measure(
    model: str,
    protocol: Protocol,
    scores: NDArray[np.float64],
    convention: Convention,
    *,
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
    people: breakdown.People | None = None,
    development: breakdown.Development | None = None,
) -> Measured:
    """Every number of one model on one protocol, each with its interval.

    Parameters
    ----------
    model : str
    protocol : Protocol
    scores : ndarray of float64, shape (n_pairs,)
        NaN where a pair was not compared.
    convention : Convention
    n_replicates, seed : int
        Of the subject-cluster bootstrap.
    people : People, optional
        Whom the model was trained on.
    development : Development, optional
        A threshold of the model from another protocol.

    Raises
    ------
    MetricError
        If too few pairs were compared to fit a threshold; names model and protocol.
    """
    if np.isnan(scores).all():
        raise MetricError(
            f"Model '{model}' on protocol '{protocol.card.name}': none of {len(scores):,} pairs was compared, because "
            "an image of every one is broken or got no finite embedding. Check the images and the model's weights."
        )
    try:
        verdicts = decide(convention, protocol.card.scheme, scores, protocol.is_genuine, protocol.fold)
        compared = verdicts.tested[verdicts.completed]
        genuine = protocol.is_genuine[compared]
        curve = rates.error_curve(scores[compared], genuine)
    except MetricError as error:
        raise MetricError(f"Model '{model}' on protocol '{protocol.card.name}': {error}") from None
    targets = tuple(t for t in protocol.card.fmr_targets if t >= 1 / curve.n_impostor)
    reference, probe = protocol.subjects()
    grid = band_grid(curve.n_impostor)
    drawn = uncertainty.bootstrap(
        scores[compared], genuine, reference[compared], probe[compared], (*targets, *grid), n_replicates, seed
    )
    eer = rates.eer_of(curve)
    tested_genuine = protocol.is_genuine[verdicts.tested]
    entry = {
        "model": model,
        "protocol": protocol.card.name,
        "convention": convention.name,
        "convention_stamp": convention.stamp,
        "n_pairs": len(verdicts.tested),
        "n_genuine": int(np.count_nonzero(tested_genuine)),
        "n_impostor": int(np.count_nonzero(~tested_genuine)),
        "n_failed": int(np.count_nonzero(~verdicts.completed)),
        "accuracy": entries.accuracy(verdicts),
        "auc": {"value": rates.auc_of(curve), **entries.bootstrap_interval(drawn, lambda r: r.auc)},
        "eer": {
            "value": eer.value,
            "low": eer.low,
            "high": eer.high,
            "threshold": eer.threshold,
            **entries.bootstrap_interval(drawn, lambda r: r.eer),
        },
        "tar_at_fmr": [
            entries.tar(curve, target, _interval_of(targets, drawn)) for target in protocol.card.fmr_targets
        ],
        "d_prime": entries.d_prime(scores[compared], genuine),
        **entries.drawn(curve, scores[compared], genuine),
        "band": _band(grid, drawn, len(targets)),
        "slices": breakdown.by_slice(protocol, scores, verdicts.tested, verdicts.fold_threshold, convention),
        "development": breakdown.at_development_threshold(protocol, scores, verdicts.tested, development, convention),
        **breakdown.without_overlap(protocol, scores, people or NOBODY_KNOWN, convention),
        "failures": [],
    }
    return Measured(
        model=model,
        protocol=protocol,
        scores=scores,
        verdicts=verdicts,
        convention=convention,
        replicates=drawn,
        entry=entry,
    )


def compare(first: Measured, twin: Measured, *, n_replicates: int = N_REPLICATES, seed: int = 0) -> dict[str, Any]:
    """One entry of ``comparisons``: a model against its full-precision twin on the same pairs.

    Parameters
    ----------
    first, twin : Measured
        Of the same protocol and convention.
    n_replicates, seed : int
    """
    tested = first.verdicts.tested
    reference, probe = (subject[tested] for subject in first.protocol.subjects())
    correct, other = first.verdicts.is_correct, twin.verdicts.is_correct
    weight = folds.weights(first.verdicts.fold)
    replicates = paired.difference_replicates(correct, other, reference, probe, n_replicates, seed, weight=weight)
    return {
        "protocol": first.protocol.card.name,
        "model": first.model,
        "twin": twin.model,
        "difference": first.entry["accuracy"]["value"] - twin.entry["accuracy"]["value"],
        **entries.paired_interval(replicates),
        **entries.mcnemar(correct, other, "pairs"),
        "transfer": breakdown.transfer(first, twin),
        **_other_differences(first, twin),
    }


def _other_differences(first: Measured, twin: Measured) -> dict[str, Any]:
    """Differences in AUC and TAR; the same seed drew the same subjects for both, so replicates pair up one by one."""
    if not np.array_equal(first.verdicts.completed, twin.verdicts.completed):
        return {"auc_difference": None, "tar_difference": []}  # other pairs, other subjects: the draws do not pair up
    own, other = first.replicates, twin.replicates
    tars = zip(first.entry["tar_at_fmr"], twin.entry["tar_at_fmr"], strict=True)
    both = [(a, b) for a, b in tars if a["refused"] is None]
    return {
        "auc_difference": {
            "value": first.entry["auc"]["value"] - twin.entry["auc"]["value"],
            **entries.paired_bootstrap_interval(own, other, lambda r: r.auc),
        },
        "tar_difference": [
            {
                "fmr_target": a["fmr_target"],
                "value": a["tar"] - b["tar"],
                **entries.paired_bootstrap_interval(own, other, partial(_column, column)),
            }
            for column, (a, b) in enumerate(both)
        ],
    }


def with_holm(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The comparisons with ``p_holm``: Holm's correction over all of them."""
    adjusted = paired.holm([comparison["p_value"] for comparison in comparisons])
    return [{**entry, "p_holm": float(p)} for entry, p in zip(comparisons, adjusted, strict=True)]


def protocol_entry(protocol: Protocol) -> dict[str, Any]:
    """One entry of ``protocols``: what was compared, with the hashes that make it the same next time."""
    card = protocol.card
    return {
        "name": card.name,
        "title": card.title,
        "version": card.version,
        "dataset": card.dataset,
        "n_pairs": card.n_pairs,
        "n_genuine": card.n_genuine,
        "n_impostor": card.n_impostor,
        "n_folds": card.n_folds,
        "scheme": card.scheme,
        "alignment": card.alignment,
        "source": card.source,
        "licence": card.licence,
        "pairs_sha256": protocol.pairs_hash,
        "original_pairs_sha256": card.pairs_sha256 or None,
        "images_hash": protocol.images.content_hash,
        "n_images_used": len(protocol.used),
        "metadata_columns": protocol.metadata_columns,
    }


def band_grid(n_impostor: int) -> tuple[float, ...]:
    """FMRs at which the band of an error curve is given, evenly over the decades from 1/n_impostor to 0.5."""
    return tuple(float(rate) for rate in np.unique(np.geomspace(min(1 / n_impostor, 0.5), 0.5, BAND_POINTS)))


def _band(grid: tuple[float, ...], drawn: uncertainty.Replicates, first: int) -> dict[str, Any]:
    """Pointwise interval of the FNMR at each FMR of `grid`, whose TARs stand in the columns from `first` on."""
    tars = [entries.bootstrap_interval(drawn, partial(_column, first + k)) for k in range(len(grid))]
    return {
        "fmr": list(grid),
        "fnmr_low": [None if tar["ci_high"] is None else 1 - tar["ci_high"] for tar in tars],
        "fnmr_high": [None if tar["ci_low"] is None else 1 - tar["ci_low"] for tar in tars],
        "method": f"{tars[0]['ci_method']}, pointwise",
    }


def _interval_of(supported: tuple[float, ...], drawn: uncertainty.Replicates) -> Callable[[float], dict[str, Any]]:
    """What gives the interval of the TAR at a target that the data support."""
    return lambda target: entries.bootstrap_interval(drawn, partial(_column, supported.index(target)))


def _column(column: int, drawn: uncertainty.Replicates) -> NDArray[np.float64]:
    return drawn.tar[:, column]
