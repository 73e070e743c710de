"""Training on objects: what is learned from, the auxiliary loss, drop-path, clipping, presets, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from bnas_face.cli.train import command
from bnas_face.config import TrainConfig
from bnas_face.data import datasets, development
from bnas_face.data.images import FaceImages
from bnas_face.errors import ConfigError, DatasetError, UnknownNameError
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.models import saved
from bnas_face.train import presets, recipe, source
from bnas_face.train.learner import Learner, drop_paths, recognised
from bnas_face.train.loop import Trainer, train

Tiny = Callable[..., TrainConfig]
SEARCHED: dict[str, Any] = {
    "backbone": "searched",
    "genotype": BNAS_XNOR_1,
    "cells": 3,
    "channels": 4,
    "task": "classification",
    "size_px": 32,
    "head": "cross_entropy",
}
PAPER = ("--preset", "paper", "--backbone", "searched", "--genotype", "bnas_xnor_1")


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch, people: Callable[..., FaceImages]) -> list[str]:
    """``cifar10:train`` opens 80 patterns of 10 classes; the list says what was opened."""
    images = replace(people(n_identities=10, each=8), name="cifar10:train", size_px=64)
    opened: list[str] = []

    def load(spec: str) -> FaceImages:
        opened.append(spec)
        return images

    monkeypatch.setattr(datasets, "load", load)
    return opened


def classifier(tiny: Tiny, **more: Any) -> TrainConfig:
    return tiny(**({**SEARCHED, "embedding_dim": 10, "dataset": "cifar10", "epochs": 1} | more))


def test_a_classifier_trains_on_the_training_split_and_keeps_its_classes(
    objects: list[str], tiny: Tiny, tmp_path: Path
) -> None:
    outcome = train(classifier(tiny, auxiliary=True, drop_path=0.2, cutout_px=8, gradient_clip=5.0), tmp_path / "c10")
    assert set(objects) == {"cifar10:train"}
    assert 0 <= outcome.development_accuracy <= 1  # type: ignore[operator]
    data = json.loads((tmp_path / "c10" / "config.json").read_text())["training_data"]
    assert data["class_names"] == [f"person_{i}" for i in range(10)]
    assert (data["n_images"], data["n_identities"]) == (60, 10)
    assert (data["n_development_images"], data["n_development_identities"]) == (20, 10)
    model, config, _ = saved.load(tmp_path / "c10")
    assert config.genotype == BNAS_XNOR_1
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_test_split_is_refused_before_anything_is_opened(objects: list[str], tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'cifar10:test' is what 'cifar10' is tested on"):
        train(classifier(tiny, dataset="cifar10:test"), tmp_path / "c10")
    assert objects == []


def test_a_network_of_another_number_of_classes_is_refused(objects: list[str], tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes the network's 7 outputs as the logits of 10 classes"):
        train(classifier(tiny, embedding_dim=7), tmp_path / "c10")


def test_held_out_images_are_a_share_of_every_class(people: Callable[..., FaceImages]) -> None:
    images = people(n_identities=5, each=10)
    training, held = development.split_images(images, 0.2, seed=3)
    assert held.images_per_identity().tolist() == [2] * 5
    assert training.images_per_identity().tolist() == [8] * 5
    assert sorted(training.image_ids + held.image_ids) == sorted(images.image_ids)
    assert training.identity_names == held.identity_names == images.identity_names
    for part in (training, held):
        back = [images.image_ids.index(image_id) for image_id in part.image_ids]
        assert np.array_equal(part.read(np.arange(len(part))), images.read(np.array(back)))
        assert np.array_equal(part.labels, images.labels[back])
    assert development.split_images(images, 0.2, seed=3)[1].image_ids == held.image_ids
    assert development.split_images(images, 0.2, seed=4)[1].image_ids != held.image_ids


def test_a_class_of_one_image_cannot_be_held_out_from(people: Callable[..., FaceImages]) -> None:
    with pytest.raises(DatasetError, match=r"Class 'person_0' of dataset 'patterns' has 1 image"):
        development.split_images(people(n_identities=3, each=1), 0.2, seed=0)


def test_the_loss_is_cross_entropy_plus_the_weighted_auxiliary_one(tiny: Tiny) -> None:
    learner = Learner(recipe.resolve(classifier(tiny, auxiliary=True, auxiliary_weight=0.4)), 10)
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    labels = torch.tensor([0, 3, 9, 3])
    kept: list[torch.Tensor] = []
    learner.backbone.register_forward_hook(lambda module, _, output: kept.append(output))
    loss = learner(pixels, labels)
    expected = F.cross_entropy(kept[0], labels) + 0.4 * F.cross_entropy(learner.backbone.auxiliary_logits, labels)
    torch.testing.assert_close(loss, expected)
    learner.eval()
    torch.testing.assert_close(learner(pixels, labels), F.cross_entropy(kept[1], labels))


def test_drop_path_rises_with_the_epochs_and_stays_away_from_other_networks(
    objects: list[str], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    step = Trainer._step

    def watched(trainer: Trainer, batch: Any) -> float:
        seen.append(trainer.learner.backbone.drop_path)
        return step(trainer, batch)

    monkeypatch.setattr(Trainer, "_step", watched)
    train(classifier(tiny, epochs=4, drop_path=0.2, batch_size=60, development_share=0.25), tmp_path / "c10")
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15])
    plain = Learner(recipe.resolve(tiny()), 16).backbone
    drop_paths(plain, 0.3)
    assert not hasattr(plain, "drop_path")


def test_the_gradient_is_shortened_to_the_length_asked_for(
    objects: list[str], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[float] = []
    make = torch.optim.SGD.step

    def watched(optimizer: Any, *arguments: Any) -> Any:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        lengths.append(math.sqrt(sum(float(g.square().sum()) for g in grads)))
        return make(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    train(classifier(tiny, gradient_clip=0.01, optimizer="sgd", batch_size=30), tmp_path / "c10")
    assert max(lengths) == pytest.approx(0.01, rel=1e-3)


def test_a_resumed_classifier_ends_with_the_weights_of_an_uninterrupted_one(
    objects: list[str], tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = classifier(tiny, epochs=2, auxiliary=True, drop_path=0.4, cutout_px=8, batch_size=30)
    train(config, tmp_path / "whole")
    end_epoch = Trainer._end_epoch

    def killed(trainer: Trainer, epoch: int, progress: Any) -> None:
        end_epoch(trainer, epoch, progress)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut")
    monkeypatch.setattr(Trainer, "_end_epoch", end_epoch)
    train(config, tmp_path / "cut", resume=True)
    whole, cut = (saved.load_tensors(tmp_path / name / saved.WEIGHTS) for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_recognised_counts_the_largest_logit_once_without_mirror_image() -> None:
    class Network(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images[:, 0, 0, :3]  # the first three pixels of the top row as logits

    pixels = np.zeros((3, 4, 4, 3), np.uint8)
    pixels[0, 0, 0] = pixels[1, 0, 1] = pixels[2, 0, 2] = 255
    accuracy = recognised(Network(), pixels, np.array([0, 1, 0]), torch.device("cpu"), bf16=False)
    assert accuracy == pytest.approx(2 / 3)


def config_of(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """What the command would train with."""
    asked: list[TrainConfig] = []

    def caught(config: TrainConfig, *_: Any, **__: Any) -> None:
        asked.append(config)
        raise ConfigError("far enough")

    monkeypatch.setattr("bnas_face.train.loop.train", caught)
    found = CliRunner().invoke(command, ["--name", "c10", *arguments])
    assert isinstance(found.exception, ConfigError), found.output
    if not asked:
        raise found.exception
    return asked[0]


def test_a_set_of_objects_chooses_task_size_head_and_outputs_by_itself(
    objects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--dataset", "cifar10", "--backbone", "searched", "--genotype", "bnas_xnor_1", "--binarizer", "xnor")
    config = config_of(*arguments, monkeypatch=monkeypatch)
    assert (config.model.task, config.model.size_px, config.model.embedding_dim) == ("classification", 32, 10)
    assert (config.head, config.shift_px, config.model.genotype) == ("cross_entropy", 14, BNAS_XNOR_1)
    assert config_of(*arguments, "--size-px", "64", monkeypatch=monkeypatch).model.size_px == 64
    assert source.protocols_for(config) == ["cifar10"]


def test_folders_of_objects_of_ones_own_are_classified_when_asked(
    objects: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--dataset", "folder:things", "--task", "classification", "--genotype", "bnas_xnor_1")
    config = config_of(*arguments, monkeypatch=monkeypatch)
    assert objects == ["folder:things"]
    assert (config.model.task, config.model.size_px, config.model.embedding_dim) == ("classification", 64, 10)
    assert (config.head, config.model.backbone) == ("cross_entropy", "searched")
    assert source.protocols_for(config) == []


def test_faces_stay_as_they_were(objects: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("--dataset", "demo", monkeypatch=monkeypatch)
    assert config == TrainConfig(name="c10", model=config.model)
    assert (config.model.task, config.model.size_px, config.model.embedding_dim) == ("embedding", 64, 256)


def test_the_papers_preset_and_what_is_typed_wins(objects: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("--dataset", "cifar10", *PAPER, "--epochs", "3", monkeypatch=monkeypatch)
    model = config.model
    assert (model.cells, model.channels, model.auxiliary, model.drop_path) == (20, 36, True, 0.2)
    assert (config.cutout_px, config.auxiliary_weight, config.gradient_clip) == (16, 0.4, 5.0)
    assert (config.epochs, config.batch_size, config.lr, config.weight_decay) == (3, 96, 0.025, 3e-4)
    assert (config.optimizer, config.development_share) == ("sgd", 0.0)


def test_the_papers_preset_for_one_bit_activations_trains_by_adam() -> None:
    found = presets.preset("paper", "cifar10:train", activation_bits=1)
    assert (found["optimizer"], found["lr"], found["weight_decay"]) == ("adam", 1e-3, 0.0)


def test_an_unknown_preset_or_one_for_another_set_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown preset 'papr'\. Did you mean 'paper'\?"):
        presets.preset("papr", "cifar10", activation_bits=32)
    with pytest.raises(ConfigError, match=r"Preset 'paper' is a recipe for cifar10 and imagenet, not for 'lfw'"):
        presets.preset("paper", "lfw", activation_bits=32)


def test_every_preset_holds_settings_that_exist_and_can_be_used(tiny: Tiny) -> None:
    for name in presets.names():
        for dataset in presets.PRESETS[name]:
            for bits in (1, 32):
                found = presets.preset(name, dataset, activation_bits=bits)
                assert classifier(tiny, **found).batch_size == found["batch_size"]


def test_a_network_for_faces_alone_says_so(objects: list[str], tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Backbone 'mobilefacenet' makes embeddings of faces"):
        train(classifier(tiny, backbone="mobilefacenet", genotype=None, size_px=64), tmp_path / "c10")


def test_an_auxiliary_classifier_without_weight_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="leaves the auxiliary classifier nothing to learn"):
        classifier(tiny, auxiliary=True, auxiliary_weight=0.0)
