"""The gradient of one batch, computed at once or in parts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnas_face.data.loader import Batch


def backward(fabric: Any, wrapped: Any, batch: Batch, *, parts: int = 1) -> Tensor:
    """Add the gradient of the batch's mean loss to the parameters; returns the loss, a scalar without gradient.

    In parts, each part's mean loss counts by its share of the images, so that the sum is the gradient of the whole.
    What depends on a whole batch does so on a part: the statistics of batch normalisation and of some heads.

    Parameters
    ----------
    fabric : lightning Fabric
    wrapped : module
        The `Learner`, set up by `fabric`.
    batch : Batch
    parts : int
        At most the number of images.
    """
    tensors = (torch.from_numpy(values) for values in (batch.pixels, batch.labels, batch.indices))
    pieces = list(zip(*(tensor.tensor_split(parts) for tensor in tensors), strict=True))
    total: Tensor | None = None
    for number, (pixels, labels, indices) in enumerate(pieces, start=1):
        with fabric.no_backward_sync(wrapped, enabled=number < len(pieces)):
            loss = wrapped(
                pixels.to(fabric.device, non_blocking=True), labels.to(fabric.device, non_blocking=True), indices
            )
            loss = loss if parts == 1 else loss * (len(pixels) / len(batch.pixels))
            fabric.backward(loss)
        total = loss.detach() if total is None else total + loss.detach()
    if total is None:
        raise ValueError("no parts")
    return total
