"""The packed engine on photographs: its numbers are those of the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bnas_face import export, models
from bnas_face import genotype as genotypes
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.evaluate import protocol
from bnas_face.evaluate.embed import embed_images
from bnas_face.evaluate.embedders import open_embedder
from bnas_face.metrics import folds, thresholds
from bnas_face.models import saved

pytestmark = pytest.mark.realdata

PAIRS = [
    *(("conv_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("conv_5x5", 2)),
    *(("max_pool_3x3", 1), ("avg_pool_3x3", 2), ("dil_conv_5x5", 4), ("skip_connect", 0)),
]
N_FOLDS = 2
"""Of ten: 1,200 pairs."""
CONFIGS = {
    "iresnet18": ModelConfig(binarizer="xnor", activation_bits=1, width=0.13, embedding_dim=64),
    "searched": ModelConfig(
        backbone="searched",
        genotype=genotypes.from_pairs("onebit", PAIRS, PAIRS),
        binarizer="react",
        activation_bits=1,
        cells=4,
        channels=4,
        embedding_dim=64,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_pairs_of_lfw_are_decided_as_by_the_run(
    name: str, real_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights: scores near each other, so that many pairs lie at the threshold."""
    monkeypatch.setenv("BNASFACE_DATA", str(real_root))
    config = CONFIGS[name]
    torch.manual_seed(0)
    model = models.build(config).eval()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                part.running_var.uniform_(0.3, 3)  # type: ignore[union-attr]
                part.bias.normal_(0, 0.3)
    run = tmp_path / "runs" / "mine"
    saved.save(run, model, TrainConfig(name="mine", model=config))
    packed = export.export(run, "packed", floats="fp32").path
    lfw = protocol.load("lfw")
    assert isinstance(lfw, protocol.Protocol)
    pairs = lfw.pairs[lfw.pairs["fold"] < N_FOLDS]
    rows, position = np.unique(
        np.concatenate([lfw.reference[pairs.index], lfw.probe[pairs.index]]), return_inverse=True
    )
    first, second = position[: len(pairs)], position[len(pairs) :]
    ids = [lfw.images.image_ids[row] for row in rows]
    scores = []
    for spec in (packed, run):
        values = embed_images(open_embedder(str(spec)), lfw.images, ids=ids, cache=False).values
        scores.append((values[first] * values[second]).sum(axis=1))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
    fold, is_genuine = pairs["fold"].to_numpy(), pairs["is_genuine"].to_numpy()
    found = [folds.cross_validated(score, is_genuine, fold, thresholds.STRICT) for score in scores]
    np.testing.assert_array_equal(found[0].is_match, found[1].is_match)
    assert 0.4 < (found[0].is_match == is_genuine).mean() < 0.9
