"""What a network is trained with where the user leaves it open; and the learning rate's course.

| optimizer | peak lr | weight decay |
| --- | --- | --- |
| Adam (the default) | 2e-3 | 5e-4 on float weights |
| SGD, Nesterov 0.9 | 0.02 | 5e-4 |

The default does not depend on the bits: a network and its twin differ in nothing but their bits.

The rates are for batches of 64 and heads of scale 64; for larger batches raise them in proportion. Chosen on held-out
people of LFW with small networks (docs/training.md).

Adam for latent weights: the xnor gradient carries the factor a (about 0.08 at the start), Adam's step does not depend
on it, and W1A32 developed faster with it than with SGD.

Biases, batch norms and PReLU slopes never decay. With Adam the latent weights of 1-bit convolutions do not decay
either, unless asked for: their magnitude carries no meaning there but the distance to the next flip.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bnas_face.config import TrainConfig
from bnas_face.models.binarizers._convolution import BinaryConv2d


@dataclass(frozen=True)
class Recipe:
    """Optimizer settings.

    Attributes
    ----------
    optimizer : str
        "sgd" or "adam".
    lr : float
        Peak learning rate.
    weight_decay : float
    """

    optimizer: str
    lr: float
    weight_decay: float


SGD = Recipe("sgd", 0.02, 5e-4)
ADAM = Recipe("adam", 2e-3, 5e-4)


def resolve(config: TrainConfig) -> TrainConfig:
    """`config` with every ``"auto"`` and None of optimizer, decay and weight of labels replaced by its default."""
    name = config.optimizer
    if name == "auto":
        name = "adam"
    default = ADAM if name == "adam" else SGD
    of_labels = 0.0 if config.teacher else 1.0
    decay = default.weight_decay if config.weight_decay is None else config.weight_decay
    of_latent = 0.0 if name == "adam" else decay
    return replace(
        config,
        optimizer=name,
        lr=default.lr if config.lr is None else config.lr,
        weight_decay=decay,
        latent_weight_decay=of_latent if config.latent_weight_decay is None else config.latent_weight_decay,
        label_weight=of_labels if config.label_weight is None else config.label_weight,
    )


def make_optimizer(learner: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over what `learner` learns; `config` must be resolved.

    Each group of parameters has ``lr_factor``, which the rate of every step is to be multiplied with.
    """
    if config.lr is None:
        raise ValueError("resolve the config first")
    groups = _groups(learner, config)
    if config.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=config.lr)
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def _groups(learner: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by (decays or not, weight decay, factor): those that decay first, which saved states rely on."""
    latent, head = _latent(learner), {id(p) for p in _of_head(learner)}
    groups: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for parameter in learner.parameters():
        if not parameter.requires_grad:
            continue
        is_latent = id(parameter) in latent
        decay = config.latent_weight_decay if is_latent else config.weight_decay
        decays = parameter.dim() > 1 and (not is_latent or config.optimizer == "sgd" or bool(decay))
        factor = config.latent_lr_factor if is_latent else config.head_lr_factor if id(parameter) in head else 1.0
        groups.setdefault((decays, (decay or 0.0) if decays else 0.0, factor), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: not item[0][0])
    return [
        {"params": parameters, "weight_decay": decay, "lr_factor": factor} for (_, decay, factor), parameters in ordered
    ]


def _latent(learner: nn.Module) -> set[int]:
    """Weights of which the network uses the sign, for now."""
    return {
        id(part.weight)
        for part in learner.modules()
        if isinstance(part, BinaryConv2d) and part.weight_bits == 1 and not part.float_weights
    }


def _of_head(learner: nn.Module) -> Iterable[nn.Parameter]:
    head = getattr(learner, "head", None)
    return () if head is None else head.parameters()
