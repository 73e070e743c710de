"""Two stages: 1-bit activations with float weights first, then 1-bit weights, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from small_training import stopped_before

from bnas_face import models
from bnas_face.config import TrainConfig
from bnas_face.models.binarizers._base import sign
from bnas_face.models.binarizers._convolution import BinaryConv2d
from bnas_face.train import loop, recipe
from bnas_face.train.stages import Stages, set_float_weights

pytestmark = pytest.mark.usefixtures("patterns")
Tiny = Callable[..., TrainConfig]
ONE_BIT: dict[str, Any] = {"binarizer": "xnor", "activation_bits": 1}


@pytest.mark.parametrize("binarizer", ["xnor", "react", "pcnn"])
def test_float_weights_meet_signs_of_the_inputs(binarizer: str, tiny: Tiny) -> None:
    network = models.build(tiny(**{**ONE_BIT, "binarizer": binarizer}).model)
    layer = next(part for part in network.modules() if isinstance(part, BinaryConv2d))
    values = torch.randn(2, layer.in_channels, 8, 8)
    one_bit = layer(values)
    set_float_weights(network, True)
    assert torch.allclose(layer(values), F.conv2d(sign(values), layer.weight, None, layer.stride, 1), atol=1e-5)
    set_float_weights(network, False)
    assert torch.equal(layer(values), one_bit)


def test_what_only_shapes_the_signs_waits_for_the_second_stage(tiny: Tiny) -> None:
    network = models.build(tiny(**{**ONE_BIT, "binarizer": "pcnn"}).model)
    learned = {name for name, p in network.named_parameters() if p.requires_grad}
    set_float_weights(network, True)
    waiting = learned - {name for name, p in network.named_parameters() if p.requires_grad}
    set_float_weights(network, False)
    assert {name.rpartition(".")[2] for name in waiting} == {"projection"}
    assert learned == {name for name, p in network.named_parameters() if p.requires_grad}


def test_each_stage_has_its_own_warm_up_and_fall(tiny: Tiny) -> None:
    config = recipe.resolve(tiny(**ONE_BIT, two_stage=0.5, epochs=8, lr=1.0, warmup_epochs=1.0))
    stages = Stages(config, 10)
    rates = [stages.lr(step) for step in range(80)]
    assert rates[:40] == rates[40:] and rates[9] == rates[49] == 1.0 and rates[39] < 0.01
    assert [stages.number(step) for step in (0, 39, 40, 79)] == [1, 1, 2, 2]


def test_a_training_in_one_go_has_one_stage(tiny: Tiny) -> None:
    stages = Stages(recipe.resolve(tiny(**ONE_BIT)), 10)
    assert {stages.number(step) for step in range(20)} == {1} and not stages.floats(0)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool, float, int]]:
    """Of every step: (step, float weights or not, decay of latent weights, steps the optimizer remembers)."""
    seen: list[tuple[int, bool, float, int]] = []
    real = loop.Trainer._step

    def step(self: loop.Trainer, batch: Any) -> float:
        layer = next(part for part in self.learner.modules() if isinstance(part, BinaryConv2d))
        (group,) = (g for g in self.optimizer.param_groups if any(p is layer.weight for p in g["params"]))
        state = self.plain_optimizer.state.get(layer.weight, {})
        seen.append((self.counters.step, layer.float_weights, group["weight_decay"], int(state.get("step", 0))))
        return real(self, batch)

    monkeypatch.setattr(loop.Trainer, "_step", step)
    return seen


def test_the_second_stage_has_signs_no_decay_and_an_optimizer_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    seen = watch(monkeypatch)
    loop.train(tiny(**ONE_BIT, two_stage=0.5, ema=0.9), tmp_path / "mine")
    assert [entry[1] for entry in seen] == [True] * 3 + [False] * 3
    assert [entry[2] for entry in seen] == [5e-4] * 3 + [0.0] * 3
    assert [entry[3] for entry in seen] == [0, 1, 2, 0, 1, 2]
    state = load_file(tmp_path / "mine" / "state" / "last.safetensors")
    assert int(state["average.n_averaged"]) == 3


@pytest.mark.parametrize("kill_at", [3, 4])
def test_a_run_killed_in_either_stage_goes_on_to_the_very_same_weights(
    tmp_path: Path, tiny: Tiny, kill_at: int
) -> None:
    settings = {"accumulate": 2, "ema": 0.9, "dropout": 0.2, "checkpoint_minutes": 0, "schedule": "step"}
    config = tiny(**{**ONE_BIT, "binarizer": "pcnn"}, two_stage=0.5, **settings)
    loop.train(config, tmp_path / "whole")
    with stopped_before(kill_at):
        loop.train(config, tmp_path / "parts")
    loop.train(config, tmp_path / "parts", resume=True)
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
