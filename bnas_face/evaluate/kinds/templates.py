"""Pairs of templates, each made of several images: same person or not? TAR at small FMR targets, without folds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bnas_face.evaluate import template_pairs
from bnas_face.evaluate.embed import Embedder, Embeddings
from bnas_face.evaluate.kinds import pairs
from bnas_face.evaluate.kinds._base import How
from bnas_face.evaluate.template_pairs import MeasuredTemplates, TemplateProtocol
from bnas_face.evaluate.templates import Pooling

TASK = "embedding"
TABLE = "templates.csv"


def image_ids(protocol: TemplateProtocol) -> list[str]:
    """Ids of the images that take part."""
    return [protocol.images.image_ids[i] for i in protocol.templates.used]


def check(model: str, embedder: Embedder, protocol: TemplateProtocol) -> None:
    """Raise `ConfigError` where the templates cannot be pooled as asked; every network that embeds will do."""
    Pooling.of(protocol.card.pooling, flip=True)


def measure(
    model: str, embedder: Embedder, protocol: TemplateProtocol, embeddings: Embeddings, how: How
) -> MeasuredTemplates:
    """Pooled, scored and counted; see `template_pairs.measure`."""
    pooling = Pooling.of(protocol.card.pooling, flip=how.convention.flip)
    return template_pairs.measure(
        model, protocol, embeddings, pooling, n_replicates=how.n_replicates, seed=how.seed
    )  # fmt: skip


def compare(first: MeasuredTemplates, twin: MeasuredTemplates, how: How) -> dict[str, Any]:
    """See `template_pairs.compare`."""
    return template_pairs.compare(first, twin, n_replicates=how.n_replicates, seed=how.seed)


def protocol_entry(protocol: TemplateProtocol) -> dict[str, Any]:
    """See `template_pairs.protocol_entry`."""
    return template_pairs.protocol_entry(protocol)


def table(measured: MeasuredTemplates) -> pd.DataFrame:
    """Every template with its size and whether it failed; its pairs are too many to list."""
    found = measured.protocol.templates
    return pd.DataFrame(
        {
            "protocol": measured.protocol.card.name,
            "model": measured.model,
            "template": found.number,
            "n_images": found.n_images,
            "n_media": found.n_media,
            "is_failed": measured.failed.astype(np.int64),
        }
    )


def failures(measured: MeasuredTemplates, thumbnails: Any) -> list[dict[str, Any]]:
    """None are shown: a template has many images."""
    return []


def summary_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of other pairs; there is no accuracy."""
    return pairs.summary_row(entry, model, gap)
