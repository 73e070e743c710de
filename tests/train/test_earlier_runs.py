"""An unfinished run of an earlier version goes on: its files have fewer settings, counters and columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_training import stopped_before

from bnas_face.config import TrainConfig
from bnas_face.train import checkpoint, loop, runs

SETTINGS = (
    *("name", "model", "dataset", "exclude_names_of", "min_images", "max_images", "head", "scale", "margin"),
    *("sub_centers", "epochs", "batch_size", "optimizer", "lr", "momentum", "weight_decay", "warmup_epochs"),
    *("precision", "devices", "seed", "development_share", "development_pairs", "development_epochs", "shift_px"),
    *("checkpoint_minutes", "threads", "auxiliary_weight", "cutout_px", "gradient_clip", "teacher", "teacher_weight"),
    *("relation_weight", "label_weight", "schema", "training_data"),
)
"""All that ``config.json`` held before schedules, stages and averages."""
COLUMNS = ("epoch", "step", "loss", "lr", "images_per_s", "development_accuracy")
COUNTERS = ("step", "loss_sum", "loss_count", "seconds")


def make_old(run_dir: Path) -> None:
    """Take away what the earlier version did not write."""
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: config[key] for key in SETTINGS} | {"label_weight": None}))
    (run_dir / "config.toml").unlink()
    state = run_dir / checkpoint.STATE
    with safe_open(state, framework="pt") as file:
        metadata = file.metadata()
    counters = json.loads(metadata["counters"])
    old = {"schema": metadata["schema"], "counters": json.dumps({key: counters[key] for key in COUNTERS})}
    save_file(load_file(state), state, old)
    with (run_dir / "log.csv").open(newline="") as file:
        rows = [{key: row[key] for key in COLUMNS} for row in csv.DictReader(file)]
    with (run_dir / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.usefixtures("patterns")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_unfinished_run_of_an_earlier_version_goes_on_to_the_same_weights(
    optimizer: str, tmp_path: Path, tiny: Callable[..., TrainConfig]
) -> None:
    config = tiny(binarizer="xnor", activation_bits=1, optimizer=optimizer)
    loop.train(config, tmp_path / "whole")
    with stopped_before(4):
        loop.train(config, tmp_path / "mine")
    make_old(tmp_path / "mine")
    found = runs.begin(tiny(), tmp_path / "mine", resume=True, overwrite=False)
    loop.train(found, tmp_path / "mine", resume=True)
    whole, mine = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "mine"))
    assert whole == mine
    with (tmp_path / "mine" / "log.csv").open(newline="") as file:
        assert [row["session"] for row in csv.DictReader(file)] == ["1", "2"]
