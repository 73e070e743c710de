"""The search network: every operation of the space on every edge, thinned out until one operation is left.

A cell's edge from node i to node j carries the remaining operations o_k of the space. Only the first 1/C of node i's
channels passes them; the rest bypasses them (2×2 max pool where the edge has stride 2):

    f_ij(x) = Σ_k softmax(α_ij)_k · o_k(S∘x)  ⊕  (1 − S)∘x          x_j = shuffle( Σ_i softmax(β_j)_i · f_ij(x_i) )

(PC-DARTS, equations 2 and 3). Concatenation and channel shuffle are linear and the same for all edges of a node, so
they are done once per node, after the sum. What edges of one source have in common is done once per source: the
pooled bypass, the ReLU or the batch normalisation before convolutions, and operations without weights (the pools). That
changes nothing but the cost.

In a *path* each edge has one operation, with weight 1 instead of softmax(α). An edge whose operation is ``none``, or
that has no other operation left, is absent, bypass included, and softmax(β) runs over the edges that are there: this
is what a derived network does with it (ours; the papers do not say). Every batch normalisation takes the statistics of
the batch, in training and in measuring alike (ours): running statistics of shared weights would mix paths.

References
----------
Xu et al., PC-DARTS: Partial channel connections for memory-efficient architecture search, ICLR 2020 (1907.05737).
Chen et al., Binarized Neural Architecture Search, AAAI 2020 (1911.10862).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face import models
from bnas_face.config import SearchConfig
from bnas_face.genotype import CELLS, EDGES, N_INPUTS, N_NODES, OPERATIONS
from bnas_face.models import cells
from bnas_face.models.binarizers._base import Binarizer
from bnas_face.models.spaces._base import Begun, Space
from bnas_face.search import presets

NONE = "none"
SHARED = ("max_pool_3x3", "avg_pool_3x3")
"""Operations without parameters or statistics: edges of one source and one stride have the same output."""
INITIAL_SPREAD = 1e-3
"""Standard deviation of fresh α and β (DARTS)."""

Path = Mapping[str, Sequence[str]]
"""For ``"normal"`` and ``"reduction"`` the operation of each of the 14 edges, in the order of `genotype.EDGES`."""


def search_norm(n_channels: int) -> nn.Module:
    """Batch normalisation by the statistics of the batch, without scale and shift."""
    return nn.BatchNorm2d(n_channels, affine=False, track_running_stats=False)


class _WeightedSum(torch.autograd.Function):
    """Σ_i w_i · x_i over tensors of one shape, summed in place; gradients of w only where asked for."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *values: Tensor) -> Tensor:
        numbers = weights.tolist()
        total: Tensor = values[0] * numbers[0]
        for value, number in zip(values[1:], numbers[1:], strict=True):
            total.add_(value, alpha=number)
        ctx.numbers = numbers
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(*values)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = _last(gradient)
        of_weights = None
        if ctx.needs_input_grad[0]:
            flat = _flat(gradient)
            of_weights = torch.stack([torch.dot(flat, _flat(value)) for value in ctx.saved_tensors])
        needed = ctx.needs_input_grad[1:]
        parts = [gradient * w if need else None for w, need in zip(ctx.numbers, needed, strict=True)]
        return (of_weights, *parts)


def _flat(values: Tensor) -> Tensor:
    flat: Tensor = values.permute(0, 2, 3, 1).reshape(-1)  # a view of what is channels last in memory
    return flat


