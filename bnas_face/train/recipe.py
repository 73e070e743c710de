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
either: their magnitude carries no meaning there but the distance to the next flip.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import nn

from bnas_face.config import TrainConfig


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
    """`config` with every ``"auto"`` and None replaced by its default: of the optimizer, and the weight of labels."""
    name = config.optimizer
    if name == "auto":
        name = "adam"
    default = ADAM if name == "adam" else SGD
    of_labels = 0.0 if config.teacher else 1.0
    return replace(
        config,
        optimizer=name,
        lr=default.lr if config.lr is None else config.lr,
        weight_decay=default.weight_decay if config.weight_decay is None else config.weight_decay,
        label_weight=of_labels if config.label_weight is None else config.label_weight,
    )


def make_optimizer(module: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, over what `module` learns; `config` must be resolved."""
    if config.lr is None or config.weight_decay is None:
        raise ValueError("resolve the config first")
    groups = _groups(module, config.weight_decay, latent_decay=config.optimizer == "sgd")
    if config.optimizer == "adam":
        return torch.optim.AdamW(groups, lr=config.lr)
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov)


def _groups(module: nn.Module, weight_decay: float, *, latent_decay: bool) -> list[dict[str, object]]:
    latent = {id(p.weight) for p in module.modules() if isinstance(p, nn.Conv2d) and getattr(p, "weight_bits", 32) == 1}
    learned = [p for p in module.parameters() if p.requires_grad]
    decays = [p for p in learned if p.dim() > 1 and (latent_decay or id(p) not in latent)]
    return [
        {"params": decays, "weight_decay": weight_decay},
        {"params": _without(learned, decays), "weight_decay": 0.0},
    ]


def _without(parameters: Iterable[nn.Parameter], others: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    ids = {id(p) for p in others}
    return [p for p in parameters if id(p) not in ids]
