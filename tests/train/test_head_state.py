"""Heads that remember or draw: a training that was killed and resumed is the uninterrupted one, bit for bit."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from bnas_face.errors import ConfigError
from bnas_face.train import checkpoint, loop, recipe

pytestmark = pytest.mark.usefixtures("patterns")
STATE = {"adaface": {"head.mean", "head.std"}, "curricularface": {"head.t"}, "elasticface": set(), "magface": set()}


class Killed(Exception):
    """Stands for SIGKILL between two steps."""


@pytest.mark.parametrize("head", sorted(STATE))
def test_a_killed_run_resumes_to_the_very_same_head_and_weights(head, tmp_path, monkeypatch, tiny):
    config = tiny(head=head, checkpoint_minutes=0, development_share=0.0, dropout=0.1)
    loop.train(config, tmp_path / "whole")
    original = loop.Trainer._between_steps

    def between(self, epoch):
        original(self, epoch)
        if self.counters.step == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_between_steps", between)
        with pytest.raises(Killed):
            loop.train(config, tmp_path / "parts")
    middle = load_file(tmp_path / "parts" / checkpoint.STATE)
    loop.train(config, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / checkpoint.STATE) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    names = {f"module.{name}" for name in STATE[head]}
    assert names <= middle.keys()
    assert all(not torch.equal(middle[name], whole[name]) for name in names), "the state goes on after the kill"


def test_sub_centers_are_trained_and_saved(tmp_path, tiny):
    loop.train(tiny(head="arcface", sub_centers=3, epochs=1, development_share=0.0), tmp_path / "mine")
    assert load_file(tmp_path / "mine" / checkpoint.STATE)["module.head.weight"].shape == (16 * 3, 16)


def test_sub_centers_of_a_head_without_them_are_refused_before_images_are_read(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(loop, "prepare", lambda *arguments, **settings: pytest.fail("images were read"))
    with pytest.raises(ConfigError, match="Head 'cosface' has one center per identity, but 2 sub-centers are given"):
        loop.train(tiny(sub_centers=2), tmp_path / "mine")


def test_the_head_sees_embeddings_with_their_length(tiny):
    learner = loop.Learner(recipe.resolve(tiny(head="magface")), n_identities=16)
    seen = []
    learner.head.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].norm(dim=1)))
    learner(torch.randint(256, (4, 64, 64, 3), dtype=torch.uint8), torch.arange(4))
    assert seen[0].std() > 1e-3 and (seen[0] - 1).abs().min() > 0.1