def weighted_sum(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """``Σ_i weights[i] · values[i]``: weights of shape (n,), n tensors of one shape."""
    total: Tensor = _WeightedSum.apply(weights, *values)  # type: ignore[no-untyped-call]
    return total


def shuffled(mixed: Tensor, rest: Tensor) -> Tensor:
    """Concatenate along channels and shuffle (ShuffleNet) in one copy, channels last in memory.

    With n channels in all and c of them in `mixed`, channel g · c + i of the concatenation becomes channel
    i · (n / c) + g.

    Parameters
    ----------
    mixed : Tensor of shape (batch_size, c, h, w)
    rest : Tensor of shape (batch_size, n − c, h, w)
        c divides n.
    """
    n_mixed = mixed.shape[1]
    parts = [mixed, *torch.split(rest, n_mixed, dim=1)]
    stacked = torch.stack([part.permute(0, 2, 3, 1) for part in parts], dim=4)
    return stacked.flatten(3).permute(0, 3, 1, 2)


def _last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


class Source:
    """What several modules read, and what they have in common, made when the first one asks.

    Attributes
    ----------
    values : Tensor of shape (batch_size, n_channels, h, w)
    rest : Tensor or None
        The channels of a node that bypass the operations.
    """

    def __init__(self, values: Tensor, rest: Tensor | None = None) -> None:
        self.values, self.rest = values, rest
        self._begun: dict[str, Tensor] = {}
        self._bypasses: dict[int, Tensor] = {}
        self._shared: dict[tuple[str, int], Tensor] = {}

    def through(self, module: nn.Module) -> Tensor:
        """What `module` makes of the values."""
        if not isinstance(module, Begun):
            return cast(Tensor, module(self.values))
        if module.BEGINNING not in self._begun:
            self._begun[module.BEGINNING] = module.begin(self.values)
        return cast(Tensor, module(self.values, self._begun[module.BEGINNING]))

    def through_shared(self, module: nn.Module, name: str, stride: int) -> Tensor:
        """The same, once for all modules of this name and stride."""
        if (name, stride) not in self._shared:
            self._shared[name, stride] = self.through(module)
        return self._shared[name, stride]

    def bypass(self, stride: int) -> Tensor:
        """The channels beside the operations, of half the side with stride 2."""
        if stride not in self._bypasses:
            rest = cast(Tensor, self.rest)
            self._bypasses[stride] = F.max_pool2d(rest, 2, 2, ceil_mode=True) if stride == 2 else rest
        return self._bypasses[stride]


class SearchCell(nn.Module):
    """One cell of the search network.

    Parameters
    ----------
    plan : CellPlan
    config : SearchConfig
        Resolved.
    space : Space
    binarizer : Binarizer
    """

    def __init__(self, plan: cells.CellPlan, config: SearchConfig, space: Space, binarizer: Binarizer) -> None:
        super().__init__()
        n_channels, self.groups = plan.n_channels, config.channel_sampling or 1
        self.kind, self.n_sampled = plan.kind, n_channels // self.groups
        self.before = space.preprocess(
            plan.n_before, n_channels, binarizer, norm=search_norm, after_reduction=plan.after_reduction
        )
        self.previous = space.preprocess(
            plan.n_previous, n_channels, binarizer, norm=search_norm, after_reduction=False
        )
        self.strides = tuple(2 if plan.is_reduction and source < N_INPUTS else 1 for source, _ in EDGES)
        self.edges = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: space.operation(name, self.n_sampled, stride, binarizer, norm=search_norm)
                    for name in OPERATIONS[config.space]
                    if name != NONE
                }
            )
            for stride in self.strides
        )

    def forward(self, before: Source, previous: Source, terms: Sequence[NodeTerms]) -> Source:
        """Outputs of cells k−2 and k−1 → (batch_size, 4 · n_channels, h, w); `terms` says what each node sums."""
        nodes = [self._split(before.through(self.before)), self._split(previous.through(self.previous))]
        outputs: list[Tensor] = []
        for term in terms:
            outputs.append(self._node(nodes, term) if term.edges else self._zeros(nodes[0].values))
            nodes.append(self._split(outputs[-1]))
        return Source(torch.cat(outputs, dim=1))

    def _split(self, values: Tensor) -> Source:
        """The channels that pass operations, and those that bypass them."""
        if self.groups == 1:
            return Source(values)
        sampled, rest = torch.split(values, [self.n_sampled, values.shape[1] - self.n_sampled], dim=1)
        return Source(_last(sampled), _last(rest))

    def _zeros(self, sampled: Tensor) -> Tensor:
        """What a node without edges is."""
        batch_size, n_sampled, height, width = sampled.shape
        stride = self.strides[0]
        size = (batch_size, n_sampled * self.groups, -(-height // stride), -(-width // stride))
        return _last(sampled.new_zeros(size))

    def _node(self, nodes: list[Source], term: NodeTerms) -> Tensor:
        mixed = weighted_sum(term.operation_weights, [self._passed(nodes, *pair) for pair in term.operations])
        if self.groups == 1:
            return mixed
        bypasses = [nodes[EDGES[edge][0]].bypass(self.strides[edge]) for edge in term.edges]
        return shuffled(mixed, weighted_sum(term.edge_weights, bypasses))

    def _passed(self, nodes: list[Source], edge: int, name: str) -> Tensor:
        source, module = nodes[EDGES[edge][0]], cast(nn.ModuleDict, self.edges[edge])[name]
        if name in SHARED:
            return source.through_shared(module, name, self.strides[edge])
        return source.through(module)


class NodeTerms:
    """What one node sums.

    Attributes
    ----------
    operations : list of (edge, operation name)
        Without ``none``.
    operation_weights : Tensor of shape (n_operations,)
        softmax(α) · softmax(β), or softmax(β) alone in a path.
    edges : list of int
        Edges that are there.
    edge_weights : Tensor of shape (n_edges,)
        softmax(β).
    """

    def __init__(
        self, operations: list[tuple[int, str]], operation_weights: Tensor, edges: list[int], edge_weights: Tensor
    ) -> None:
        self.operations, self.operation_weights = operations, operation_weights
        self.edges, self.edge_weights = edges, edge_weights


class SearchNetwork(nn.Module):
    """Stem, cells, and a linear classifier on the pooled features of the last cell.

    Parameters
    ----------
    config : SearchConfig
        Resolved (`presets.resolve`).
    n_outputs : int
        Identities (or classes) to tell apart.
    task : str
        ``"embedding"`` (faces: three reductions) or ``"classification"`` (objects: two).

    Attributes
    ----------
    alphas : nn.ModuleDict of nn.ParameterList
        For each kind of cell the 14 edges' α, shape (number of remaining operations,), in the order of `remaining`.
    betas : nn.ParameterDict
        For each kind of cell β, shape (14,).
    remaining : dict of list of list of str
        Operations that are left, for each kind of cell and edge, in the order of the space.
    """

    def __init__(self, config: SearchConfig, n_outputs: int, task: str) -> None:
        super().__init__()
        space: Space = cast(Space, models.space(config.space))
        binarizer = presets.binarizer(config)
        self.edge_normalisation = config.edge_normalisation
        self.stem = cells.stem(task, config.size_px, config.channels, search_norm)
        plans = cells.plan(task, config.cells, config.channels, self.stem)
        self.cells = nn.ModuleList(SearchCell(plan, config, space, binarizer) for plan in plans)
        self.embedding_dim = plans[-1].n_out
        self.classifier = nn.Linear(self.embedding_dim, n_outputs)
        names = OPERATIONS[config.space]
        self.remaining: dict[str, list[list[str]]] = {kind: [list(names) for _ in EDGES] for kind in CELLS}
        self.alphas = nn.ModuleDict(
            {kind: nn.ParameterList(INITIAL_SPREAD * torch.randn(len(names)) for _ in EDGES) for kind in CELLS}
        )
        self.betas = nn.ParameterDict({kind: INITIAL_SPREAD * torch.randn(len(EDGES)) for kind in CELLS})

    def architecture(self) -> dict[str, nn.Parameter]:
        """α and β by their names in ``named_parameters()``."""
        return {name: value for name, value in self.named_parameters() if name.startswith(("alphas.", "betas."))}

    def weights(self) -> dict[str, nn.Parameter]:
        """All other parameters by name."""
        return {name: value for name, value in self.named_parameters() if not name.startswith(("alphas.", "betas."))}

    def features(self, images: Tensor, path: Path | None = None, *, fixed: bool = True) -> Tensor:
        """Pooled features of the last cell: float (batch_size, 3, size_px, size_px) → (batch_size, embedding_dim).

        Parameters
        ----------
        images : Tensor
            In [-1, 1].
        path : Path or None
            One operation per edge; None mixes all that remain.
        fixed : bool
            Treat α and β as numbers; False lets gradients reach them.
        """
        terms = {kind: self._terms(kind, path, fixed=fixed) for kind in CELLS}
        first, second = self.stem(images)
        before = Source(first)
        previous = before if second is first else Source(second)
        for cell in self.cells:
            before, previous = previous, cell(before, previous, terms[cast(SearchCell, cell).kind])
        pooled: Tensor = previous.values.mean(dim=(2, 3))
        return pooled

    def forward(self, images: Tensor, path: Path | None = None, *, fixed: bool = True) -> Tensor:
        """Logits (batch_size, n_outputs); parameters as `features`."""
        logits: Tensor = self.classifier(self.features(images, path, fixed=fixed))
        return logits

    def operation_parameters(self, kind: str, edge: int, operation: str) -> list[nn.Parameter]:
        """Weights of an operation of an edge in all cells of a kind."""
        if operation == NONE:
            return []
        own = [cast(SearchCell, cell) for cell in self.cells if cast(SearchCell, cell).kind == kind]
        return [p for cell in own for p in cast(nn.ModuleDict, cell.edges[edge])[operation].parameters()]

    def abandon(self, kind: str, edge: int, operation: str) -> int:
        """Delete an operation of an edge in all cells of a kind, and its α; returns the position it had."""
        names = self.remaining[kind][edge]
        position = names.index(operation)
        names.pop(position)
        alphas = cast(nn.ParameterList, self.alphas[kind])
        alphas[edge] = nn.Parameter(_without(alphas[edge].detach(), position))
        for cell in self.cells:
            if cast(SearchCell, cell).kind == kind and operation != NONE:
                del cast(nn.ModuleDict, cast(SearchCell, cell).edges[edge])[operation]
        return position

    def _terms(self, kind: str, path: Path | None, *, fixed: bool) -> list[NodeTerms]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not fixed):
            return [self._node_terms(kind, node, path) for node in range(N_INPUTS, N_INPUTS + N_NODES)]

    def _node_terms(self, kind: str, node: int, path: Path | None) -> NodeTerms:
        remaining = self.remaining[kind]
        chosen = remaining if path is None else [[name] for name in path[kind]]
        edges = [edge for edge, (_, target) in enumerate(EDGES) if target == node and chosen[edge] != [NONE]]
        beta = self.betas[kind]
        edge_weights = torch.softmax(beta[edges], 0) if self.edge_normalisation else torch.ones_like(beta[edges])
        operations: list[tuple[int, str]] = []
        parts: list[Tensor] = []
        for position, edge in enumerate(edges):
            kept = [number for number, name in enumerate(chosen[edge]) if name != NONE]
            operations += [(edge, chosen[edge][number]) for number in kept]
            weight = edge_weights[position : position + 1]
            if path is None:
                weight = weight * torch.softmax(cast(nn.ParameterList, self.alphas[kind])[edge], 0)[kept]
            parts.append(weight)
        return NodeTerms(operations, torch.cat(parts) if parts else edge_weights, edges, edge_weights)


def _without(values: Tensor, position: int) -> Tensor:
    return torch.cat([values[:position], values[position + 1 :]])
