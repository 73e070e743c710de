"""Networks of a genotype: parameters of the released cell, tasks, drop-path, auxiliary classifier, run folders."""

from __future__ import annotations

import json

import pytest
import torch

from bnas_face import genotype as genotypes
from bnas_face import models
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import CheckpointError, ConfigError
from bnas_face.evaluate import twins
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.models import cost, saved
from bnas_face.models.backbones import searched
from bnas_face.train import recipe, runs

ONEBIT_PAIRS = [
    *(("conv_3x3", 0), ("skip_connect", 1), ("dil_conv_3x3", 0), ("conv_5x5", 2)),
    *(("max_pool_3x3", 1), ("avg_pool_3x3", 2), ("dil_conv_5x5", 4), ("skip_connect", 0)),
]
ONEBIT = genotypes.from_pairs("onebit", ONEBIT_PAIRS, ONEBIT_PAIRS)
NETWORKS = [
    (BNAS_XNOR_1, "none", 32),
    (BNAS_XNOR_1, "xnor", 32),
    (ONEBIT, "none", 32),
    (ONEBIT, "xnor", 32),
    (ONEBIT, "xnor", 1),
    (ONEBIT, "react", 1),
]


def _config(genotype=BNAS_XNOR_1, binarizer="xnor", activation_bits=32, **more):
    values = {"cells": 5, "channels": 4, "size_px": 32, "embedding_dim": 6} | more
    return ModelConfig(
        backbone="searched", genotype=genotype, binarizer=binarizer, activation_bits=activation_bits, **values
    )


@pytest.mark.parametrize(("channels", "binary_m", "float_m"), [(36, 2.41, 0.09), (44, 3.56, 0.13)])
@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_released_cell_has_the_known_number_of_parameters(channels, binary_m, float_m, auxiliary):
    config = _config(
        cells=20,
        channels=channels,
        task="classification",
        embedding_dim=10,
        weight_scale="layer",
        auxiliary=auxiliary,
    )
    table = cost.summary(models.build(config), config)
    assert table["n_binary_parameters"] == pytest.approx(binary_m * 1e6, rel=0.02)
    assert table["n_parameters"] == pytest.approx((binary_m + float_m) * 1e6, rel=0.02)
    # The known figure of the float ones has two decimals, so 2 % is less than its rounding.
    assert round(table["n_float_parameters"] / 1e6, 2) == float_m
    exact = {36: (2_407_536, 92_278), 44: (3_560_304, 126_862)}[channels]
    assert (table["n_binary_parameters"], table["n_float_parameters"]) == exact


@pytest.mark.parametrize(("genotype", "binarizer", "activation_bits"), NETWORKS)
@pytest.mark.parametrize("task", ["embedding", "classification"])
def test_every_parameter_gets_a_gradient(genotype, binarizer, activation_bits, task):
    torch.manual_seed(0)
    model = models.build(_config(genotype, binarizer, activation_bits, task=task, auxiliary=task == "classification"))
    output = model(torch.randn(8, 3, 32, 32))
    loss = (output * torch.randn(8, 6)).sum()
    if model.auxiliary_logits is not None:
        loss = loss + (model.auxiliary_logits * torch.randn(8, 6)).sum()
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("task", "size_px"),
    [("embedding", 32), ("embedding", 64), ("embedding", 112), ("classification", 32), ("classification", 224)],
)
@pytest.mark.parametrize("genotype", [BNAS_XNOR_1, ONEBIT])
def test_image_becomes_embedding_or_logits(task, size_px, genotype):
    model = models.build(_config(genotype, "none", task=task, size_px=size_px, cells=3)).eval()
    with torch.no_grad():
        assert model(torch.randn(2, 3, size_px, size_px)).shape == (2, 6)


@pytest.mark.parametrize("n_cells", [3, 4, 5, 7])
@pytest.mark.parametrize("task", ["embedding", "classification"])
def test_few_cells_build_too(n_cells, task):
    model = models.build(_config(ONEBIT, "xnor", 1, cells=n_cells, task=task))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 6)


