"""Partial FC: a step looks at some identities only, and every process keeps the weights of its own identities only.

*Sampling.* Of n identities a step takes those of its images and, up to ``sample_rate · n``, others drawn at random:
logits, gradients and the optimizer's work shrink by that rate. The rows that were not drawn get no gradient (the
weights' gradient is a sparse tensor of the drawn rows), and `bnas_face.train.gradients` leaves the optimizer's memory
of them as it is.

*Sharding.* With W processes each has the rows of n/W identities, sees the embeddings of all, and the softmax runs over
the columns of all processes: the loss and its gradients are those of one process with all rows.

References
----------
An et al., "Killing two birds with one stone: efficient and robust training of face recognition CNNs by Partial FC",
CVPR 2022 (arXiv 2203.15565), section 3: positive centers and random negatives; they use a rate of 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as distributed
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from bnas_face import models
from bnas_face.errors import ConfigError
from bnas_face.models.heads import _sharded
from bnas_face.models.heads._base import Head, check_input, widened

BLOCK = 4096
"""Identities whose first weights come from one seed: they do not depend on the number of processes."""
FIRST_STD = 0.01


@dataclass(frozen=True)
class Shard:
    """Which identities this process has the weights of: nearly equal parts in the order of the processes.

    Attributes
    ----------
    n_identities : int
        Of all processes.
    rank, world_size : int
    """

    n_identities: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.n_identities < self.world_size:
            raise ConfigError(
                f"{self.n_identities} identities cannot be shared by {self.world_size} processes. Use fewer processes, "
                "or leave --shard-head and --sample-rate out."
            )

    def bounds(self, rank: int) -> tuple[int, int]:
        """First identity of a process, and the one after its last."""
        return rank * self.n_identities // self.world_size, (rank + 1) * self.n_identities // self.world_size

    @property
    def first(self) -> int:
        """First identity of this process."""
        return self.bounds(self.rank)[0]

    @property
    def n_here(self) -> int:
        """Identities of this process."""
        first, end = self.bounds(self.rank)
        return end - first

    def rows(self, n_rows: int) -> slice:
        """This process's rows of a tensor that has `n_rows` for all identities together."""
        each = n_rows // self.n_identities
        first, end = self.bounds(self.rank)
        return slice(first * each, end * each)

    def whole(self, part: Tensor) -> Tensor | None:
        """The rows of all processes in main memory, in process 0; None in the others. Collective."""
        if self.world_size == 1:
            return part.detach().cpu()
        if self.rank:
            distributed.send(part.detach().contiguous(), 0)
            return None
        each = len(part) // self.n_here
        found = [part.detach().cpu()]
        for rank in range(1, self.world_size):
            first, end = self.bounds(rank)
            other = part.new_empty(((end - first) * each, *part.shape[1:]))
            distributed.recv(other, rank)
            found.append(other.cpu())
        return torch.cat(found)


