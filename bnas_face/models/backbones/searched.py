"""Network of a genotype: stem, a chain of normal and reduction cells, and a head for faces or for classes.

`bnas_face.models.cells` has the macro structure, `bnas_face.models.spaces` the operations. Faces end in a global
depthwise convolution as MobileFaceNet's (→ BN → dropout → linear → BN): a fully connected layer on the last 4·8·C
channels would hold most of the network's float parameters. Classification ends as in DARTS: global average pool →
dropout → linear. Float always: stem, head, auxiliary classifier, batch norms, RPReLU; space ``paper`` keeps its
reduction after a reduction cell in float, too.

Of `ModelConfig` it reads genotype, cells, channels, drop_path, auxiliary, task, size_px, embedding_dim and dropout;
`width` and `shortcuts` belong to other backbones, here `channels` and the space say it. Space ``onebit`` may keep float
activations (W1A32, or its full-precision twin), space ``paper`` cannot have 1-bit ones: the sign of what a ReLU puts
out is +1 everywhere.

The cell the authors released (`genotype.BNAS_XNOR_1`) with 20 cells for CIFAR-10 has 2,407,536 binary and 92,278 float
parameters at C = 36, and 3,560,304 and 126,862 at C = 44; known as 2.41 M + 0.09 M and 3.56 M + 0.13 M (the papers'
figures as remembered, not read again). The float ones are the weights of stem and classifier, the gains and biases of
all batch norms and the two full-precision reductions. Not counted, as in the authors' code: the auxiliary classifier
(476,426 more at C = 36), batch norm statistics and the scales of layers.

References
----------
Liu et al., DARTS, ICLR 2019 (arXiv 1806.09055), evaluation networks and auxiliary classifier.
Chen et al., Binarized Neural Architecture Search, AAAI 2020 (arXiv 1911.10862), and the authors' released test code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnas_face import models
from bnas_face.config import ModelConfig
from bnas_face.errors import ConfigError
from bnas_face.genotype import N_INPUTS, Cell, Genotype
from bnas_face.models import cells
from bnas_face.models.backbones._blocks import batch_norm, initialise
from bnas_face.models.binarizers._base import Binarizer

SIZES_PX: tuple[int, ...] = ()
SMALLEST_PX = 16
TASKS = ("embedding", "classification")
AUXILIARY_CHANNELS = (128, 768)


class SearchedCell(nn.Module):
    """One cell of a genotype.

    Parameters
    ----------
    plan : cells.CellPlan
    cell : Cell
        The genotype's of that kind.
    space : module of `bnas_face.models.spaces`
    binarizer : Binarizer
    """

    def __init__(self, plan: cells.CellPlan, cell: Cell, space: Any, binarizer: Binarizer) -> None:
        super().__init__()
        n_channels = plan.n_channels
        self.before = space.preprocess(
            plan.n_before, n_channels, binarizer, norm=batch_norm, after_reduction=plan.after_reduction
        )
        self.previous = space.preprocess(plan.n_previous, n_channels, binarizer, norm=batch_norm, after_reduction=False)
        edges = [edge for pair in cell for edge in pair]
        self.sources = tuple(edge.source for edge in edges)
        strides = [2 if plan.is_reduction and source < N_INPUTS else 1 for source in self.sources]
        self.operations = nn.ModuleList(
            space.operation(edge.operation, n_channels, stride, binarizer, norm=batch_norm)
            for edge, stride in zip(edges, strides, strict=True)
        )

    def forward(self, before: Tensor, previous: Tensor, drop_path: float) -> Tensor:
        """Outputs of cells k−2 and k−1 → (batch_size, 4·C, h, w), of half the side from a reduction cell."""
        nodes = [self.before(before), self.previous(previous)]
        outputs: list[Tensor] = []
        for source, operation in zip(self.sources, self.operations, strict=True):
            output = operation(nodes[source])
            if drop_path and not isinstance(operation, nn.Identity):
                output = dropped(output, drop_path)
            outputs.append(output)
            if len(outputs) % 2 == 0:
                nodes.append(outputs[-2] + outputs[-1])
        return torch.cat(nodes[N_INPUTS:], dim=1)


def dropped(values: Tensor, probability: float) -> Tensor:
    """Zero whole samples with `probability` and divide the others by 1 − probability (drop-path)."""
    kept = torch.empty((len(values), 1, 1, 1), dtype=values.dtype, device=values.device)
    return values * kept.bernoulli_(1 - probability).div_(1 - probability)


class FaceHead(nn.Module):
    """Global depthwise convolution → BN → dropout → linear → BN, as in MobileFaceNet."""

    def __init__(self, n_channels: int, side: int, embedding_dim: int, dropout: float) -> None:
        super().__init__()
        self.pool = nn.Conv2d(n_channels, n_channels, side, groups=n_channels, bias=False)
        self.norm = batch_norm(n_channels)
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Linear(n_channels, embedding_dim, bias=False)
        self.features = nn.BatchNorm1d(embedding_dim)

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, side, side) → (batch_size, embedding_dim)."""
        pooled = self.norm(self.pool(values)).flatten(1)
        result: Tensor = self.features(self.embedding(self.dropout(pooled)))
        return result