def test_the_memory_format_channels_last_is_kept():
    model = models.build(_config(ONEBIT, "xnor", 1)).to(memory_format=torch.channels_last).eval()
    formats = []
    for cell in model.cells:
        cell.register_forward_hook(
            lambda _, __, output: formats.append(output.is_contiguous(memory_format=torch.channels_last))
        )
    with torch.no_grad():
        model(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert formats == [True] * 5


@pytest.mark.parametrize(("genotype", "activation_bits"), [(BNAS_XNOR_1, 32), (ONEBIT, 32), (ONEBIT, 1)])
def test_a_network_and_its_twin_differ_in_their_bits_alone(genotype, activation_bits):
    built = []
    for binarizer, bits in (("xnor", activation_bits), ("none", 32)):
        torch.manual_seed(0)
        built.append(models.build(_config(genotype, binarizer, bits)).eval())
    binary, twin = (model.state_dict() for model in built)
    assert list(binary) == list(twin) and all(torch.equal(binary[name], twin[name]) for name in binary)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(built[0](images), built[1](images))
    tables = [cost.summary(model, _config(genotype)) for model in built]
    assert tables[0]["n_parameters"] == tables[1]["n_parameters"] and tables[1]["n_binary_parameters"] == 0


def test_values_stay_of_one_size_through_twenty_cells():
    model = models.build(_config(ONEBIT, "xnor", 1, cells=20))
    sizes = []
    for cell in model.cells:
        cell.register_forward_hook(lambda _, __, output: sizes.append(output.detach().std().item()))
    model(torch.randn(16, 3, 32, 32))
    assert max(sizes) < 10 and min(sizes) > 0.1


@pytest.mark.parametrize("genotype", [BNAS_XNOR_1, ONEBIT])
def test_stem_and_head_stay_float(genotype):
    model = models.build(_config(genotype, task="classification", auxiliary=True))
    for part in (model.stem, model.head, model.auxiliary_head):
        assert cost.binary_parameters(part) == 0
    assert cost.binary_parameters(model) > 0


def test_dropped_samples_are_zero_and_the_others_are_scaled():
    torch.manual_seed(0)
    values = torch.ones(1000, 2, 3, 3)
    output = searched.dropped(values, 0.25)
    first = output[:, 0, 0, 0]
    assert torch.equal(output, first[:, None, None, None].expand_as(output))
    assert sorted(set(first.tolist())) == pytest.approx([0, 1 / 0.75])
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.05)


def test_drop_path_works_in_training_mode_alone_and_spares_identities():
    torch.manual_seed(0)
    model = models.build(_config(binarizer="none"))
    images = torch.randn(8, 3, 32, 32)
    model.eval()
    model.drop_path = 0.5
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))
    skips = [("skip_connect", 0), ("skip_connect", 1)] * 4
    cell_of_skips = genotypes.from_pairs("paper", skips, skips)
    model = models.build(_config(cell_of_skips, "none", task="classification"))
    model.cells = model.cells[:1]  # one normal cell: identities alone
    before, previous = model.stem(images)
    assert torch.equal(model.cells[0](before, previous, 0.9), model.cells[0](before, previous, 0.0))


def test_auxiliary_logits_are_there_in_training_mode_alone():
    model = models.build(_config(task="classification", auxiliary=True))
    images = torch.randn(4, 3, 32, 32)
    assert model(images).shape == (4, 6)
    assert model.auxiliary_logits.shape == (4, 6) and model.auxiliary_at == 3
    model.eval()(images)
    assert model.auxiliary_logits is None
    without = models.build(_config(task="classification"))
    without(images)
    assert without.auxiliary_logits is None


@pytest.mark.parametrize(("side", "size_px"), [(8, 32), (7, 224), (16, 128), (4, 16)])
def test_the_auxiliary_classifier_takes_every_side(side, size_px):
    head = searched.AuxiliaryHead(8, side, 5)
    assert head(torch.randn(2, 8, side, side)).shape == (2, 5)
    config = _config(task="classification", auxiliary=True, size_px=size_px, cells=3, binarizer="none")
    models.build(config)(torch.randn(2, 3, size_px, size_px))


