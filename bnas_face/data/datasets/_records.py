"""What the datasets that lie in record files share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnas_face.data.formats import record_sets, recordio
from bnas_face.data.images import FaceImages


def face_images(
    name: str,
    path: Path,
    listing: record_sets.Listing,
    size_px: int,
    content_hash: str,
    provenance: Mapping[str, Any],
) -> FaceImages:
    """The images of a ``.rec`` whose listing is known; an image's id is its record's key."""
    known, labels = np.unique(listing.labels, return_inverse=True)
    return FaceImages(
        name=name,
        image_ids=tuple(map(str, listing.keys.tolist())),
        labels=labels.astype(np.int64),
        identity_names=tuple(map(str, known.tolist())),
        content_hash=content_hash,
        size_px=size_px,
        read=record_sets.RecordReader(recordio.RecordFile(path), listing.keys, size_px),
        provenance=provenance,
    )
