"""Run folders read back what was written, and say clearly what is wrong with a damaged one; cost counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import CheckpointError
from bnas_face.models import cost, saved

MODEL = ModelConfig(binarizer="xnor", activation_bits=1, size_px=64, width=0.125, embedding_dim=8)


@pytest.fixture
def run(tmp_path):
    model = models.build(MODEL)
    saved.save(tmp_path / "mine", model, TrainConfig(name="mine", model=MODEL), {"dataset": "lfw"})
    return tmp_path / "mine", model


def test_a_saved_network_gives_the_same_embeddings(run):
    folder, model = run
    loaded, config, info = saved.load(folder)
    images = torch.randn(2, 3, 64, 64)
    assert config == MODEL and not loaded.training
    assert info["schema"] == "bnas_face.run/1" and info["training_data"] == {"dataset": "lfw"}
    torch.testing.assert_close(loaded(images), model.eval()(images), rtol=0, atol=0)


def test_a_network_in_channels_last_is_saved_alike(run, tmp_path):
    _, model = run
    model.to(memory_format=torch.channels_last)
    saved.save(tmp_path / "other", model, TrainConfig(name="other", model=MODEL))
    loaded, _, _ = saved.load(tmp_path / "other")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_truncated_weights_are_one_clear_line_naming_the_file(run, length):
    folder, _ = run
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(CheckpointError) as caught:
        saved.load(folder)
    assert "weights.safetensors' (" in str(caught.value) and "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(run, tmp_path):
    folder, _ = run
    for change, message in (
        ({"backbone": "mobilefacenet"}, "lacks tensor"),
        ({"shortcuts": "block"}, "lacks tensor"),
        ({"embedding_dim": 16}, r"of shape \(8, 1024\); expected \(16, 1024\)"),
    ):
        _edit(folder, lambda info, change=change: info["model"].update(change))
        with pytest.raises(CheckpointError, match=message):
            saved.load(folder)
        _edit(folder, lambda info: info["model"].update(backbone="iresnet18", shortcuts="convolution", embedding_dim=8))
    saved.load(folder)


def _edit(folder, change):
    path = folder / "config.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda info: info["model"].update(backbone="iresnet19"),
            "Unknown backbone 'iresnet19'. Did you mean 'iresnet18'",
        ),
        (lambda info: info["model"].update(size_px=100), "64 or 112 px, not 100"),
        (lambda info: info["model"].update(width=-1), "The width is -1"),
        (lambda info: info["model"].update(colour="red"), "unknown model settings colour"),
        (lambda info: info.update(schema="other/1"), "has schema 'other/1'; expected 'bnas_face.run/1'"),
        (lambda info: info.pop("model"), "lacks its name or its model"),
    ],
)
def test_a_config_that_cannot_be_built_is_named(run, change, message):
    folder, _ = run
    _edit(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        saved.load(folder)
    assert "config.json" in str(caught.value)


def test_damaged_config_names_line_and_column(run):
    folder, _ = run
    (folder / "config.json").write_text('{"schema": ')
    with pytest.raises(CheckpointError, match="damaged JSON at line 1"):
        saved.load(folder)


def test_an_unfinished_run_says_how_to_go_on(run):
    folder, _ = run
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CheckpointError, match="bnasface train --name mine --resume"):
        saved.load(folder)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no run folder"):
        saved.load(tmp_path)


def test_cost_counts_binary_and_float_parameters(run):
    folder, model = run
    table = cost.summary(model, MODEL, weights_file=folder / "weights.safetensors")
    # 8, 16, 32, 64 channels: per stage the widening 3×3 convolution and three more
    binary = sum(9 * out * (into + 3 * out) for into, out in ((8, 8), (8, 16), (16, 32), (32, 64)))
    assert table["n_binary_parameters"] == binary
    assert table["n_parameters"] == binary + table["n_float_parameters"]
    assert (table["weight_bits"], table["activation_bits"]) == (1, 1)
    assert table["file_bytes"] == (folder / "weights.safetensors").stat().st_size > 4 * table["n_parameters"]
    assert "simulated" in table["file_format"]
    assert table["packed_bytes"] < table["file_bytes"]


def test_the_twin_costs_the_same_number_of_parameters_at_32_bits(run):
    _, model = run
    config = ModelConfig(size_px=64, width=0.125, embedding_dim=8)
    table = cost.summary(models.build(config), config)
    assert table["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert (table["weight_bits"], table["n_binary_parameters"], table["file_bytes"]) == (32, 0, None)


def test_a_setting_that_torch_refuses_is_one_sentence(tmp_path: Path) -> None:
    saved.save_config(tmp_path, TrainConfig(name="mine", model=ModelConfig()), {})
    (tmp_path / "weights.safetensors").write_bytes(b"")
    info = json.loads((tmp_path / "config.json").read_text())
    info["model"]["embedding_dim"] = 12.5
    (tmp_path / "config.json").write_text(json.dumps(info))
    with pytest.raises(CheckpointError, match=r"config\.json' describes no network that can be built") as caught:
        saved.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("binarizer", ["none", "xnor", "pcnn", "react"])
@pytest.mark.parametrize("backbone", ["iresnet18", "mobilefacenet", "searched"])
def test_costs_by_kind_of_layer_add_up_to_the_whole(backbone: str, binarizer: str) -> None:
    if (backbone, binarizer) == ("searched", "react"):
        pytest.skip("the cells of space paper have no 1-bit activations")
    genotype = genotypes.PUBLISHED["bnas_xnor_1"] if backbone == "searched" else None
    config = ModelConfig(
        backbone=backbone,
        binarizer=binarizer,
        activation_bits=1 if binarizer == "react" else 32,
        genotype=genotype,
        cells=3,
        channels=4,
        size_px=64,
        width=0.25,
        embedding_dim=16,
    )
    model = models.build(config)
    whole, rows = cost.summary(model, config), cost.by_kind(model, 64)
    assert sum(row["n_parameters"] for row in rows) == whole["n_parameters"]
    assert sum(row["packed_bytes"] for row in rows) == pytest.approx(whole["packed_bytes"], abs=len(rows))
    binary = sum(row["n_parameters"] for row in rows if row["kind"] == "1-bit convolution")
    assert whole["n_binary_parameters"] <= binary <= 1.1 * whole["n_binary_parameters"]  # react's have thresholds
    assert [row["kind"] for row in rows] == [kind for kind in cost.KINDS if kind in {row["kind"] for row in rows}]


def test_multiply_accumulates_are_those_of_the_formula_and_the_model_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16, 5))
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    macs = {row["kind"]: row["n_macs"] for row in cost.by_kind(model, 8)}
    assert macs == {"convolution": 27 * 8 * 16, "linear": 128 * 5, "normalisation": 0}
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
