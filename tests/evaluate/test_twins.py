"""Which network is whose full-precision twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.evaluate import twins
from bnas_face.models import saved
from bnas_face.train import recipe


def run(name: str, binarizer: str = "none", **changes: Any) -> dict[str, str]:
    model = {
        "backbone": "iresnet18",
        "binarizer": binarizer,
        "activation_bits": 32,
        "weight_scale": "filter",
        "width": 1.0,
    }
    model |= {key: changes.pop(key) for key in list(changes) if key in model}
    settings = {"schema": "bnas_face.run/1", "name": name, "dataset": "demo", "epochs": 3, "lr": 0.1, "seed": 0}
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**settings, "model": model, **changes}))
    return {"id": name, "source": str(folder)}


def test_runs_that_differ_in_bits_and_learning_rate_alone_are_twins() -> None:
    models = [
        run("full"),
        run("w1a32", "xnor", lr=0.001, optimizer="adam"),
        run("w1a1", "xnor", activation_bits=1, weight_scale="layer"),
    ]
    assert twins.find(models) == ({"w1a32": "full", "w1a1": "full"}, [])


def test_a_twin_of_an_earlier_version_and_one_that_a_network_started_from_are_twins() -> None:
    config = TrainConfig(
        name="new",
        model=ModelConfig(binarizer="xnor", activation_bits=1, width=1.0),
        lr=0.1,
        epochs=3,
        init="runs/full",
        two_stage=0.5,
    )
    old, new = run("full", training_data={"n_images": 3}), Path("runs/new")
    saved.save_config(new, recipe.resolve(config), {"n_images": 3, "init": {"source": "runs/full"}})
    assert twins.find([old, {"id": "new", "source": str(new)}])[0] == {"new": "full"}


@pytest.mark.parametrize(
    "change", [{"dataset": "lfw"}, {"epochs": 4}, {"seed": 1}, {"ema": 0.9}, {"width": 0.5}, {"backbone": "x"}]
)
def test_runs_that_differ_in_anything_else_are_not_twins(change: dict[str, Any]) -> None:
    assert twins.find([run("full"), run("binary", "xnor", **change)]) == ({}, [])


def test_two_possible_twins_give_none_and_a_note() -> None:
    found, notes = twins.find([run("a"), run("b", lr=0.01), run("binary", "xnor")])
    assert found == {}
    assert notes == ["binary has 2 possible twins (a, b); name one with --twin binary=a"]


def test_an_explicit_twin_overrides_the_rule_by_id_or_by_source() -> None:
    models = [run("full"), run("other", epochs=9), run("binary", "xnor"), {"id": "net", "source": "onnx:net.onnx"}]
    assert twins.find(models, ["runs/binary/=other"])[0] == {"binary": "other"}
    assert twins.find(models, ["other=onnx:net.onnx"])[0] == {"other": "net", "binary": "full"}


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("full", "--twin is 'full'; expected MODEL=TWIN"),
        ("=full", "expected MODEL=TWIN"),
        ("full=binry", "--twin names 'binry', which is not evaluated here. Did you mean 'binary'?"),
        ("full=full", "makes a model its own twin"),
    ],
)
def test_a_wrong_twin_option_is_one_clear_sentence(pair: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        twins.find([run("full"), run("binary", "xnor")], [pair])
    assert message in str(caught.value)


def test_models_that_are_no_runs_have_no_twins() -> None:
    assert twins.find([{"id": "net", "source": "onnx:net.onnx"}, run("binary", "xnor")]) == ({}, [])