def test_the_classifiers_cost_leaves_the_auxiliary_head_out():
    config, more = (_config(task="classification", auxiliary=auxiliary) for auxiliary in (False, True))
    tables = [cost.summary(models.build(c), c) for c in (config, more)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("binarizer", ["xnor", "react"])
def test_one_bit_activations_in_space_paper_are_refused(binarizer):
    with pytest.raises(
        ConfigError, match=r"'paper' has a ReLU before every sign.*Use --activation-bits 32, or a genotype"
    ):
        models.build(_config(binarizer=binarizer, activation_bits=1))


def test_images_too_small_are_refused():
    with pytest.raises(ConfigError, match="at least 16 px, not 8"):
        models.build(_config(size_px=8))


def test_a_backbone_of_faces_alone_cannot_classify():
    with pytest.raises(ConfigError, match="Backbone 'iresnet18' makes embeddings of faces and cannot do 'classificat"):
        models.build(ModelConfig(task="classification"))


@pytest.fixture
def run(tmp_path):
    config = recipe.resolve(TrainConfig(name="mine", model=_config(cells=3, channels=2)))
    model = models.build(config.model)
    saved.save(tmp_path / "mine", model, config)
    return tmp_path / "mine", model, config


def test_a_saved_network_gives_the_same_embeddings(run):
    folder, model, config = run
    loaded, read, _ = saved.load(folder)
    assert read == config.model and read.genotype.origin == BNAS_XNOR_1.origin
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded(images), model.eval()(images))


def test_the_genotype_stands_beside_the_config_and_in_it(run):
    folder, _, _ = run
    beside = json.loads((folder / "genotype.json").read_text())
    assert beside == json.loads((folder / "config.json").read_text())["model"]["genotype"] == BNAS_XNOR_1.to_json()


def test_a_run_of_another_backbone_has_no_genotype_file(tmp_path):
    saved.save_config(tmp_path, TrainConfig(name="mine", model=ModelConfig()), {})
    assert not (tmp_path / "genotype.json").exists()


def test_a_run_goes_on_with_its_genotype(run):
    folder, _, config = run
    (folder / "weights.safetensors").unlink()
    assert runs.agrees(folder, config)
    assert runs.from_json(saved.load_config(folder)) == config
    asked = TrainConfig(name="mine", model=_config(cells=3, channels=2))
    assert runs.begin(asked, folder, resume=True, overwrite=False, given={"genotype", "cells"}) == config


def test_going_on_with_another_genotype_is_refused_in_one_sentence(run):
    folder, _, _ = run
    (folder / "weights.safetensors").unlink()
    asked = TrainConfig(name="mine", model=_config(ONEBIT, cells=3, channels=2))
    assert not runs.agrees(folder, asked)
    with pytest.raises(ConfigError, match=r"--genotype is 'onebit-[0-9a-f]{8}', but run 'mine' was begun with 'paper-"):
        runs.begin(asked, folder, resume=True, overwrite=False, given={"genotype"})


def test_a_damaged_genotype_of_a_run_is_one_clear_error(run):
    folder, _, _ = run
    info = json.loads((folder / "config.json").read_text())
    info["model"]["genotype"]["normal"][0][0][0] = "conv_11x11"
    (folder / "config.json").write_text(json.dumps(info))
    for read in (lambda: saved.load(folder), lambda: runs.from_json(saved.load_config(folder))):
        with pytest.raises(CheckpointError, match=r"config\.json.*Operation 'conv_11x11' at node 2") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged JSON at line 1"), (json.dumps(ONEBIT.to_json()), r"is not the genotype in config\.json")],
)
def test_a_genotype_file_that_disagrees_with_its_run_is_named(run, content, message):
    folder, _, _ = run
    (folder / "genotype.json").write_text(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        saved.load(folder)
    assert "genotype.json" in str(caught.value)
    (folder / "genotype.json").unlink()
    saved.load(folder)


def test_twins_share_their_cells_whatever_the_origin(tmp_path):
    other_origin = genotypes.from_json({**BNAS_XNOR_1.to_json(), "origin": {"searcher": "by hand"}})
    reduced = genotypes.Genotype(space="paper", normal=BNAS_XNOR_1.normal, reduction=BNAS_XNOR_1.normal)
    found = []
    for name, genotype, binarizer in (
        ("binary", BNAS_XNOR_1, "xnor"),
        ("twin", other_origin, "none"),
        ("other", reduced, "none"),
    ):
        config = TrainConfig(name=name, model=_config(genotype, binarizer))
        saved.save_config(tmp_path / name, config, {})
        found.append({"id": name, "source": str(tmp_path / name)})
    assert twins.find(found) == ({"binary": "twin"}, [])
