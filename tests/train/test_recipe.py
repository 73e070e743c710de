"""How a network is trained: the rate's course, groups of weights, parts of a batch, the moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bnas_face.config import TrainConfig
from bnas_face.data.loader import Batch
from bnas_face.errors import ConfigError
from bnas_face.models.pixels import normalised
from bnas_face.schedule import Course, lr_at
from bnas_face.train import average, devices, loop, recipe, step
from bnas_face.train.learner import Learner

Tiny = Callable[..., TrainConfig]


def rates(course: Course, n_warmup: int = 0, n_steps: int = 20) -> list[float]:
    return [lr_at(i, peak=1.0, n_steps=n_steps, n_warmup=n_warmup, course=course) for i in range(n_steps)]


def test_every_schedule_warms_up_and_never_rises_again() -> None:
    for kind in ("cosine", "poly", "step"):
        found = rates(Course(kind=kind, step_at=(0.5, 0.75)), n_warmup=4)
        assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
        assert found[4] == 1.0 and all(before >= after for before, after in pairwise(found[3:]))


def test_poly_is_its_formula() -> None:
    assert rates(Course(kind="poly", power=2.0)) == pytest.approx([(1 - i / 20) ** 2 for i in range(20)])


def test_steps_fall_at_their_shares_of_the_training() -> None:
    found = rates(Course(kind="step", step_at=(0.5, 0.75), factor=0.1))
    assert found == pytest.approx([1.0] * 10 + [0.1] * 5 + [0.01] * 5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "linear"}, "schedule 'linear' is not known. Choose cosine or poly or step"),
        ({"step_at": (0.5, 0.25)}, "--step-at '0.5,0.25' must rise and lie between 0 and 1"),
        ({"step_at": (0.5, 1.0)}, "must rise and lie between 0 and 1"),
        ({"ema": 1.0}, "decay of the average of weights is 1"),
        ({"accumulate": 16}, "A batch of 16 in 16 parts leaves fewer than the two images"),
        ({"accumulate": 2, "teacher": "runs/a", "relation_weight": 1.0}, "relations are those of a whole batch"),
        ({"latent_weight_decay": -1.0}, "weight decay of latent weights is -1"),
        ({"two_stage": 0.5}, "Two stages are for 1-bit activations"),
        ({"two_stage": 0.1, "binarizer": "xnor", "activation_bits": 1}, "leaves a stage without any"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], message: str, tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(**changes)


def test_fp16_on_the_processor_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"--precision fp16 needs a GPU.*Use bf16 or fp32"):
        devices.make_fabric(tiny(precision="fp16"))


def groups(config: TrainConfig) -> list[tuple[float, float, set[str]]]:
    config = recipe.resolve(config)
    learner = Learner(config, 12)
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    found = recipe.make_optimizer(learner, config).param_groups
    return [(g["weight_decay"], g["lr_factor"], {names[id(p)] for p in g["params"]}) for g in found]


ONE_BIT: dict[str, Any] = {"binarizer": "xnor", "activation_bits": 1}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_factors_there_are_two_groups_in_the_order_of_earlier_states(optimizer: str, tiny: Tiny) -> None:
    """A state saved before there were factors numbers its parameters so."""
    config = recipe.resolve(tiny(**ONE_BIT, optimizer=optimizer, weight_decay=0.0))
    learner = Learner(config, 12)
    latent = {id(p.weight) for p in learner.modules() if getattr(p, "weight_bits", 32) == 1}
    learned = [p for p in learner.parameters() if p.requires_grad]
    decays = [p for p in learned if p.dim() > 1 and (optimizer == "sgd" or id(p) not in latent)]
    rest = [p for p in learned if all(p is not other for other in decays)]
    found = [p for group in recipe.make_optimizer(learner, config).param_groups for p in group["params"]]
    assert all(a is b for a, b in zip(found, decays + rest, strict=True))


def test_latent_weights_and_the_head_have_rates_and_decay_of_their_own(tiny: Tiny) -> None:
    settings = {"latent_lr_factor": 0.5, "head_lr_factor": 10.0, "latent_weight_decay": 1e-5}
    found = groups(tiny(**ONE_BIT, **settings, weight_decay=1e-3))
    by_factor = {(decay, factor): names for decay, factor, names in found}
    assert by_factor[1e-3, 10.0] == {"head.weight"}
    assert {name.rpartition(".")[2] for name in by_factor[1e-5, 0.5]} == {"weight"}
    assert by_factor[1e-3, 1.0] == {"backbone.stem.0.weight", "backbone.embedding.weight"}
    assert set(by_factor) == {(1e-3, 10.0), (1e-5, 0.5), (1e-3, 1.0), (0.0, 1.0)}


def test_the_rate_of_a_step_reaches_every_group_with_its_factor(tiny: Tiny) -> None:
    config = recipe.resolve(tiny(head_lr_factor=10.0))
    optimizer = recipe.make_optimizer(Learner(config, 12), config)
    recipe.set_lr(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5, 5.0}


def drawn_batch(n: int) -> Batch:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (n, 64, 64, 3)).astype(np.uint8)
    return Batch(pixels, generator.integers(0, 12, n), np.arange(n))


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_give_the_gradient_of_the_whole_batch_where_its_statistics_are_frozen(
    parts: int, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding of doubles; 10 images in 3 parts of 4, 3 and 3 count by their number."""
    monkeypatch.setattr("bnas_face.train.learner.normalised", lambda pixels: normalised(pixels).double())
    config = recipe.resolve(tiny(head="arcface"))
    fabric = devices.make_fabric(config)
    learner = Learner(config, 12).double().eval()
    wrapped = fabric.setup_module(copy.deepcopy(learner))
    whole, in_parts = (gradients(fabric, wrapped, n) for n in (1, parts))
    assert whole[0] == pytest.approx(in_parts[0], rel=1e-12)
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(whole[1], in_parts[1], strict=True))
    assert any(bool(a.abs().max() > 1e-3) for a in whole[1])


