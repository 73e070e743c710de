"""A search in several processes: each computes its share of a batch, and all take the same step.

Every process has the whole network, draws the same paths and makes the same decisions. Batch normalisation takes the
statistics of a process's own share in training; accuracies are of the very batches that one process alone would see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import ranks
from bnas_face.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor


def own(indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
    """What this process takes of a batch, shape (batch_size,), and which share of it that is."""
    job = ranks.job()
    mine = indices[job.rank :: job.world_size]
    return mine, len(mine) / len(indices)


def check_batches(batch_size: int) -> None:
    """Raise `ConfigError` if a batch leaves a process fewer than the two images that batch normalisation needs."""
    n_processes = ranks.job().world_size
    if batch_size < 2 * n_processes:
        raise ConfigError(
            f"Batches of {batch_size} images give {n_processes} processes fewer than the two each that batch "
            "normalisation needs. Start fewer processes, or use a larger --batch-size."
        )


def sum_up(tensors: Sequence[Tensor]) -> None:
    """Add tensors of one dtype up over the processes, in place and in one message."""
    import torch
    import torch.distributed as distributed

    if not tensors or not distributed.is_initialized():
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).cpu()
    distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view(tensor.shape))


def check_same(state: dict[str, Any]) -> None:
    """Raise `TrainingError` if the processes have not come to the same decisions."""
    digest = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    if len(set(ranks.exchanged(digest))) > 1:
        raise TrainingError(
            "The processes of the search have come to different decisions: their processors compute differently. "
            "What was saved is kept; go on with --resume in one process, or on machines of one kind."
        )
