"""Distillation: the losses by definition, and training that learns from a teacher, with and without names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_training import stopped_before

from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import ConfigError, TrainingError, UnknownNameError
from bnas_face.train import recipe
from bnas_face.train.distill import Teacher, Teaching
from bnas_face.train.learner import Learner
from bnas_face.train.loop import train
from bnas_face.train.source import check_names, prepare

Embedded = tuple[NDArray[np.float32], dict[int, str]]
MODEL = ModelConfig(size_px=64, width=0.125, embedding_dim=8)


def config(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "name": "x",
        "model": MODEL,
        "dataset": "demo:8x4@64",
        "epochs": 2,
        "batch_size": 8,
        "development_share": 0.0,
        "devices": "cpu",
        "threads": 1,
        "teacher": "runs/big",
    }
    return TrainConfig(**(settings | changes))


def pixels_as_embeddings(dim: int) -> Teacher:
    def embed(images: Any) -> Embedded:
        pixels = images.read(np.arange(len(images)))
        values = np.random.default_rng(0).normal(size=(pixels[0].size, dim))
        found = (pixels.reshape(len(pixels), -1) - 128.0) @ values
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32), {}

    return Teacher(info={"source": "runs/big", "weights_sha256": "00", "id": "big"}, embed=embed)


def test_the_losses_are_their_definitions() -> None:
    rng = torch.Generator().manual_seed(0)
    own, wanted = torch.randn(5, 4, generator=rng), torch.randn(5, 4, generator=rng)
    loss = Teaching(4, 4, embedding_weight=2.0, relation_weight=3.0)(own, wanted)
    cosine = lambda a, b: float(a @ b / a.norm() / b.norm())  # noqa: E731
    direct = np.mean([1 - cosine(a, b) for a, b in zip(own, wanted, strict=True)])
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    relations = np.mean([(cosine(own[i], own[j]) - cosine(wanted[i], wanted[j])) ** 2 for i, j in pairs])
    assert float(loss) == pytest.approx(2 * direct + 3 * relations, rel=1e-5)


def test_the_right_embeddings_cost_nothing_at_any_length() -> None:
    wanted = torch.nn.functional.normalize(torch.randn(6, 4))
    loss = Teaching(4, 4, embedding_weight=1.0, relation_weight=1.0)(7 * wanted, wanted)
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_embeddings_of_another_length_are_projected_and_relations_are_not() -> None:
    both = Teaching(4, 9, embedding_weight=1.0, relation_weight=1.0)
    assert sum(p.numel() for p in both.parameters()) == 36
    relations = Teaching(4, 9, embedding_weight=0.0, relation_weight=1.0)
    assert not list(relations.parameters())
    assert torch.isfinite(relations(torch.randn(3, 4), torch.randn(3, 9)))


def test_half_precision_embeddings_are_compared_in_float32() -> None:
    own, wanted = torch.randn(4, 8).bfloat16(), torch.nn.functional.normalize(torch.randn(4, 8))
    loss = Teaching(8, 8, embedding_weight=1.0, relation_weight=1.0)(own, wanted)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, Teaching(8, 8, embedding_weight=1.0, relation_weight=1.0)(own.float(), wanted))


def test_targets_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(TrainingError, match=r"3 embeddings and targets of shape \(2, 4\); expected one target each"):
        Teaching(4, 4, embedding_weight=1.0, relation_weight=0.0)(torch.randn(3, 4), torch.randn(2, 4))


def test_with_a_teacher_names_are_not_used_unless_asked_for() -> None:
    targets = np.ones((3, 5), np.float32)
    assert Learner(recipe.resolve(config()), 8, targets).head is None
    assert Learner(recipe.resolve(config(label_weight=0.5)), 8, targets).head is not None
    assert Learner(recipe.resolve(config(teacher="")), 8).head is not None


def test_every_image_meets_its_own_target_whatever_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels of a batch, unaugmented, give back the targets of that batch."""
    teacher = pixels_as_embeddings(5)
    seen: list[tuple[Any, Any]] = []
    real = Learner.forward

    def watched(self: Learner, pixels: Any, labels: Any, indices: Any = None) -> Any:
        assert self.targets is not None
        seen.append((pixels.numpy().copy(), self.targets[indices].numpy()))
        return real(self, pixels, labels, indices)

    monkeypatch.setattr(Learner, "forward", watched)
    monkeypatch.setattr("bnas_face.data.loader.Augmentation.apply", lambda self, pixels: pixels)
    train(config(), tmp_path / "x", teacher=teacher)
    assert len(seen) == 8
    for pixels, targets in seen:
        images = type("Images", (), {"read": lambda self, at, p=pixels: p, "__len__": lambda self, p=pixels: len(p)})()
        np.testing.assert_allclose(teacher.embed(images)[0], targets, atol=1e-5)


