"""A model of the evaluation as the teacher of a training: the one thing the two stages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError
from bnas_face.evaluate.embed import embed_images, open_embedder
from bnas_face.train.distill import Teacher


def open_teacher(spec: str, progress: Callable[[int, int], None] | None = None) -> Teacher:
    """A model by its name as the teacher of `bnas_face.train.loop.train`; its embeddings are cached.

    Parameters
    ----------
    spec : str
        ``"runs/big"``, ``"onnx:FILE"``, ``"facenet:vggface2"``.
    progress : callable, optional
        Called with (images embedded, images to embed).

    Raises
    ------
    UnknownNameError, CheckpointError
        If it cannot be opened.
    ConfigError
        If it classifies instead of embedding.
    """
    embedder = open_embedder(spec)
    if not embedder.flip:
        raise ConfigError(f"Teacher '{spec}' classifies, it gives no embeddings. Name a model that embeds faces.")

    def embed(images: FaceImages) -> tuple[NDArray[np.float32], Mapping[int, str]]:
        found = embed_images(embedder, images, progress=progress)
        failed = {int(row): images.image_ids[row] for row in np.flatnonzero(found.failed)}
        return found.values, {
            row: f"Teacher '{spec}' has no embedding of image '{name}': {found.reasons[name].rstrip('.')}."
            for row, name in failed.items()
        }

    info = {"source": spec, "weights_sha256": embedder.info["weights_sha256"], "id": embedder.info["id"]}
    return Teacher(info=info, embed=embed)
