"""Training end to end on patterns: the run folder, exact resume, and what must be refused."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bnas_face.errors import CheckpointError, ConfigError, DatasetError, UnknownNameError
from bnas_face.models import saved
from bnas_face.schedule import lr_at
from bnas_face.train import checkpoint, devices, loop, recipe, runs

pytestmark = pytest.mark.usefixtures("patterns")


class Killed(Exception):
    """Stands for SIGKILL between two steps."""


def _kill_after(monkeypatch, step):
    original = loop.Trainer._between_steps

    def between(self, epoch):
        original(self, epoch)
        if self.counters.step == step:
            raise Killed

    monkeypatch.setattr(loop.Trainer, "_between_steps", between)


def _log(run_dir):
    with (run_dir / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("binarizer", "activation_bits"), [("none", 32), ("xnor", 32), ("xnor", 1)])
def test_a_training_writes_a_run_that_loads(tmp_path, binarizer, activation_bits, tiny):
    outcome = loop.train(tiny(binarizer=binarizer, activation_bits=activation_bits), tmp_path / "mine")
    model, config, info = saved.load(tmp_path / "mine")
    assert config.binarizer == binarizer and not model.training
    assert info["training_data"]["n_identities"] == 12 and info["training_data"]["n_development_identities"] == 4
    assert info["optimizer"] == "adam"
    rows = _log(tmp_path / "mine")
    columns = ["epoch", "step", "loss", "lr", "images_per_s", "development_accuracy", "stage", "skipped", "session"]
    assert list(rows[0]) == [*columns, "seconds", "memory_mb", "gpu_memory_mb", "left_out"]
    assert [int(row["step"]) for row in rows] == [3, 6]
    assert 0 <= outcome.development_accuracy <= 1
    environment = json.loads((tmp_path / "mine" / "environment.json").read_text())
    assert environment["versions"]["torch"] and environment["device"] == "cpu"


def test_bf16_trains_too(tmp_path, tiny):
    outcome = loop.train(tiny(precision="bf16", epochs=1), tmp_path / "mine")
    assert np.isfinite(outcome.loss)
    weights = load_file(tmp_path / "mine" / "weights.safetensors")
    assert weights["embedding.weight"].dtype == torch.float32


def test_a_network_learns_to_tell_the_patterns_apart(tmp_path, tiny):
    outcome = loop.train(tiny(epochs=12, batch_size=12, scale=16.0, lr=0.05), tmp_path / "mine")
    losses = [float(row["loss"]) for row in _log(tmp_path / "mine")]
    assert losses[-1] < 0.6 * losses[0]
    assert outcome.development_accuracy > 0.8


@pytest.mark.parametrize(("optimizer", "bits"), [("sgd", 32), ("adam", 1)])
def test_a_run_killed_at_any_step_resumes_to_the_very_same_weights(tmp_path, monkeypatch, optimizer, bits, tiny):
    config = tiny(binarizer="xnor", activation_bits=bits, optimizer=optimizer, dropout=0.2, checkpoint_minutes=0)
    loop.train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        _kill_after(patch, 5)
        with pytest.raises(Killed):
            loop.train(config, tmp_path / "parts")
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    loop.train(config, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    columns = ("epoch", "step", "loss", "lr", "development_accuracy")
    assert [[r[c] for c in columns] for r in _log(tmp_path / "whole")] == [
        [r[c] for c in columns] for r in _log(tmp_path / "parts")
    ]


def test_resume_without_a_saved_state_begins_anew(tmp_path, monkeypatch, tiny):
    with monkeypatch.context() as patch:
        _kill_after(patch, 1)
        with pytest.raises(Killed):
            loop.train(tiny(), tmp_path / "mine")
    assert not checkpoint.exists(tmp_path / "mine")
    loop.train(tiny(), tmp_path / "mine", resume=True)
    loop.train(tiny(), tmp_path / "whole")
    resumed, whole = (load_file(tmp_path / name / "weights.safetensors") for name in ("mine", "whole"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_damaged_state_is_one_clear_line(tmp_path, monkeypatch, tiny):
    with monkeypatch.context() as patch:
        _kill_after(patch, 4)
        with pytest.raises(Killed):
            loop.train(tiny(), tmp_path / "mine")
    path = tmp_path / "mine" / checkpoint.STATE
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"last\.safetensors' is damaged"):
        loop.train(tiny(), tmp_path / "mine", resume=True)


def test_resume_on_other_images_is_refused(tmp_path, monkeypatch, tiny, people):
    with monkeypatch.context() as patch:
        _kill_after(patch, 4)
        with pytest.raises(Killed):
            loop.train(tiny(), tmp_path / "mine")
    other = people(seed=1)
    monkeypatch.setattr("bnas_face.data.datasets.load", lambda spec: other)
    with pytest.raises(CheckpointError, match="begun on other images"):
        loop.train(tiny(), tmp_path / "mine", resume=True)


@pytest.mark.parametrize("name", ["agedb_30", "calfw", "cplfw", "cfp_fp", "lfw_dev", "demo_lfw"])
def test_a_test_protocol_is_never_trained_on(tmp_path, name, tiny):
    with pytest.raises(ConfigError, match=f"'{name}' is a test protocol"):
        loop.train(tiny(dataset=name), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_mistyped_head_is_found_before_anything_is_decoded(tmp_path, tiny):
    with pytest.raises(UnknownNameError, match="Did you mean 'cosface'"):
        loop.train(tiny(head="cosfase"), tmp_path / "mine")


def test_a_set_without_enough_images_per_person_is_refused(tmp_path, tiny):
    with pytest.raises(DatasetError, match="has 0 identities with 5 or more images"):
        loop.train(tiny(min_images=5), tmp_path / "mine")


def test_without_held_out_people_there_is_no_development_accuracy(tmp_path, tiny):
    outcome = loop.train(tiny(development_share=0, epochs=1), tmp_path / "mine")
    assert outcome.development_accuracy is None
    assert _log(tmp_path / "mine")[0]["development_accuracy"] == ""


def test_the_same_seed_trains_the_same_weights(tmp_path, tiny):
    for name in ("a", "b"):
        loop.train(tiny(epochs=1), tmp_path / name)
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("text", ["0", "gpu", "cpu:0", "tpu:2", "cpu:x", ""])
def test_devices_that_are_not_understood_are_quoted(text):
    with pytest.raises(ConfigError, match=f"Devices '{text}' are not understood"):
        devices.parse_devices(text)


def test_devices_of_the_processor():
    assert devices.parse_devices("cpu") == ("cpu", 1) and devices.parse_devices("cpu:2") == ("cpu", 2)


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"ask for 99 GPUs; this machine has \d+"):
        devices.parse_devices("99")


def test_learning_rate_rises_and_then_falls_to_zero():
    rates = [lr_at(step, peak=1.0, n_steps=20, n_warmup=5) for step in range(21)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0 and rates[20] == pytest.approx(0)
    assert all(before >= after for before, after in pairwise(rates[5:]))


def test_warm_up_takes_at_most_half_of_a_short_training(tmp_path, tiny):
    loop.train(tiny(epochs=1, warmup_epochs=1.0, lr=0.002), tmp_path / "mine")
    (row,) = _log(tmp_path / "mine")
    assert float(row["lr"]) == pytest.approx(0.001)  # of 3 steps one rises; the last is half-way down the cosine


def test_norms_biases_and_slopes_never_decay(tiny):
    from bnas_face.train.learner import Learner

    config = recipe.resolve(tiny(binarizer="xnor", activation_bits=1))
    learner = Learner(config, 12)
    optimizer = recipe.make_optimizer(learner, config)
    decaying = {id(p) for g in optimizer.param_groups if g["weight_decay"] > 0 for p in g["params"]}
    names = {name for name, p in learner.named_parameters() if id(p) in decaying}
    assert names == {"backbone.stem.0.weight", "backbone.embedding.weight", "head.weight"}
    n_learned = sum(p.requires_grad for p in learner.parameters())
    assert sum(len(g["params"]) for g in optimizer.param_groups) == n_learned


def test_a_mistake_leaves_the_run_that_was_to_be_overwritten(tmp_path, tiny):
    loop.train(tiny(epochs=1), tmp_path / "mine")
    before = (tmp_path / "mine" / "weights.safetensors").read_bytes()
    for mistake in ({"size_px": 96}, {"head": "arcfce"}, {"head": "softmax", "margin": 0.2}):
        with pytest.raises((ConfigError, UnknownNameError)):
            loop.train(tiny(**mistake), tmp_path / "mine")
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == before
    loop.train(tiny(epochs=1, seed=1), tmp_path / "mine")
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() != before


def test_what_cannot_be_built_is_told_before_images_are_decoded(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(loop, "prepare", lambda *_, **__: pytest.fail("images were decoded"))
    with pytest.raises(ConfigError, match="has no margin"):
        loop.train(tiny(head="softmax", margin=0.2), tmp_path / "mine")


def test_two_processes_never_train_one_run(tmp_path, tiny):
    with (
        runs.only_one(tmp_path / "mine"),
        pytest.raises(CheckpointError, match=r"Another process is training .*mine"),
    ):
        loop.train(tiny(), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    loop.train(tiny(epochs=1), tmp_path / "mine")


def test_a_run_killed_after_its_last_step_is_finished_without_its_log(tmp_path, tiny):
    loop.train(tiny(epochs=1), tmp_path / "mine")
    weights = (tmp_path / "mine" / "weights.safetensors").read_bytes()
    (tmp_path / "mine" / "weights.safetensors").unlink()
    (tmp_path / "mine" / "log.csv").unlink()
    outcome = loop.train(tiny(epochs=1), tmp_path / "mine", resume=True)
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == weights
    assert outcome.development_accuracy is not None


def test_resuming_with_other_people_left_out_is_refused(tmp_path, monkeypatch, tiny):
    with monkeypatch.context() as patch:
        _kill_after(patch, 1)
        with pytest.raises(Killed):
            loop.train(tiny(checkpoint_minutes=0), tmp_path / "mine")
    with pytest.raises(CheckpointError, match="begun on other images"):
        loop.train(tiny(checkpoint_minutes=0, min_images=4, development_share=0.5), tmp_path / "mine", resume=True)
