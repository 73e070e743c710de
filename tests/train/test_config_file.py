"""Settings from a file, and a run's settings as one."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnas_face.cli.train import command
from bnas_face.config import TrainConfig, toml
from bnas_face.errors import ConfigError
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.models import saved
from bnas_face.train import presets, recipe

Tiny = Callable[..., TrainConfig]


def asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> TrainConfig:
    """What the command would train with."""
    found: list[TrainConfig] = []
    monkeypatch.setattr("bnas_face.train.loop.train", lambda config, *_, **__: found.append(config))
    result = CliRunner().invoke(command, ["--name", "mine", *arguments])
    if not found:
        assert result.exception is not None
        raise result.exception
    return found[0]


def write(text: str) -> str:
    Path("a.toml").write_text(text, encoding="utf-8")
    return "a.toml"


def test_keys_are_options_and_what_is_typed_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(
        'binarizer = "xnor"\nactivation-bits = 1\nbatch_size = 32\nlr = 1\nexclude-names-of = ["lfw", "cfp"]\n'
    )
    config = asked(monkeypatch, "--config", path, "--batch-size", "16")
    assert (config.model.binarizer, config.model.activation_bits, config.batch_size) == ("xnor", 1, 16)
    assert (config.lr, config.exclude_names_of) == (1.0, ("lfw", "cfp"))


def test_a_flag_of_a_file_can_be_typed_away(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('binarizer = "xnor"\nactivation-bits = 1\ninput-scale = true\n')
    assert asked(monkeypatch, "--config", path).model.input_scale
    assert not asked(monkeypatch, "--config", path, "--no-input-scale").model.input_scale


def test_a_file_wins_over_a_preset_and_may_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('preset = "quick"\nepochs = 7\n')
    config = asked(monkeypatch, "--config", path)
    assert (config.epochs, config.max_images, config.model.width) == (7, 10_000, 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs = 3", r"Unknown setting 'epocs' in 'a.toml'. Did you mean 'epochs'\? Keys are options"),
        ("batch-sise = 3", r"Did you mean 'batch-size'\?"),
        ('name = "x"', "Unknown setting 'name'"),
        ("batch-size = 3\nbatch_size = 4", "stands twice in 'a.toml'"),
        ("epochs = 1.5", "Setting 'epochs' in 'a.toml' is 1.5; expected a whole number"),
        ("epochs = true", "is True; expected a whole number"),
        ('lr = "0.1"', "Setting 'lr' in 'a.toml' is '0.1'; expected a number"),
        ("head = 3", "expected a text in quotes"),
        ("auxiliary = 1", "expected true or false"),
        ('exclude-names-of = "cfp"', "expected a list"),
        ("[model]\nwidth = 1", "Unknown setting 'model'"),
        ("epochs = ", "Settings file 'a.toml' cannot be read: Invalid value"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(monkeypatch, "--config", write(text))


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'b\.toml' cannot be read: No such file"):
        asked(monkeypatch, "--config", "b.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.999, "step_at": (0.1, 0.30000000000000004), "lr": 1e-7, "exclude_names_of": ("cfp", "lfw")},
        {"binarizer": "xnor", "activation_bits": 1, "two_stage": 0.5, "input_scale": True, "init": "runs/twin"},
        {"backbone": "searched", "genotype": BNAS_XNOR_1, "binarizer": "xnor", "size_px": 64},
    ],
)
def test_the_settings_of_a_run_trained_again_are_the_same(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    config = recipe.resolve(tiny("before", **changes))
    saved.save_config(tmp_path / "runs" / "before", config, {})
    again = asked(monkeypatch, "--config", "runs/before/config.toml")
    assert recipe.resolve(again) == recipe.resolve(tiny("mine", **changes))


SCALARS = st.one_of(st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(["a", "b_c", "d"]), st.one_of(SCALARS, st.lists(SCALARS))))
def test_any_text_and_number_survives_the_file(values: dict[str, Any]) -> None:
    found = tomllib.loads(toml.text(values, "about"))
    assert {key.replace("-", "_"): value for key, value in found.items()} == values


def test_the_recipe_of_casia_is_the_papers_as_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    config = asked(monkeypatch, "--preset", "casia_paper", "--dataset", "demo")
    assert (config.head, config.batch_size, config.lr, config.schedule) == ("arcface", 512, 0.1, "step")
    assert [round(share * 32_000) for share in config.step_at] == [20_000, 28_000]
    one_bit = presets.preset("casia_paper", "casia", activation_bits=1)
    assert (one_bit["optimizer"], one_bit["weight_decay"]) == ("adam", 0.0)


def test_quick_is_for_every_set_and_keeps_the_optimizer() -> None:
    for kind in ("faces", "objects"):
        assert "optimizer" not in presets.preset("quick", "folder:x", activation_bits=1, kind=kind)


def test_typed_cache_and_loading_go_before_a_files_and_not_together(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "--cache").loading == "cache"
    path = write("cache = true\n")
    assert asked(monkeypatch, "--config", path, "--loading", "memory").loading == "memory"
    path = write('loading = "stream"\n')
    assert asked(monkeypatch, "--config", path, "--cache").loading == "cache"
    with pytest.raises(ConfigError, match="--cache and --loading stream contradict each other"):
        asked(monkeypatch, "--cache", "--loading", "stream")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step-at", "0.5"], "--step-at is of --schedule step, and that is 'cosine'. Add it"),
        (["--poly-power", "2"], "--poly-power is of --schedule poly, and that is 'cosine'"),
        (["--momentum", "0.8", "--optimizer", "adam"], "--momentum is of --optimizer sgd, and that is 'adam'"),
        (["--drop-path", "0.1"], "--drop-path is of --backbone searched, and that is 'iresnet18'"),
        (["--teacher-weight", "2"], "--teacher-weight is of a teacher's embeddings"),
        (["--auxiliary-weight", "2"], "--auxiliary-weight is of an auxiliary classifier"),
    ],
)
def test_what_is_typed_and_has_no_effect_is_refused(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(monkeypatch, *arguments)


def test_what_a_file_says_without_effect_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "--config", write("momentum = 0.8\n"), "--optimizer", "adam").momentum == 0.8
    assert asked(monkeypatch, "--optimizer", "sgd", "--momentum", "0.8").momentum == 0.8