def test_a_killed_distillation_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """The projection is part of the saved state."""

    teacher = pixels_as_embeddings(5)
    settings = config(relation_weight=1.0, label_weight=0.1)
    train(settings, tmp_path / "whole", teacher=teacher)
    with stopped_before(6):
        train(settings, tmp_path / "stopped", teacher=teacher)
    train(settings, tmp_path / "stopped", teacher=teacher, resume=True)
    whole, stopped = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": ModelConfig(task="classification", embedding_dim=10)},
            "a network that classifies cannot learn them",
        ),
        ({"teacher_weight": 0.0}, "Every weight of the loss is 0"),
        ({"teacher": "", "label_weight": 0.0}, "--label-weight 0 leaves nothing to learn without a --teacher"),
        ({"relation_weight": -1.0}, "The weight of relations is -1"),
        ({"relation_weight": 1.0, "teacher": ""}, "--relation-weight is of a teacher's embeddings"),
    ],
)
def test_settings_that_teach_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_a_teacher_that_was_not_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Teacher is 'runs/big', and none was opened"):
        train(config(), tmp_path / "x")


def test_a_teacher_that_classifies_and_one_that_fails_on_an_image_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from bnas_face import teacher
    from bnas_face.evaluate.embed import Embeddings

    embedder = type("E", (), {"flip": False, "info": {"weights_sha256": "0", "id": "e"}})()
    monkeypatch.setattr(teacher, "open_embedder", lambda spec: embedder)
    with pytest.raises(ConfigError, match="Teacher 'runs/c10' classifies"):
        teacher.open_teacher("runs/c10")
    embedder.flip = True
    broken = Embeddings(
        values=np.zeros((1, 2), np.float32),
        failed=np.array([True]),
        image_ids=("a.jpg",),
        reasons={"a.jpg": "cut off."},
    )
    monkeypatch.setattr(teacher, "embed_images", lambda *arguments, **options: broken)
    images = type("Images", (), {"image_ids": ("a.jpg",)})()
    values, reasons = teacher.open_teacher("runs/big").embed(images)
    assert not values.any()
    assert reasons == {0: "Teacher 'runs/big' has no embedding of image 'a.jpg': cut off."}


def test_with_views_the_teacher_sees_what_its_pupil_sees(tmp_path: Path) -> None:
    seen: list[NDArray[np.uint8]] = []
    plain = pixels_as_embeddings(8)

    def embed(images: Any) -> Any:
        seen.append(images.read(np.arange(len(images))))
        return plain.embed(images)

    watching = Teacher(info=plain.info, embed=embed)
    data = prepare(config(views=2, augment="strong"), teacher=watching)
    assert data.targets is not None and len(data.targets) == 2 * 32 == len(data.labels)
    np.testing.assert_array_equal(data.images.read(np.arange(2 * 32))[0], seen[0])
    assert data.provenance["n_views"] == 2
    outcome = train(config(views=2, augment="strong", epochs=1), tmp_path / "x", teacher=plain)
    assert np.isfinite(outcome.loss)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"views": 2}, "would be the same image"), ({"views": 2, "augment": "photo", "teacher": ""}, "Name a --teacher")],
)
def test_views_without_a_teacher_or_a_difference_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**changes)


def test_a_mistyped_augmentation_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'stron'. Did you mean 'strong'"):
        check_names(config(augment="stron"))