class ClassHead(nn.Module):
    """Global average pool → dropout → linear, as in DARTS."""

    def __init__(self, n_channels: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(n_channels, n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, h, w) → logits (batch_size, n_classes)."""
        result: Tensor = self.classifier(self.dropout(values.mean(dim=(2, 3))))
        return result


class AuxiliaryHead(nn.Module):
    """DARTS's classifier on the last reduction cell: ReLU → pool to 2×2 → 1×1, BN, ReLU → 2×2, BN, ReLU → linear.

    The pool is DARTS's 5×5 window for sides of 7 (ImageNet) and 8 (CIFAR-10), an adaptive average for others.
    """

    def __init__(self, n_channels: int, side: int, n_classes: int) -> None:
        super().__init__()
        narrow, wide = AUXILIARY_CHANNELS
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=side - 5) if side in (7, 8) else nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(n_channels, narrow, 1, bias=False),
            batch_norm(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, wide, 2, bias=False),
            batch_norm(wide),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(wide, n_classes)

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, n_channels, side, side) → logits (batch_size, n_classes)."""
        result: Tensor = self.classifier(self.features(values).flatten(1))
        return result


class SearchedNetwork(nn.Module):
    """The whole network; see the module's docstring.

    Attributes
    ----------
    drop_path : float
        Probability that an operation's output is dropped now, in training mode; the training loop raises it from 0 to
        ``config.drop_path``.
    auxiliary_head : AuxiliaryHead or None
        Used in training mode alone.
    auxiliary_logits : Tensor or None
        Of the last forward pass in training mode, (batch_size, embedding_dim); None in evaluation mode and where there
        is no auxiliary head.
    """

    training_only = ("auxiliary_head",)

    def __init__(self, config: ModelConfig, genotype: Genotype, binarizer: Binarizer) -> None:
        super().__init__()
        space = models.space(genotype.space)
        self.drop_path = 0.0
        self.auxiliary_logits: Tensor | None = None
        self.stem = cells.stem(config.task, config.size_px, config.channels, batch_norm)
        plans = cells.plan(config.task, config.cells, config.channels, self.stem)
        self.cells = nn.ModuleList(SearchedCell(plan, genotype.cell(plan.kind), space, binarizer) for plan in plans)
        n_out, side = plans[-1].n_out, cells.final_side(config.task, config.size_px, self.stem)
        self.auxiliary_at = cells.reduction_positions(config.cells, cells.n_reductions(config.task))[-1]
        self.auxiliary_head: AuxiliaryHead | None = None
        if config.auxiliary:
            self.auxiliary_head = AuxiliaryHead(plans[self.auxiliary_at].n_out, side, config.embedding_dim)
        self.head: nn.Module
        if config.task == "classification":
            self.head = ClassHead(n_out, config.embedding_dim, config.dropout)
        else:
            self.head = FaceHead(n_out, side, config.embedding_dim, config.dropout)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """(batch_size, 3, size_px, size_px) in [-1, 1] → (batch_size, embedding_dim)."""
        drop_path = self.drop_path if self.training else 0.0
        self.auxiliary_logits = None
        before, previous = self.stem(images)
        for number, cell in enumerate(self.cells):
            before, previous = previous, cell(before, previous, drop_path)
            if number == self.auxiliary_at and self.training and self.auxiliary_head is not None:
                self.auxiliary_logits = self.auxiliary_head(previous)
        result: Tensor = self.head(previous)
        return result


def build(config: ModelConfig, binarizer: Binarizer) -> nn.Module:
    """The network of ``config.genotype``.

    Raises
    ------
    ConfigError
        If there is no genotype, the image is too small, or the space and the activation bits do not fit.
    """
    if config.genotype is None:
        raise ConfigError("Backbone 'searched' has no genotype. Give one with --genotype FILE.")
    if config.size_px < SMALLEST_PX:
        raise ConfigError(f"Backbone 'searched' takes images of at least {SMALLEST_PX} px, not {config.size_px}.")
    space = models.space(config.genotype.space)
    if binarizer.activation_bits < space.ACTIVATION_BITS:
        raise ConfigError(
            f"Space '{config.genotype.space}' has a ReLU before every sign, which would be +1 everywhere: it cannot "
            f"have {binarizer.activation_bits}-bit activations. Use --activation-bits {space.ACTIVATION_BITS}, or a "
            "genotype of space 'onebit'."
        )
    return SearchedNetwork(config, config.genotype, binarizer)
