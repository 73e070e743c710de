"""Pairs of images: same person or not? The face protocols of folds and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.evaluate import results
from bnas_face.evaluate.embed import Embedder, Embeddings
from bnas_face.evaluate.kinds._base import How
from bnas_face.evaluate.kinds._rows import cost_and_gap, model_columns
from bnas_face.evaluate.output import Thumbnails
from bnas_face.evaluate.protocol import Protocol
from bnas_face.evaluate.results import Measured
from bnas_face.evaluate.score import pair_scores

TASK = "embedding"
TABLE = "pairs.csv"
N_FAILURES = 24


def image_ids(protocol: Protocol) -> list[str]:
    """Ids of the images that take part."""
    return protocol.used_ids


def check(model: str, embedder: Embedder, protocol: Protocol) -> None:
    """Every network that embeds can compare pairs."""


def scores_of(protocol: Protocol, embeddings: Embeddings, arithmetic: str) -> NDArray[np.float64]:
    """Score of every pair, shape (n_pairs,); NaN where an image failed."""
    rows = [np.searchsorted(protocol.used, side) for side in (protocol.reference, protocol.probe)]
    return pair_scores(embeddings.values, embeddings.failed, rows[0], rows[1], arithmetic=arithmetic)


def measure(model: str, embedder: Embedder, protocol: Protocol, embeddings: Embeddings, how: How) -> Measured:
    """Scores, decisions and every number; see `results.measure`."""
    return results.measure(
        model,
        protocol,
        scores_of(protocol, embeddings, how.convention.arithmetic),
        how.convention,
        n_replicates=how.n_replicates,
        seed=how.seed,
        people=how.people,
        development=how.development,
    )


def compare(first: Measured, twin: Measured, how: How) -> dict[str, Any]:
    """See `results.compare`."""
    return results.compare(first, twin, n_replicates=how.n_replicates, seed=how.seed)


def protocol_entry(protocol: Protocol) -> dict[str, Any]:
    """See `results.protocol_entry`."""
    return results.protocol_entry(protocol)


def table(measured: Measured) -> pd.DataFrame:
    """Every tested pair with its score and decision.

    A pair that could not be compared has an empty score, is_match 0 and is_correct 0.
    """
    verdicts = measured.verdicts
    pairs = measured.protocol.pairs.iloc[verdicts.tested]
    return pd.DataFrame(
        {
            "protocol": measured.protocol.card.name,
            "fold": verdicts.fold,
            "reference_id": pairs["reference_id"].to_numpy(),
            "probe_id": pairs["probe_id"].to_numpy(),
            "is_genuine": pairs["is_genuine"].to_numpy(np.int64),
            "model": measured.model,
            "score": measured.scores[verdicts.tested],
            "threshold": verdicts.threshold,
            "is_match": verdicts.is_match.astype(np.int64),
            "is_correct": verdicts.is_correct.astype(np.int64),
        }
    )


def failures(measured: Measured, thumbnails: Thumbnails | None) -> list[dict[str, Any]]:
    """The wrongly decided pairs farthest on the wrong side of their threshold, hardest first, at most `N_FAILURES`.

    False matches and false non-matches share the places evenly as far as there are enough of each. Pairs that were
    not compared are not among them (they have no score); ``n_failed`` counts them.
    """
    verdicts, protocol = measured.verdicts, measured.protocol
    scores = measured.scores[verdicts.tested]
    wrong = np.flatnonzero(verdicts.completed & ~verdicts.is_correct)
    distance = np.abs(scores - verdicts.threshold)
    wrong = wrong[np.argsort(-distance[wrong], kind="stable")]
    kinds = [wrong[verdicts.is_match[wrong] == match] for match in (True, False)]
    half = N_FAILURES // 2
    shares = [max(half, N_FAILURES - len(other)) for other in reversed(kinds)]
    chosen = np.concatenate([kind[:share] for kind, share in zip(kinds, shares, strict=True)])
    chosen = chosen[np.argsort(-distance[chosen], kind="stable")]
    entries = []
    for at in chosen:
        position = verdicts.tested[at]
        pair = protocol.pairs.iloc[position]
        sides = (protocol.reference[position], protocol.probe[position])
        names = [thumbnails.name(protocol, int(side)) if thumbnails else None for side in sides]
        entries.append(
            {
                "fold": int(verdicts.fold[at]),
                "reference_id": str(pair["reference_id"]),
                "probe_id": str(pair["probe_id"]),
                "is_genuine": bool(pair["is_genuine"]),
                "score": float(scores[at]),
                "threshold": float(verdicts.threshold[at]),
                "reference_image": names[0],
                "probe_image": names[1],
            }
        )
    return entries


def summary_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy, AUC, EER and TAR with their intervals."""
    accuracy, auc, eer = entry["accuracy"], entry["auc"], entry["eer"]
    row = {
        "model": entry["model"],
        "protocol": entry["protocol"],
        "convention": entry["convention"],
        **model_columns(model),
        "n_pairs": entry["n_pairs"],
        "accuracy": accuracy["value"],
        "accuracy_std": accuracy["std"],
        "accuracy_ci_low": accuracy["ci_low"],
        "accuracy_ci_high": accuracy["ci_high"],
        "auc": auc["value"],
        "eer": eer["value"],
        "accuracy_sem": accuracy["sem"],
        "auc_ci_low": auc["ci_low"],
        "auc_ci_high": auc["ci_high"],
        "eer_low": eer["low"],
        "eer_high": eer["high"],
        "eer_ci_low": eer["ci_low"],
        "eer_ci_high": eer["ci_high"],
        "n_genuine": entry["n_genuine"],
        "n_impostor": entry["n_impostor"],
        **cost_and_gap(entry, model, gap),
    }
    for tar in entry["tar_at_fmr"]:
        name = f"{tar['fmr_target']:g}"
        row |= {f"tar_at_fmr_{name}": tar["tar"], f"fmr_achieved_{name}": tar["fmr_achieved"]}
    return row
