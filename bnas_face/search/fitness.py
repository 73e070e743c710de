"""Fitness of a network during a search: a number in [0, 1], measured on images that trained no weight.

Images are taken in the same large batches every time, in evaluation without gradients; batch normalisation uses the
statistics of these batches, so that what is compared differs in the network alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnas_face import ranks
from bnas_face.data.development import DevelopmentPairs
from bnas_face.metrics import folds, thresholds
from bnas_face.models.pixels import normalised

BATCH = 256
N_FOLDS = 10

Network = Callable[[Tensor], Tensor]


def outputs(network: Network, pixels: Tensor) -> Tensor:
    """What `network` makes of uint8 pixels (n_images, size_px, size_px, 3), batch by batch: float32 on the CPU.

    Several processes take the batches by turns, and all get the whole.
    """
    job = ranks.job()
    batches = torch.tensor_split(pixels, -(-len(pixels) // BATCH))
    with torch.no_grad():
        own = [network(normalised(part)).float().cpu() for part in batches[job.rank :: job.world_size]]
    turns = itertools.zip_longest(*ranks.exchanged(own))
    return torch.cat([part for turn in turns for part in turn if part is not None])


def classification(network: Network, pixels: Tensor, labels: NDArray[np.int64]) -> float:
    """Top-1 accuracy of logits.

    Parameters
    ----------
    network : callable
        Images → logits (batch_size, n_outputs).
    pixels : Tensor of uint8, shape (n_images, size_px, size_px, 3)
    labels : ndarray of int64, shape (n_images,)
    """
    logits = outputs(network, pixels)
    return float((logits.argmax(dim=1) == torch.from_numpy(labels)).double().mean())


def verification(network: Network, pixels: Tensor, pairs: DevelopmentPairs) -> float:
    """Share of right decisions by cosine score, each fold decided at the threshold that is best on the other folds.

    Parameters
    ----------
    network : callable
        Images → embeddings (batch_size, embedding_dim), not normalised.
    pixels : Tensor of uint8, shape (n_images, size_px, size_px, 3)
    pairs : DevelopmentPairs
        In random order: consecutive pairs are a fold.
    """
    embeddings = torch.nn.functional.normalize(outputs(network, pixels).double(), dim=1).numpy()
    scores = np.einsum("ij,ij->i", embeddings[pairs.reference], embeddings[pairs.probe])
    fold = folds.consecutive_folds(len(scores), N_FOLDS)
    decided = folds.cross_validated(scores, pairs.is_genuine, fold, thresholds.STRICT)
    return float((decided.is_match == pairs.is_genuine).mean())
