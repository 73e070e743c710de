"""Numbers that are none never reach the weights, and are named."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_training import stopped_before
from torch import nn

from bnas_face.config import TrainConfig
from bnas_face.errors import TrainingError
from bnas_face.train import checkpoint, guard, log, loop
from bnas_face.train import step as steps

pytestmark = pytest.mark.usefixtures("patterns")
Tiny = Callable[..., TrainConfig]


def spoil(monkeypatch: pytest.MonkeyPatch, at: set[int], where: str) -> None:
    """In steps `at` (0-based), a weight, the loss, or the gradient of one weight is not finite."""
    real_step, real_backward = loop.Trainer._step, steps.backward
    now = {"bad": False}

    def step(self: loop.Trainer, batch: Any) -> float:
        now["bad"] = self.counters.step in at
        if now["bad"] and where == "weight":
            self.learner.head.weight.data[0, 0] = float("nan")
        return real_step(self, batch)

    def backward(fabric: Any, wrapped: nn.Module, batch: Any, *, parts: int) -> torch.Tensor:
        loss = real_backward(fabric, wrapped, batch, parts=parts)
        if now["bad"] and where == "gradient":
            wrapped.module.backbone.embedding.weight.grad[0] = float("inf")  # type: ignore[union-attr, index]
        if now["bad"] and where == "loss":
            next(b for b in wrapped.buffers() if b.is_floating_point()).fill_(float("nan"))
            return loss * float("nan")
        return loss

    monkeypatch.setattr(loop.Trainer, "_step", step)
    monkeypatch.setattr(steps, "backward", backward)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("weight", r"Step 5 \(epoch 2, .*: weight 'head.weight' was not finite before\..*is kept\. Train under a new"),
        ("loss", r"Step 5 \(epoch 2, .*: the loss became nan\..*is kept\. Go on with --resume --on-nan skip, or"),
        ("gradient", r"Step 5 .*: the gradient of 'backbone.embedding.weight' was not finite\. .*with a lower --lr"),
    ],
)
@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_what_is_not_finite_is_named_with_its_step_and_the_last_state_is_kept(
    where: str, message: str, clip: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    spoil(monkeypatch, {4}, where)
    with pytest.raises(TrainingError, match=message):
        loop.train(tiny(gradient_clip=clip), tmp_path / "mine")
    assert checkpoint.read_counters(tmp_path / "mine").step == 3
    state = load_file(tmp_path / "mine" / checkpoint.STATE)
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_passed_over_changes_neither_weights_nor_statistics_nor_the_average_and_is_counted(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    spoil(monkeypatch, {1, 4}, where)
    spoiled = loop.Trainer._step

    def watched(self: loop.Trainer, batch: Any) -> float:
        result = spoiled(self, batch)
        assert self.average is not None
        tensors = {**self.learner.state_dict(), **self.average.state_dict()}
        seen.append({name: value.clone() for name, value in tensors.items()})
        return result

    monkeypatch.setattr(loop.Trainer, "_step", watched)
    loop.train(tiny(on_nan="skip", ema=0.9), tmp_path / "mine")
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(seen)]
    assert same == [True, False, False, True, False]
    assert [row.skipped for row in log.read(tmp_path / "mine")] == [1, 2]
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "mine" / "weights.safetensors").values())


def test_too_many_steps_passed_over_in_a_row_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    monkeypatch.setattr(guard, "MOST_IN_A_ROW", 2)
    spoil(monkeypatch, {1, 3, 4, 5}, "gradient")
    with pytest.raises(TrainingError, match=r"Step 6 .*: 2 steps were passed over, and the gradient of"):
        loop.train(tiny(on_nan="skip"), tmp_path / "mine")


def test_a_weight_that_is_not_finite_cannot_be_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    spoil(monkeypatch, {4}, "weight")
    with pytest.raises(TrainingError, match=r"weight 'head.weight' was not finite before"):
        loop.train(tiny(on_nan="skip"), tmp_path / "mine")


def test_a_state_with_weights_that_are_not_finite_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    real = loop.Trainer._step

    def step(self: loop.Trainer, batch: Any) -> float:
        result = real(self, batch)
        if self.counters.step == 6:
            self.learner.head.weight.data[0, 0] = float("inf")
        return result

    monkeypatch.setattr(loop.Trainer, "_step", step)
    with pytest.raises(TrainingError, match=r"weight 'head.weight' became not finite, and the state is not saved"):
        loop.train(tiny(), tmp_path / "mine")
    assert checkpoint.read_counters(tmp_path / "mine").step == 3


def test_a_stopped_run_may_go_on_passing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    from bnas_face.train import runs

    spoil(monkeypatch, {4}, "gradient")
    with pytest.raises(TrainingError):
        loop.train(tiny(), tmp_path / "mine")
    config = runs.begin(tiny(on_nan="skip"), tmp_path / "mine", resume=True, overwrite=False, given={"on_nan"})
    loop.train(config, tmp_path / "mine", resume=True)
    rows = log.read(tmp_path / "mine")
    assert [(row.skipped, row.session) for row in rows] == [(0, 1), (1, 2)]


def test_a_gradient_too_long_for_its_type_is_told_as_such() -> None:
    layer = nn.Linear(2, 1)
    layer(torch.ones(1, 2)).sum().backward()
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, 3e38)
    assert guard.first_not_finite(layer, 1.0) == ("the gradient became too long for float32", False)


def scaled_fabric(config: TrainConfig) -> Any:
    """fp16 with scaled gradients on the processor, where only tests want it."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**13, growth_interval=2)
    return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])


def test_fp16_passes_over_an_overflow_lowers_its_scale_and_resumes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    monkeypatch.setattr(loop.devices, "make_fabric", scaled_fabric)
    config = tiny(precision="fp16", epochs=2, gradient_clip=5.0, checkpoint_minutes=0)
    loop.train(config, tmp_path / "whole")
    skipped = log.read(tmp_path / "whole")[-1].skipped
    assert 1 <= skipped < 5, "2 ** 13 is halved until nothing overflows"
    with stopped_before(4):
        loop.train(config, tmp_path / "parts")
    loop.train(config, tmp_path / "parts", resume=True)
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    scales = [checkpoint.read_precision(tmp_path / name) for name in ("whole", "parts")]
    assert scales[0] == scales[1]


def test_fp16_does_not_take_a_step_whose_loss_alone_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    monkeypatch.setattr(loop.devices, "make_fabric", scaled_fabric)
    spoil(monkeypatch, {3}, "loss")
    seen: list[dict[str, torch.Tensor]] = []
    spoiled = loop.Trainer._step

    def watched(self: loop.Trainer, batch: Any) -> float:
        result = spoiled(self, batch)
        seen.append({name: value.clone() for name, value in self.learner.state_dict().items()})
        return result

    monkeypatch.setattr(loop.Trainer, "_step", watched)
    loop.train(tiny(precision="fp16", on_nan="skip", epochs=3), tmp_path / "mine")
    assert all(torch.equal(seen[2][name], seen[3][name]) for name in seen[2])
    assert any(not torch.equal(seen[3][name], seen[-1][name]) for name in seen[3])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_fp16_learns_on_a_gpu(tmp_path: Path, tiny: Tiny) -> None:
    loop.train(tiny(precision="fp16", devices="1", epochs=3), tmp_path / "mine")
    assert checkpoint.read_precision(tmp_path / "mine")["scale"] > 0
    assert all(torch.isfinite(value).all() for value in load_file(tmp_path / "mine" / "weights.safetensors").values())