def gradients(fabric: Any, wrapped: nn.Module, parts: int) -> tuple[float, list[torch.Tensor]]:
    wrapped.zero_grad()
    loss = step.backward(fabric, wrapped, drawn_batch(10), parts=parts)
    return float(loss), [p.grad.clone() for p in wrapped.parameters() if p.grad is not None]


def test_the_average_is_its_formula_with_batch_statistics_and_counters() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    moving = average.average_of(network, 0.3)
    expected = None
    for t in range(1, 6):
        network(torch.randn(4, 3, 2, 2))
        with torch.no_grad():
            network[0].weight.add_(torch.randn_like(network[0].weight))
        moving.update_parameters(network)
        now = torch.cat([network[0].weight.flatten(), network[1].running_var]).detach().clone()
        keep = min(0.3, (1 + t) / (10 + t))
        expected = now if expected is None else keep * expected + (1 - keep) * now
    found = torch.cat([moving.module[0].weight.flatten(), moving.module[1].running_var]).detach()
    assert torch.allclose(found, expected, atol=1e-6)
    assert int(moving.module[1].num_batches_tracked) == 5


@pytest.mark.usefixtures("patterns")
def test_a_run_with_an_average_keeps_the_average_and_says_so(tmp_path: Path, tiny: Tiny) -> None:
    from bnas_face.models import saved

    loop.train(tiny(ema=0.9), tmp_path / "mine")
    loop.train(tiny(), tmp_path / "last")
    kept = load_file(tmp_path / "mine" / "weights.safetensors")
    state = load_file(tmp_path / "mine" / "state" / "last.safetensors")
    last = load_file(tmp_path / "last" / "weights.safetensors")
    assert all(torch.equal(kept[name], state[f"average.module.{name}"]) for name in kept)
    assert all(torch.equal(last[name], state[f"module.backbone.{name}"]) for name in kept), "it follows, never leads"
    assert not torch.equal(kept["embedding.weight"], last["embedding.weight"])
    infos = [saved.load_config(tmp_path / name) for name in ("mine", "last")]
    assert [info["kept_weights"] for info in infos] == ["moving average", "last step"]
    saved.load(tmp_path / "mine")
