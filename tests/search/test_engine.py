"""The engine: what an epoch changes, exact resume, abandonment, fitness, and errors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_search import make_config, make_data, random_path

from bnas_face.errors import CheckpointError, TrainingError
from bnas_face.genotype import CELLS, OPERATIONS
from bnas_face.schedule import lr_at
from bnas_face.search.engine import Engine

CONVOLUTIONS = ("sep_conv_3x3", "dil_conv_3x3", "dil_conv_5x5")


def make_engine(units=6, data=None, **more):
    return Engine(make_config(**more), data or make_data(), units)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def changed(first, second):
    return {name for name in first.keys() & second.keys() if not torch.equal(first[name], second[name])}


def do_unit(engine, unit):
    """A little search: mixed epochs, paths and abandonments by turns."""
    if unit % 3 == 0:
        return engine.mixed_epoch(unit, train_alphas=unit > 0).loss
    path = random_path(unit, names=tuple(engine.remaining["normal"][3][3:5]))
    result = engine.path_epoch(path, unit).loss, engine.fitness(path)
    if unit % 3 == 2:
        for kind in CELLS:
            engine.abandon(kind, unit, "none")
            engine.abandon(kind, 13 - unit, "dil_conv_5x5")
    return result


def test_a_path_epoch_changes_the_weights_of_its_path_and_nothing_else():
    engine, path = make_engine(), random_path(1)
    before = engine.tensors()
    engine.path_epoch(path, 1)
    after = engine.tensors()
    on_path = {
        f"network.cells.{number}.edges.{edge}.{name}."
        for number, cell in enumerate(engine.network.cells)
        for edge, name in enumerate(path[cell.kind])
    }
    operations = {name for name in changed(before, after) if ".edges." in name}
    assert operations and all(any(name.startswith(prefix) for prefix in on_path) for name in operations)
    assert not any("alphas" in name or "betas" in name for name in changed(before, after))
    kept = {name for name in after if name.startswith("weights.") and ".edges." in name}
    assert kept and all("network." + name.partition("momentum_buffer.")[2] in operations for name in kept)
    idle = [
        p
        for n, p in engine.network.weights().items()
        if ".edges." in n and not any(n.startswith(q[8:]) for q in on_path)
    ]
    assert idle and all(p.grad is None for p in idle)


@pytest.mark.parametrize("train_alphas", [True, False])
def test_alpha_and_beta_move_only_when_they_are_trained(train_alphas):
    engine = make_engine()
    alphas, betas = engine.alphas(), engine.betas()
    engine.mixed_epoch(0, train_alphas)
    for kind in CELLS:
        assert alphas[kind].shape == (14, 8) and betas[kind].shape == (14,)
        assert (engine.alphas()[kind] != alphas[kind]).all() == train_alphas
        assert (engine.betas()[kind] != betas[kind]).all() == train_alphas


@pytest.mark.parametrize(
    "more", [{}, {"space": "onebit", "optimizer": "adam", "lr": 1e-3, "edge_normalisation": False}]
)
def test_a_restored_engine_goes_on_bit_by_bit(more):
    data = make_data(16)
    whole, first = make_engine(data=data, **more), make_engine(data=data, **more)
    results = [do_unit(whole, unit) for unit in range(6)]
    for unit in range(3):
        do_unit(first, unit)
    saved = first.tensors()
    second = make_engine(data=data, **more)
    second.path_epoch(random_path(9, names=("avg_pool_3x3", "dil_conv_3x3")), 5)
    second.load_tensors(saved)
    assert equal(saved, second.tensors()) and second.remaining == first.remaining
    assert [do_unit(second, unit) for unit in range(3, 6)] == results[3:]
    assert equal(whole.tensors(), second.tensors())


def test_the_seed_decides_everything():
    found = [(do_unit(engine, 1), engine.tensors()) for engine in (make_engine(), make_engine(), make_engine(seed=1))]
    assert found[0][0] == found[1][0] != found[2][0]
    assert equal(found[0][1], found[1][1]) and not equal(found[0][1], found[2][1])


def test_building_an_engine_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    make_engine()
    assert torch.equal(torch.rand(1), expected)


def test_abandoning_deletes_optimizer_state_and_the_one_alpha():
    engine = make_engine()
    engine.mixed_epoch(0, True)
    n_parameters = sum(len(group["params"]) for group in engine.weights_optimizer.param_groups)
    before, alphas = engine.tensors(), engine.alphas()["normal"]
    engine.abandon("normal", 7, "sep_conv_3x3")
    after = engine.tensors()
    gone = {name for name in before.keys() - after.keys() if name.startswith("weights.")}
    assert gone and all(".edges.7.sep_conv_3x3." in name for name in gone)
    n_gone = n_parameters - sum(len(group["params"]) for group in engine.weights_optimizer.param_groups)
    assert n_gone == len(gone) == len(engine.weights_optimizer.state) * -1 + n_parameters
    position = OPERATIONS["paper"].index("sep_conv_3x3")
    assert np.isnan(engine.alphas()["normal"][7, position])
    np.testing.assert_array_equal(np.delete(engine.alphas()["normal"][7], position), np.delete(alphas[7], position))
    state = before["architecture.exp_avg.alphas.normal.7"]
    expected = torch.cat([state[:position], state[position + 1 :]])
    assert torch.equal(after["architecture.exp_avg.alphas.normal.7"], expected)
    engine.mixed_epoch(1, True)


def test_training_learns_patterns_and_fitness_sees_it():
    engine = make_engine(units=12, binarizer="none", lr=0.1)
    path = random_path(2, names=CONVOLUTIONS)
    losses = [engine.path_epoch(path, unit).loss for unit in range(12)]
    assert losses[-1] < 0.5 * losses[0] and engine.fitness(path) > 0.9


@pytest.mark.parametrize("verification", [True, False])
def test_fitness_is_an_accuracy_and_changes_nothing(verification):
    engine = make_engine(data=make_data(verification=verification))
    before = engine.tensors()
    found = [engine.fitness(path) for path in (None, random_path(0), random_path(0))]
    assert all(0 <= value <= 1 for value in found) and found[1] == found[2]
    assert equal(before, engine.tensors())


def test_verification_fitness_of_identities_apart_is_high_after_training():
    engine = make_engine(units=8, data=make_data(verification=True), binarizer="none", lr=0.1)
    path = random_path(2, names=CONVOLUTIONS)
    for unit in range(8):
        engine.path_epoch(path, unit)
    assert engine.fitness(path) > 0.8


def test_learning_rate_is_a_cosine_over_the_units_and_begins_again_after_them():
    engine = make_engine(units=4)
    for unit in (0, 3, 7):
        engine.path_epoch(random_path(), unit)
        step = (unit % 4) * 3 + 2
        assert engine.weights_optimizer.param_groups[0]["lr"] == lr_at(step, peak=0.025, n_steps=12)


@pytest.mark.parametrize(("n_images", "sizes"), [(24, [8, 8, 8]), (10, [5, 5]), (17, [6, 6, 5]), (6, [6])])
def test_an_epoch_sees_every_image_once_in_batches_of_like_size(n_images, sizes):
    data = make_data(n_images)
    data = replace(data, training_labels=np.arange(n_images))
    batches = list(make_engine(data=data)._batches(0))
    assert [len(batch.labels) for batch in batches] == sizes
    assert sorted(np.concatenate([batch.labels for batch in batches])) == list(range(n_images))


def test_every_validation_image_is_used_before_any_is_used_twice():
    data = replace(make_data(24), validation_pixels=make_data(10).training_pixels, validation_labels=np.arange(10))
    labels = np.concatenate([batch.labels for batch in make_engine(data=data)._validation_batches(2)])
    assert len(labels) == 24 and sorted(labels[:10]) == sorted(labels[10:20]) == list(range(10))


def test_a_loss_that_is_not_finite_names_unit_and_learning_rate():
    engine = make_engine()
    with torch.no_grad():
        engine.network.classifier.weight.fill_(math.inf)
    with pytest.raises(TrainingError, match=r"became nan in epoch 3 .*learning rate 0\.0\d+"):
        engine.path_epoch(random_path(), 2)


@pytest.mark.parametrize("more", [{"binarizer": "pcnn"}, {"space": "onebit", "binarizer": "react"}])
def test_projections_shifts_and_slopes_do_not_decay(more):
    engine = make_engine(weight_decay=0.5, **more)
    engine.mixed_epoch(0, True)
    decays = {id(p): group["weight_decay"] for group in engine.weights_optimizer.param_groups for p in group["params"]}
    weights = engine.network.weights()
    assert len(decays) == len(weights)
    spared = {name for name, value in weights.items() if not decays[id(value)]}
    assert spared and spared == {name for name in weights if name.startswith("cells.") and weights[name].dim() == 1}
    engine.abandon("normal", 0, "skip_connect")
    engine.load_tensors(engine.tensors())
    assert sum(len(group["params"]) for group in engine.weights_optimizer.param_groups) == len(engine.network.weights())


def test_reset_makes_fresh_weights_and_keeps_the_architecture():
    engine = make_engine()
    engine.mixed_epoch(0, True)
    engine.abandon("normal", 0, "sep_conv_3x3")
    before = engine.tensors()
    engine.reset(3)
    after = engine.tensors()
    first = after["network.stem.first.0.weight"]
    assert not torch.equal(first, before["network.stem.first.0.weight"])
    assert not any(name.startswith("weights.") for name in after)
    kept = [name for name in before if "alphas" in name or "betas" in name or name.startswith("remaining")]
    assert kept and all(torch.equal(before[name], after[name]) for name in kept)
    engine.reset(4)
    assert not torch.equal(first, engine.tensors()["network.stem.first.0.weight"])
    engine.reset(3)
    assert torch.equal(first, engine.tensors()["network.stem.first.0.weight"])


def test_state_of_another_network_is_refused():
    saved = make_engine().tensors()
    for more in ({"channels": 8}, {"cells": 4}, {"space": "onebit"}):
        with pytest.raises(CheckpointError, match="belongs to another search network"):
            make_engine(**more).load_tensors(saved)
    saved.pop("remaining.normal")
    with pytest.raises(CheckpointError, match="belongs to another search network"):
        make_engine().load_tensors(saved)
