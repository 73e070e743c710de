"""The packed engine equals the trained network: its bits after every sign, its embeddings, its decisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import NETWORKS, built, config_of, images_of
from torch import nn

from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.packed import Network, artifact, load, pack
from bnas_face.packed.artifact import Artifact


def packed(model: nn.Module, name: str, folder: Path, floats: str = "fp32") -> Network:
    """The network, written and opened again."""
    graph = pack.lower(model, config_of(name).size_px, floats=floats)
    path = folder / "model.bnn"
    artifact.write(path, Artifact(graph=graph, preprocessing=pack.PREPROCESSING, provenance={}))
    return load(path, threads=1)


def simulated(model: nn.Module, images: np.ndarray) -> np.ndarray:
    """What the network in torch makes of the images."""
    with torch.inference_mode():
        found: np.ndarray = model(torch.from_numpy(Preprocessing().apply(images))).numpy()
    return found


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of the rows."""
    found: np.ndarray = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_those_of_the_simulation(name: str, tmp_path: Path) -> None:
    model, images = built(name), images_of(name, 3)
    found, expected = packed(model, name, tmp_path)(images), simulated(model, images)
    assert found.shape == expected.shape and found.dtype == np.float32
    assert (1 - cosines(found, expected)).max() < 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
