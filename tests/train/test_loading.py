"""A training from record files: the same wherever the pixels are, and its images that cannot be read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bnas_face.config import TrainConfig
from bnas_face.data import datasets
from bnas_face.data.formats import encoded, record_sets, recordio
from bnas_face.data.images import FaceImages
from bnas_face.errors import DatasetError
from bnas_face.evaluate.embed import embed_images, open_embedder
from bnas_face.models import saved
from bnas_face.teacher import open_teacher
from bnas_face.train import left_out, loop

Tiny = Callable[..., TrainConfig]


@pytest.fixture
def rec(tmp_path: Path, people: Callable[..., FaceImages]) -> Path:
    """Twelve people's images of 64 px in CASIA's layout."""
    images = people(12)
    pixels = images.read(np.arange(len(images)))
    contents = {label: [encoded.encode_jpeg(image) for image in pixels[images.labels == label]] for label in range(12)}
    record_sets.write_identities(tmp_path / "set" / "train.rec", contents)
    return tmp_path / "set" / "train.rec"


def _damage(rec: Path, key: int, at: int = 32) -> int:
    """Blank a few bytes of a record; returns where it begins."""
    offset = recordio.read_index(rec.with_suffix(".idx"))[key]
    content = bytearray(rec.read_bytes())
    content[offset + at : offset + at + 8] = bytes(8)
    rec.write_bytes(content)
    return offset


def _settings(tiny: Tiny, rec: Path, name: str = "x", **more: object) -> TrainConfig:
    return tiny(name=name, dataset=f"records:{rec.parent}", development_share=0, **{"epochs": 1} | more)


def _weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return saved.load_tensors(run_dir / saved.WEIGHTS)


def _same_weights(one: Path, two: Path) -> bool:
    first, second = _weights(one), _weights(two)
    return all(torch.equal(value, second[name]) for name, value in first.items()) and first.keys() == second.keys()


def test_the_weights_are_the_same_wherever_the_pixels_are(tiny: Tiny, rec: Path, tmp_path: Path) -> None:
    ways = {"memory": 0, "cache": 1, "stream": 1}
    for how, workers in ways.items():
        loop.train(_settings(tiny, rec, loading=how, workers=workers, augment="strong"), tmp_path / how)
    assert all(_same_weights(tmp_path / "memory", tmp_path / how) for how in ways)


@pytest.mark.parametrize("at", [0, 32])  # the record's frame, the image itself
def test_a_corrupt_record_stops_the_training_and_skipping_it_is_counted(
    tiny: Tiny, rec: Path, tmp_path: Path, at: int
) -> None:
    offset = _damage(rec, 30, at)
    with pytest.raises(DatasetError) as error:
        loop.train(_settings(tiny, rec, loading="stream"), tmp_path / "x")
    place = f"(record 30 at byte {offset} of '{rec}')"
    assert str(error.value).startswith("Training set 'records:set': Image '30' cannot be decoded: ")
    assert place in str(error.value) and "--on-corrupt skip" in str(error.value)
    settings = _settings(tiny, rec, loading="stream", on_corrupt="skip", epochs=2)
    outcome = loop.train(settings, tmp_path / "x")
    (sentence,) = left_out.read(tmp_path / "x")
    assert place in sentence and outcome.left_out == 1
    with (tmp_path / "x" / "log.csv").open() as file:
        assert [row["left_out"] for row in csv.DictReader(file)] == ["1", "1"]


def test_what_is_left_out_does_not_depend_on_where_the_pixels_are(tiny: Tiny, rec: Path, tmp_path: Path) -> None:
    _damage(rec, 30)
    for how in ("memory", "cache", "stream"):
        loop.train(_settings(tiny, rec, loading=how, workers=0, on_corrupt="skip"), tmp_path / how)
    assert all(_same_weights(tmp_path / "memory", tmp_path / how) for how in ("cache", "stream"))
    assert left_out.read(tmp_path / "cache") == left_out.read(tmp_path / "stream") == left_out.read(tmp_path / "memory")


def test_a_training_that_stopped_at_a_corrupt_record_goes_on_without_it(tiny: Tiny, rec: Path, tmp_path: Path) -> None:
    _damage(rec, 30)
    settings = {"loading": "stream", "checkpoint_minutes": 0.0, "batch_size": 8, "epochs": 2}
    loop.train(_settings(tiny, rec, on_corrupt="skip", **settings), tmp_path / "whole")
    with pytest.raises(DatasetError):
        loop.train(_settings(tiny, rec, **settings), tmp_path / "x")
    assert not left_out.read(tmp_path / "x")
    loop.train(_settings(tiny, rec, on_corrupt="skip", **settings), tmp_path / "x", resume=True)
    assert _same_weights(tmp_path / "x", tmp_path / "whole")


def test_beginning_again_notes_again_what_is_left_out(tiny: Tiny, rec: Path, tmp_path: Path) -> None:
    _damage(rec, 30)
    settings = _settings(tiny, rec, on_corrupt="skip")
    for _ in range(2):  # the second as with --overwrite
        assert loop.train(settings, tmp_path / "x").left_out == 1
        assert len(left_out.read(tmp_path / "x")) == 1


@pytest.mark.parametrize("how", ["memory", "stream"])
def test_a_teacher_leaves_out_what_cannot_be_read_and_the_evaluation_is_told_so(
    tiny: Tiny, rec: Path, tmp_path: Path, how: str
) -> None:
    loop.train(_settings(tiny, rec), tmp_path / "big")
    offset = _damage(rec, 30)
    spec = str(tmp_path / "big")
    settings = _settings(tiny, rec, teacher=spec, loading=how, workers=0)
    with pytest.raises(DatasetError) as error:
        loop.train(settings, tmp_path / "x", teacher=open_teacher(spec))
    assert f"at byte {offset}" in str(error.value) and "--on-corrupt skip" in str(error.value)
    assert ".." not in str(error.value).replace(str(tmp_path), "")
    skipping = replace(settings, on_corrupt="skip")
    assert loop.train(skipping, tmp_path / "x", teacher=open_teacher(spec)).left_out == 1
    assert f"(record 30 at byte {offset} of" in left_out.read(tmp_path / "x")[0]
    found = embed_images(open_embedder(spec), datasets.load(settings.dataset))
    assert found.from_cache and [found.image_ids[row] for row in np.flatnonzero(found.failed)] == ["30"]


def test_parts_of_a_batch_that_lost_an_image_still_have_two_each(tiny: Tiny, rec: Path, tmp_path: Path) -> None:
    _damage(rec, 30)
    outcome = loop.train(_settings(tiny, rec, on_corrupt="skip", batch_size=8, accumulate=4), tmp_path / "x")
    assert outcome.left_out == 1 and np.isfinite(outcome.loss)
