"""Single images: which class of objects does each show?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bnas_face.evaluate import objects
from bnas_face.evaluate.embed import Embedder, Embeddings
from bnas_face.evaluate.kinds._base import How
from bnas_face.evaluate.kinds._rows import cost_and_gap, model_columns
from bnas_face.evaluate.objects import MeasuredObjects, ObjectProtocol

TASK = objects.TASK
TABLE = "images.csv"


def image_ids(protocol: ObjectProtocol) -> list[str]:
    """Ids of all images."""
    return list(protocol.images.image_ids)


def check(model: str, embedder: Embedder, protocol: ObjectProtocol) -> None:
    """Raise `ConfigError` unless the network tells exactly the protocol's classes apart."""
    objects.columns_of(model, embedder.class_names, protocol)


def measure(
    model: str, embedder: Embedder, protocol: ObjectProtocol, embeddings: Embeddings, how: How
) -> MeasuredObjects:
    """Top-1 and top-5. The logits of an image are kept at unit length, which changes no order among them."""
    columns = objects.columns_of(model, embedder.class_names, protocol)
    return objects.measure(model, protocol, embeddings.values[:, columns], embeddings.failed)


def compare(first: MeasuredObjects, twin: MeasuredObjects, how: How) -> dict[str, Any]:
    """See `objects.compare`."""
    return objects.compare(first, twin, n_replicates=how.n_replicates, seed=how.seed)


def protocol_entry(protocol: ObjectProtocol) -> dict[str, Any]:
    """See `objects.protocol_entry`."""
    return objects.protocol_entry(protocol)


def table(measured: MeasuredObjects) -> pd.DataFrame:
    """Every tested image with its class, the predicted one and the rank of its own; empty cells where it failed."""
    images = measured.protocol.images
    names = np.array([*images.identity_names, ""], dtype=object)
    return pd.DataFrame(
        {
            "protocol": measured.protocol.card.name,
            "image_id": images.image_ids,
            "class": names[images.labels],
            "model": measured.model,
            "predicted": names[measured.predicted],
            "rank": ["" if rank == 0 else str(rank) for rank in measured.rank.tolist()],
            "is_correct": measured.is_right().astype(np.int64),
        }
    )


def failures(measured: MeasuredObjects, thumbnails: Any) -> list[dict[str, Any]]:
    """None are shown."""
    return []


def summary_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    """Top-1 and top-5 with their intervals."""
    row = {
        "model": entry["model"],
        "protocol": entry["protocol"],
        "convention": entry["convention"],
        **model_columns(model),
        "n_images": entry["n_images"],
        "n_classes": entry["n_classes"],
    }
    for name in ("top1", "top5"):
        row |= {name: entry[name]["value"], f"{name}_ci_low": entry[name]["ci_low"]}
        row |= {f"{name}_ci_high": entry[name]["ci_high"]}
    return row | cost_and_gap(entry, model, gap)