class PartialHead(nn.Module):
    """A head of which a step uses some rows, and a process has some.

    Parameters
    ----------
    head : Head
        For ``shard.n_here`` identities.
    shard : Shard
    sample_rate : float
        Share of the identities that take part in a step, in (0, 1]; those of the step's images always do. In
        evaluation mode all take part.
    seed : int
        Of the first weights, which do not depend on the number of processes.
    """

    def __init__(self, head: Head, shard: Shard, *, sample_rate: float, seed: int) -> None:
        super().__init__()
        head.sharded = shard.world_size > 1
        self.head, self.shard, self.sample_rate = head, shard, sample_rate
        self._entropy = [_Entropy(head)]  # in a list: its parameters are the head's, and not to be named twice
        self._draw_weights(seed)

    def shards(self, prefix: str = "") -> dict[str, Shard]:
        """Parameters of which other processes have other rows, by `prefix` and name; none in a single process."""
        return {f"{prefix}{name}": self.shard for name, _ in self.named_parameters()} if self.head.sharded else {}

    @torch.no_grad()
    def _draw_weights(self, seed: int) -> None:
        weight, first = self.head.weight, self.shard.first
        each = len(weight) // self.shard.n_here
        end = first + self.shard.n_here
        for block in range(first // BLOCK, -(-end // BLOCK)):
            generator = torch.Generator().manual_seed(hash((seed, block)) % 2**63)
            drawn = torch.randn(BLOCK * each, weight.shape[1], generator=generator)
            start, stop = max(first, block * BLOCK), min(end, (block + 1) * BLOCK)
            rows = drawn[(start - block * BLOCK) * each : (stop - block * BLOCK) * each]
            weight[(start - first) * each : (stop - first) * each] = FIRST_STD * rows

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Mean loss over the batch of all processes, a scalar; parameters and errors as in `Head.forward`.

        Collective where the identities are shared out; every process gives as many images.
        """
        check_input(embeddings, labels, self.head.embedding_dim, self.shard.n_identities)
        with torch.autocast(embeddings.device.type, enabled=False):
            own = widened(embeddings)
            everybody, labels = _sharded.gathered(own, labels) if self.head.sharded else (own, labels)
            columns, rows = self._columns(labels)
            entropy: Tensor = functional_call(self._entropy[0], self._taken(rows), (everybody, columns))
            return entropy + self.head.regularisation(own)  # the other processes add that of their images

    @torch.no_grad()
    def _columns(self, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits' column of every label (-1: of another process), and the identities here that take part.

        None is all of them; else int64, ascending, counted from this process's first.
        """
        own = labels - self.shard.first
        here = (own >= 0) & (own < self.shard.n_here)
        rows = self.draw(own[here])
        if rows is not None:
            own = torch.searchsorted(rows, own)
        return torch.where(here, own, -1), rows

    def draw(self, present: Tensor) -> Tensor | None:
        """The identities of a step, ascending: those `present`, and others from torch's generator; None for all.

        Parameters
        ----------
        present : Tensor of int64
            Identities of the step's images, counted from this process's first; may repeat.
        """
        if self.sample_rate == 1 or not self.training:
            return None
        order = torch.rand(self.shard.n_here, device=present.device)
        order[present] = 2.0
        wanted = max(1, round(self.sample_rate * self.shard.n_here), int((order == 2).sum()))
        return order.topk(wanted, sorted=False).indices.sort().values

    def _taken(self, rows: Tensor | None) -> dict[str, Tensor]:
        """The head's parameters, or the rows of some identities, whose gradient is sparse then."""
        if rows is None:
            return {}
        found = {}
        for name, parameter in self.head.named_parameters():
            each = len(parameter) // self.shard.n_here
            at = rows if each == 1 else (rows[:, None] * each + torch.arange(each, device=rows.device)).flatten()
            taken = F.embedding(at, parameter, sparse=True) if parameter.dim() > 1 else _elements(parameter, at)
            found[f"head.{name}"] = taken
        return found


class _Entropy(nn.Module):
    """A head's cross-entropy as a module of its own, for `functional_call`."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, embeddings: Tensor, columns: Tensor) -> Tensor:
        return self.head.entropy(embeddings, columns)


def _elements(parameter: Tensor, at: Tensor) -> Tensor:
    return torch.gather(parameter, 0, at, sparse_grad=True)


def build(
    name: str,
    *,
    embedding_dim: int,
    n_identities: int,
    scale: float | None = None,
    margin: float | None = None,
    sub_centers: int = 1,
    sample_rate: float = 1.0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> PartialHead:
    """A head by name of which a process has its part; torch's random state is left as it is.

    Parameters
    ----------
    name, embedding_dim, n_identities, scale, margin, sub_centers
        As in `models.build_head`.
    sample_rate, seed
        As in `PartialHead`.
    rank, world_size : int
        This process, and how many share the identities out.

    Raises
    ------
    ConfigError
        If the head has no weights of identities, there are fewer identities than processes, or as in
        `models.build_head`.
    UnknownNameError
        If no such head is known.
    """
    shard = Shard(n_identities, rank, world_size)
    if name == "cross_entropy":
        raise ConfigError(
            "Head 'cross_entropy' has no weights of identities that could be sampled or shared out: its logits are the "
            "network's outputs. Leave --sample-rate and --shard-head out, or choose another --head."
        )
    with torch.random.fork_rng(devices=[]):
        head = models.build_head(
            name,
            embedding_dim=embedding_dim,
            n_identities=shard.n_here,
            scale=scale,
            margin=margin,
            sub_centers=sub_centers,
        )
    return PartialHead(cast(Head, head), shard, sample_rate=sample_rate, seed=seed)
