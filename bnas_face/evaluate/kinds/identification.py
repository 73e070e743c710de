"""Searches of probes in a gallery (1:N): who is it, and is it anybody we know?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bnas_face.evaluate import identification
from bnas_face.evaluate.embed import Embedder, Embeddings
from bnas_face.evaluate.identification import MeasuredSearches, SearchProtocol
from bnas_face.evaluate.kinds._base import How
from bnas_face.evaluate.kinds._rows import cost_and_gap, model_columns
from bnas_face.evaluate.templates import Pooling

TASK = "embedding"
TABLE = "searches.csv"


def image_ids(protocol: SearchProtocol) -> list[str]:
    """Ids of the images that take part."""
    return [protocol.images.image_ids[i] for i in protocol.templates.used]


def check(model: str, embedder: Embedder, protocol: SearchProtocol) -> None:
    """Raise `ConfigError` where the templates cannot be pooled as asked; every network that embeds will do."""
    Pooling.of(protocol.card.pooling, flip=True)


def measure(
    model: str, embedder: Embedder, protocol: SearchProtocol, embeddings: Embeddings, how: How
) -> MeasuredSearches:
    """Pooled, searched and counted; see `identification.measure`."""
    pooling = Pooling.of(protocol.card.pooling, flip=how.convention.flip)
    return identification.measure(model, protocol, embeddings, pooling)


def compare(first: MeasuredSearches, twin: MeasuredSearches, how: How) -> dict[str, Any]:
    """See `identification.compare`."""
    return identification.compare(first, twin, n_replicates=how.n_replicates, seed=how.seed)


def protocol_entry(protocol: SearchProtocol) -> dict[str, Any]:
    """See `identification.protocol_entry`."""
    return identification.protocol_entry(protocol)


def table(measured: MeasuredSearches) -> pd.DataFrame:
    """Every search; empty cells where a probe failed, is not mated, or its subject was missed."""
    protocol = measured.protocol
    first_row = np.searchsorted(protocol.templates.template, protocol.probe)
    return pd.DataFrame(
        {
            "protocol": protocol.card.name,
            "model": measured.model,
            "probe": protocol.templates.number[protocol.probe],
            "first_image_id": [protocol.images.image_ids[i] for i in protocol.templates.image[first_row]],
            "subject": protocol.probe_subject,
            "is_mated": protocol.is_mated.astype(np.int64),
            "rank": ["" if rank == 0 else str(rank) for rank in measured.rank.tolist()],
            "own_score": measured.own,
            "best_other_score": np.where(np.isfinite(measured.best_other), measured.best_other, np.nan),
            "is_correct": (measured.rank == 1).astype(np.int64),
        }
    )


def failures(measured: MeasuredSearches, thumbnails: Any) -> list[dict[str, Any]]:
    """None are shown: a template has many images."""
    return []


def summary_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    """Rank rates and TPIR with their intervals."""
    row = {
        "model": entry["model"],
        "protocol": entry["protocol"],
        "convention": entry["convention"],
        **model_columns(model),
        **{name: entry[name] for name in ("n_gallery", "n_subjects", "n_mated", "n_nonmated")},
    }
    for found in entry["ranks"]:
        name = f"rank{found['rank']}"
        row |= {name: found["value"], f"{name}_ci_low": found["ci_low"], f"{name}_ci_high": found["ci_high"]}
    for found in entry["open_set"]:
        name = f"{found['fpir_target']:g}"
        row |= {f"tpir_at_fpir_{name}": found["tpir"], f"fpir_achieved_{name}": found["fpir_achieved"]}
    return row | cost_and_gap(entry, model, gap)
