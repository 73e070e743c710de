"""Starting from another run's weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnas_face import models
from bnas_face.config import TrainConfig
from bnas_face.errors import CheckpointError, ConfigError
from bnas_face.models import saved
from bnas_face.train import loop, start

Tiny = Callable[..., TrainConfig]
ONE_BIT: dict[str, Any] = {"binarizer": "xnor", "activation_bits": 1}


def finished(path: Path, config: TrainConfig) -> Path:
    """A run folder of a network with fresh weights."""
    saved.save(path, models.build(config.model), config)
    return path


@pytest.mark.parametrize(("binarizer", "fresh"), [("xnor", ""), ("react", "shift"), ("pcnn", "projection")])
def test_a_binarized_network_takes_all_of_its_twin_and_starts_fresh_what_the_binarizer_adds(
    tmp_path: Path, tiny: Tiny, binarizer: str, fresh: str
) -> None:
    twin = finished(tmp_path / "twin", tiny("twin"))
    config = tiny(**{**ONE_BIT, "binarizer": binarizer}).model
    network = models.build(config)
    begun = start.read(str(twin), config, tmp_path / "mine")
    begun.apply(network)
    theirs = saved.load(twin)[0].state_dict()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in theirs.items())
    assert {name.rpartition(".")[2] for name in begun.fresh} == ({fresh} if fresh else set())
    assert (" start fresh" in str(begun)) == bool(fresh)


def test_a_twin_takes_what_it_has_of_a_binarized_run(tmp_path: Path, tiny: Tiny) -> None:
    run = finished(tmp_path / "one_bit", tiny("one_bit", **{**ONE_BIT, "binarizer": "pcnn"}))
    begun = start.read(str(run), tiny().model, tmp_path / "mine")
    assert {name.rpartition(".")[2] for name in begun.unused} == {"projection"} and not begun.fresh
    assert "Not used of it: " in str(begun)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embedding_dim": 8},
            r"holds 'embedding.weight' of shape \(16, 1024\); this network has \(8, 1024\).*Give both",
        ),
        ({"backbone": "mobilefacenet"}, "lacks tensor .* it is another network"),
    ],
)
def test_another_network_is_refused_by_the_first_tensor_that_does_not_fit(
    tmp_path: Path, tiny: Tiny, changes: dict[str, Any], message: str
) -> None:
    twin = finished(tmp_path / "twin", tiny("twin"))
    with pytest.raises(CheckpointError, match=message):
        start.read(str(twin), tiny(**changes).model, tmp_path / "mine")


def test_a_run_cannot_start_from_itself_nor_from_one_that_is_not_there(tmp_path: Path, tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="cannot start from itself"):
        start.read(str(tmp_path / "mine"), tiny().model, tmp_path / "mine")
    with pytest.raises(CheckpointError, match="is no run folder"):
        start.read("runs/absent", tiny().model, tmp_path / "mine")


@pytest.mark.usefixtures("patterns")
def test_training_begins_with_the_weights_and_remembers_whose_they_are(tmp_path: Path, tiny: Tiny) -> None:
    twin = finished(tmp_path / "twin", tiny("twin", seed=3))
    lines: list[str] = []
    config = tiny(init=str(twin), lr=0.0, epochs=1, **ONE_BIT)
    loop.train(config, tmp_path / "mine", say=lines.append)
    mine, theirs = saved.load(tmp_path / "mine")[0], saved.load(twin)[0]
    assert torch.equal(mine.embedding.weight, theirs.embedding.weight)  # type: ignore[union-attr, arg-type]
    info = saved.load_config(tmp_path / "mine")
    assert info["init"] == str(twin) and len(info["training_data"]["init"]["weights_sha256"]) == 64
    assert lines == [f"Starts from {info['training_data']['init']['n_taken']} tensors of {twin}."]


@pytest.mark.usefixtures("patterns")
def test_a_resumed_run_needs_its_source_no_longer(tmp_path: Path, tiny: Tiny) -> None:
    twin = finished(tmp_path / "twin", tiny("twin", seed=3))
    loop.train(tiny(init=str(twin), epochs=1), tmp_path / "mine")
    (twin / "weights.safetensors").unlink()
    before = (tmp_path / "mine" / "weights.safetensors").read_bytes()
    (tmp_path / "mine" / "weights.safetensors").unlink()
    loop.train(tiny(init=str(twin), epochs=1), tmp_path / "mine", resume=True)
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == before
    assert saved.load_config(tmp_path / "mine")["training_data"]["init"]["source"] == str(twin)
