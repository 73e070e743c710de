"""What result.json says of the cells of a searched network."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import CheckpointError, FormatError
from bnas_face.evaluate import embedders
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.models import saved

CONFIG = ModelConfig(backbone="searched", genotype=BNAS_XNOR_1)


def test_a_network_that_was_not_searched_has_no_genotype(tmp_path: Path) -> None:
    assert embedders._genotype(tmp_path, ModelConfig()) is None


def test_the_genotype_file_of_the_run_is_told_with_its_whole_origin(tmp_path: Path) -> None:
    cells = {name: BNAS_XNOR_1.cell(name) for name in genotypes.CELLS}
    own = genotypes.Genotype(space="paper", **cells, origin={"history": [{"round": 1}]})
    genotypes.save(tmp_path / "genotype.json", own)
    assert embedders._genotype(tmp_path, CONFIG) == own.to_json()


def test_without_the_file_the_settings_tell_it(tmp_path: Path) -> None:
    assert embedders._genotype(tmp_path, CONFIG) == BNAS_XNOR_1.to_json()


def test_a_genotype_file_of_other_cells_is_refused(tmp_path: Path) -> None:
    other = genotypes.Genotype(space="paper", normal=BNAS_XNOR_1.reduction, reduction=BNAS_XNOR_1.normal)
    genotypes.save(tmp_path / "genotype.json", other)
    with pytest.raises(CheckpointError, match="describes other cells than"):
        embedders._genotype(tmp_path, CONFIG)


def test_a_damaged_genotype_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "genotype.json").write_text("{")
    with pytest.raises(FormatError, match=r"genotype\.json"):
        embedders._genotype(tmp_path, CONFIG)


def test_a_run_of_a_searched_network_opens_with_its_genotype_and_history(tmp_path: Path) -> None:
    cells = {name: BNAS_XNOR_1.cell(name) for name in genotypes.CELLS}
    own = genotypes.Genotype(space="paper", **cells, origin={"searcher": "bnas", "history": [{"round": 1}]})
    config = ModelConfig(backbone="searched", genotype=own, cells=4, channels=4, size_px=64, embedding_dim=16)
    saved.save(tmp_path / "own", models.build(config), TrainConfig(name="own", model=config))
    info = embedders.open_embedder(str(tmp_path / "own"), device="cpu").info
    assert info["genotype"] == own.to_json()


def test_training_curves_keep_the_last_loss_of_every_epoch(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("epoch,step,loss,lr,development_accuracy\n1,10,9.5,0.1,\n1,20,8,0.1,0.5\n2,30,7.25,0.1,\n")
    assert embedders._history(log) == {"epoch": [1, 2], "loss": [8, 7.25], "development_accuracy": [0.5, None]}
    assert embedders._history(tmp_path / "none.csv") is None


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "epoch,loss,development_accuracy\n1,zero,\n"])
def test_a_damaged_training_log_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(CheckpointError, match=r"log\.csv' is no training log"):
        embedders._history(tmp_path / "log.csv")


def test_long_training_curves_keep_their_last_epoch_and_every_accuracy(tmp_path: Path) -> None:
    rows = [f"{k},{'nan' if k == 7 else 1},{0.5 if k == 500 else ''}" for k in range(1, 1001)]
    (tmp_path / "log.csv").write_text("epoch,loss,development_accuracy\n" + "\n".join(rows) + "\n")
    found = embedders._history(tmp_path / "log.csv")
    assert found is not None
    assert found["epoch"][-1] == 1000 and 500 in found["epoch"]
    assert len(found["epoch"]) <= embedders.MOST_EPOCHS + 2
    (tmp_path / "log.csv").write_text("epoch,loss,development_accuracy\n1,nan,\n")
    assert embedders._history(tmp_path / "log.csv") == {"epoch": [1], "loss": [None], "development_accuracy": [None]}
