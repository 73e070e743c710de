"""Training in two stages: first 1-bit activations with float weights, then 1-bit weights, too.

A network whose inputs and weights become 1-bit at once begins with gradients that are wrong twice. So the first stage
learns the float weights of a network that sees signs already, and the second starts from them: its latent weights are
the first stage's weights, and scale and sign are taken of those. Each stage has its own warm-up and course of the
learning rate, and an optimizer that knows nothing of the stage before; weights average (EMA) anew.

References
----------
Liu et al., ReActNet, ECCV 2020 (arXiv 2003.03488), section 5.1, after Martinez et al., "Training binary neural networks
with real-to-binary convolutions", ICLR 2020 (arXiv 2003.11535). Both train the second stage as long as the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from bnas_face.config import TrainConfig
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.schedule import Course, lr_at


@dataclass(frozen=True)
class Stages:
    """Which steps belong to which stage.

    Attributes
    ----------
    config : TrainConfig
        Resolved.
    steps_per_epoch : int
    """

    config: TrainConfig
    steps_per_epoch: int

    @property
    def n_first(self) -> int:
        """Steps with float weights; 0 for a training in one go."""
        return self.config.first_stage_epochs * self.steps_per_epoch

    @property
    def n_steps(self) -> int:
        """Of all stages."""
        return self.config.epochs * self.steps_per_epoch

    def number(self, step: int) -> int:
        """1 or 2; a training in one go is in stage 1."""
        return 2 if 0 < self.n_first <= step else 1

    def floats(self, step: int) -> bool:
        """Whether the weights are still float in step `step` (0-based)."""
        return step < self.n_first

    def lr(self, step: int) -> float:
        """Learning rate of step `step` (0-based) before the factors of single groups of weights."""
        config = self.config
        begin, end = (0, self.n_first) if self.floats(step) else (self.n_first, self.n_steps)
        n_warmup = min(round(config.warmup_epochs * self.steps_per_epoch), (end - begin) // 2)
        return lr_at(step - begin, peak=config.lr or 0.0, n_steps=end - begin, n_warmup=n_warmup, course=course(config))


def course(config: TrainConfig) -> Course:
    """How the learning rate falls."""
    return Course(
        kind=config.schedule, power=config.poly_power, step_at=tuple(config.step_at), factor=config.step_factor
    )


def set_float_weights(network: nn.Module, on: bool) -> None:
    """Let every 1-bit convolution compute with its latent weights as they are, or with their signs again.

    What only shapes the signs (``training_only``) learns nothing while they are not taken.
    """
    for part in network.modules():
        if isinstance(part, BinaryConv2d):
            part.float_weights = on
            for name in part.training_only:
                getattr(part, name).requires_grad_(not on)
