"""Several fixed views of every image of a set: what a teacher looks at, too.

A teacher's embedding is looked up, so its pupil learns to answer a changed image like the plain one. With views, each
image comes in a few changed versions that are drawn once; the teacher embeds each of them, and its pupil sees what the
teacher saw, but for the flip (the teacher sees both sides) and the small shift that are drawn in every epoch.

References
----------
Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022 (arXiv 2106.05237): the
same view for both. Theirs are drawn anew in every epoch; ours are fixed, and so embedded once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bnas_face import files
from bnas_face.data.augment import Augmenter
from bnas_face.data.images import FaceImages, Reader

_VIEW_STREAM = 5


def views(images: FaceImages, n_views: int, augmenter: Augmenter, *, seed: int) -> FaceImages:
    """`n_views` views of every image, the first of them the image itself.

    Parameters
    ----------
    images : FaceImages
    n_views : int
        >= 1.
    augmenter : Augmenter
        Makes every view but the first.
    seed : int
        What a view looks like depends on (seed, view, id of the image) alone: a subset has the views of the whole.

    Returns
    -------
    FaceImages
        All images, then all of them again in their second view, …; ids end in ``#2``, ``#3``, ….
    """
    if n_views == 1:
        return images
    suffixes = [""] + [f"#{view + 1}" for view in range(1, n_views)]
    return replace(
        images,
        image_ids=tuple(image_id + suffix for suffix in suffixes for image_id in images.image_ids),
        labels=np.tile(images.labels, n_views),
        content_hash=files.sha256_text(images.content_hash, repr(augmenter), str(seed)),
        read=_Views(images.read, tuple(map(_number, images.image_ids)), augmenter, seed),
        costly=True,
    )


@dataclass(frozen=True)
class _Views:
    read: Reader
    numbers: tuple[int, ...]
    augmenter: Augmenter
    seed: int

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        n_images = len(self.numbers)
        pixels = self.read(positions % n_images)
        for image, position in zip(pixels, positions.tolist(), strict=True):
            view, index = divmod(position, n_images)
            if view:
                rng = np.random.default_rng((self.seed, view, self.numbers[index], _VIEW_STREAM))
                image[...] = self.augmenter(image, rng)
        return pixels


def _number(image_id: str) -> int:
    """64 bits that stand for an id."""
    return int(files.sha256_text(image_id)[:16], 16)
