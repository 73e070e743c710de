"""``bnasface search``, ``bnasface show`` and what other commands make of a search's folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bnas_face import genotype as genotypes
from bnas_face.cli import cli
from bnas_face.cli.search import _OPTIONS, _summary
from bnas_face.config import SearchConfig
from bnas_face.errors import BnasFaceError, CheckpointError, ConfigError, FormatError
from bnas_face.genotype import BNAS_XNOR_1
from bnas_face.search import folder, presets

TINY = ["--cells", "3", "--channels", "2", "--channel-sampling", "1", "--warmup-epochs", "0", "--mixed-epochs", "0"]
TINY += ["--repeats", "1", "--batch-size", "16", "--devices", "cpu", "--threads", "1", "--checkpoint-minutes", "0"]


@pytest.fixture
def faces(tmp_path):
    """A folder of 4 people with 4 images each, coarse patterns."""
    generator = np.random.default_rng(0)
    for person in range(4):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        base = generator.integers(0, 256, (4, 4, 3)).repeat(16, axis=0).repeat(16, axis=1)
        for number in range(4):
            pixels = np.clip(base + generator.integers(-20, 21, (64, 64, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "faces" / f"p{person}" / f"{number}.png"), pixels)
    return f"folder:{tmp_path / 'faces'}"


def invoke(*arguments):
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=True)


def process(*arguments, **more):
    command = [sys.executable, "-m", "bnas_face", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **more)


def begun(name, **more):
    config = presets.resolve(SearchConfig(name=name, **more))
    folder.save_config(Path("runs", name), config, {})
    return Path("runs", name)


def test_a_search_killed_at_any_moment_goes_on_to_the_genotype_of_the_uninterrupted_one(faces):
    whole = invoke("search", "--dataset", faces, "--name", "whole", *TINY)
    assert whole.exit_code == 0, whole.output
    expected = genotypes.load("runs/whole/genotype.json")
    state = Path("runs/killed", folder.STATE)
    first = process("search", "--dataset", faces, "--name", "killed", *TINY)
    deadline = time.monotonic() + 120
    while not state.exists() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.15)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL and not Path("runs/killed/genotype.json").exists()
    first.communicate()
    n_done = folder.load_state(Path("runs/killed"))[1]["n_done"]
    assert 1 <= n_done < 19
    resumed = invoke("search", "--resume", "killed")
    assert resumed.exit_code == 0, resumed.output
    found = genotypes.load("runs/killed/genotype.json")
    assert found == expected and found.origin["history"] == expected.origin["history"]


def test_a_search_ends_with_what_to_type_next(faces):
    done = invoke("search", "--searcher", "random", "--samples", "1", "--dataset", faces, "--name", "s1", *TINY)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    train = f"bnasface train --backbone searched --genotype runs/s1/genotype.json --dataset {faces}"
    assert lines[-4].startswith("Searched runs/s1 in 0.0 minutes: runs/s1/genotype.json")
    assert lines[-3:] == [
        "Look at it:    bnasface show genotype runs/s1/genotype.json",
        f"Train it:      {train} --binarizer xnor --name s1-1bit",
        f"and its twin:  {train} --binarizer none --name s1-twin",
    ]


def test_what_to_type_next_fits_space_exclusions_and_full_precision():
    run_dir = Path("runs/s1")
    config = SearchConfig(name="s1", dataset="folder:my faces", space="onebit", exclude_names_of=("lfw", "cfp"))
    text = _summary(config, run_dir, 90.0)
    assert (
        "in 1.5 minutes" in text and "--dataset 'folder:my faces' --exclude-names-of lfw --exclude-names-of cfp" in text
    )
    assert "--binarizer xnor --activation-bits 1 --name s1-1bit" in text
    text = _summary(SearchConfig(name="s1", binarizer="none"), run_dir, 90.0)
    assert "Train it" in text and "1bit" not in text and "--binarizer none --name s1-twin" in text
    assert "--size-px" not in text
    text = _summary(SearchConfig(name="a b", size_px=112), Path("runs/a b"), 90.0)
    assert "show genotype 'runs/a b/genotype.json'" in text
    assert "--size-px 112 --binarizer xnor --name 'a b-1bit'" in text
    assert "--size-px" not in _summary(SearchConfig(name="s1", dataset="cifar10", size_px=32), run_dir, 90.0)


def test_objects_are_searched_at_their_size_and_shift_unless_typed(monkeypatch):
    seen = []

    def search(config, run_dir, **more):
        seen.append((config.size_px, config.shift_px))
        raise ConfigError("seen")

    monkeypatch.setattr("bnas_face.search.loop.search", search)
    invoke("search", "--dataset", "cifar10", "--preset", "quick", "--name", "x")
    invoke("search", "--dataset", "cifar10:train", "--size-px", "48", "--shift-px", "2", "--name", "x")
    invoke("search", "--dataset", "imagenet", "--name", "x")
    invoke("search", "--dataset", "lfw", "--name", "x")
    assert seen == [(32, 14), (48, 2), (64, 14), (64, 4)]


def test_options_that_a_searcher_does_not_use_are_named(faces):
    more = ("--searcher", "random", "--samples", "1", "--epochs", "2", "--no-reduction", "--ucb", "1")
    done = invoke("search", *more, "--dataset", faces, "--name", "s1", "--cells", "3", "--channels", "2")
    assert "Searcher random does not use --reduction, --ucb." in done.output.splitlines()
    assert presets.without_effect("bnas", ["ucb", "lr", "epochs"]) == ["epochs"]


def test_pc_darts_that_would_train_weights_only_is_refused():
    with pytest.raises(ConfigError, match="nothing would be searched"):
        presets.resolve(SearchConfig(name="x", searcher="pc_darts", epochs=3, frozen_epochs=3))
    assert presets.resolve(SearchConfig(name="x", searcher="pc_darts", epochs=1)).frozen_epochs == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "The search has no name. Add --name NAME, or --resume NAME"),
        (("--resume",), "The search has no name"),
        (("--name", "a", "--resume", "b"), "--name is 'a' and --resume is 'b'"),
        (("--resume", "fir5t"), "No search was begun in 'runs/fir5t'. Did you mean 'first'? Begin one with"),
        (("--name", "x", "--resume", "--overwrite"), "--resume and --overwrite contradict each other"),
        (("--name", "x", "--preset", "quik"), "Unknown preset 'quik'. Did you mean 'quick'? Known: paper, quick."),
        (("--name", "x", "--searcher", "bmas"), "Unknown searcher 'bmas'. Did you mean 'bnas'?"),
        (("--name", "x", "--space", "one_bit"), "Unknown search space 'one_bit'. Did you mean 'onebit'?"),
        (("--name", "x", "--binarizer", "xnro"), "Unknown binarizer 'xnro'. Did you mean 'xnor'?"),
        (("--name", "x", "--dataset", "demo_lfw"), "'demo_lfw' is a test protocol and cannot be searched on"),
        (("--name", "x", "--dataset", "cfp_fp"), "'cfp_fp' is a test protocol and cannot be searched on"),
        (("--name", "x", "--fitness", "luck"), "fitness 'luck' is not known"),
        (("--name", "x", "--channels", "10", "--channel-sampling", "4"), "Channel sampling 4 does not divide 10"),
        (("--name", "a/b"), "Run name 'a/b' is not a plain folder name"),
        (("--name", "x", "--cells", "0"), "number of cells is 0; it must lie between"),
        (("--name", "x", "--ucb", "-1"), "UCB weight is -1"),
        (("--name", "x", "--binarizer", "react"), "Binarizer 'react' does not go with space 'paper'"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence_and_exit_code_2(arguments, message):
    begun("first")
    result = invoke("search", *arguments)
    error = result.exception
    text = str(error) if isinstance(error, BnasFaceError) else result.output
    code = error.exit_code if isinstance(error, BnasFaceError) else result.exit_code
    assert message in text and code == 2
    assert not Path("runs/x").exists()


def test_a_dataset_too_small_to_split_is_one_clear_error(tmp_path):
    for person in ("a", "b"):
        (tmp_path / "few" / person).mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(tmp_path / "few" / person / f"{number}.png"), np.full((64, 64, 3), 99, np.uint8))
    done = process(
        "search", "--dataset", f"folder:{tmp_path / 'few'}", "--fitness", "verification", "--name", "x", *TINY
    )
    _, err = done.communicate()
    assert done.returncode == 1 and "is too small to split for a search: 4 images of 2 identities" in err
    assert err.count("\n") == 1 and "Traceback" not in err and not Path("runs/x").exists()


def test_resume_with_another_setting_names_both_values_but_the_machine_may_change():
    begun("s1", seed=3)
    result = invoke("search", "--resume", "s1", "--seed", "4")
    assert isinstance(result.exception, ConfigError)
    assert "--seed is '4', but search 's1' was begun with '3'" in str(result.exception)
    result = invoke("search", "--name", "s1", "--resume", "--preset", "quick")
    assert "was begun with" in str(result.exception)
    result = invoke("search", "--name", "s1")
    assert isinstance(result.exception, CheckpointError) and "bnasface search --resume s1" in str(result.exception)


def test_a_preset_gives_way_to_what_is_typed(monkeypatch, tmp_path):
    seen = []

    def search(config, run_dir, **more):
        seen.append(config)
        raise ConfigError("seen")

    monkeypatch.setattr("bnas_face.search.loop.search", search)
    invoke("search", "--preset", "quick", "--repeats", "2", "--name", "x", "--no-reduction", "--no-edge-normalisation")
    invoke("search", "--name", "x")
    quick = presets.preset("quick")
    assert (seen[0].repeats, seen[0].channels, seen[0].cells) == (2, quick["channels"], quick["cells"])
    assert (seen[0].reduction, seen[0].edge_normalisation) == (False, False)
    assert seen[1] == SearchConfig(name="x")


def test_every_preset_gives_valid_settings():
    for name in presets.PRESETS:
        for searcher in ("bnas", "pc_darts", "random"):
            config = presets.resolve(SearchConfig(name="x", searcher=searcher, **presets.preset(name)))
            assert config.channels % config.channel_sampling == 0


def test_every_setting_of_a_search_is_an_option():
    fields = set(SearchConfig.__dataclass_fields__)
    others = {"name", "reduction", "edge_normalisation", "exclude_names_of"}
    assert fields - {option[0] for option in _OPTIONS} - others <= {"precision"}


def test_a_search_is_never_taken_for_a_training_run():
    run_dir = begun("s1")
    genotypes.save(run_dir / "genotype.json", BNAS_XNOR_1)
    expected = (
        "'runs/s1' is a search and holds no trained network. Train what it found: bnasface train --backbone searched "
        "--genotype runs/s1/genotype.json --dataset demo --binarizer xnor --name s1-1bit."
    )
    for arguments in (
        ("eval", "--protocol", "demo_lfw", "--model", "runs/s1"),
        ("train", "--name", "s1"),
        ("train", "--name", "s1", "--resume"),
        ("train", "--name", "s1", "--overwrite"),
    ):
        result = invoke(*arguments)
        assert isinstance(result.exception, BnasFaceError), result.output
        assert str(result.exception) == expected, arguments
    assert (run_dir / "genotype.json").exists()
    result = invoke("eval", "--protocol", "demo_lfw")
    assert "there is no trained run in 'runs/'" in str(result.exception)


def test_a_training_run_is_never_taken_for_a_search():
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/config.json").write_text('{"schema": "bnas_face.run/1"}')
    for more in ((), ("--overwrite",), ("--resume",)):
        result = invoke("search", "--name", "mine", *more)
        assert "'runs/mine' is no search and not empty; it is left alone" in str(result.exception)
    assert "No search was begun in 'runs/mine'" in invoke("search", "--resume", "mine").output
    assert Path("runs/mine/config.json").exists()


def test_show_prints_both_cells_and_draws_them_beside_the_file():
    Path("runs/s1").mkdir(parents=True)
    genotypes.save(Path("runs/s1/genotype.json"), BNAS_XNOR_1)
    Path("runs/s2").mkdir()
    with pytest.raises(FormatError, match="'runs/s2' holds no genotype\\.json\\. A search writes it when"):
        genotypes.load("runs/s2")
    for source in ("runs/s1/genotype.json", "runs/s1"):
        Path("runs/s1/genotype.svg").unlink(missing_ok=True)
        shown = invoke("show", "genotype", source)
        assert shown.exit_code == 0, shown.output
        assert shown.output == genotypes.as_text(BNAS_XNOR_1) + "\nDrawn in runs/s1/genotype.svg\n"
        assert Path("runs/s1/genotype.svg").read_text().startswith("<svg")


def test_show_draws_a_published_genotype_where_it_is_asked_to(tmp_path):
    shown = invoke("show", "genotype", "bnas_xnor_1", "--out", str(tmp_path / "cells.svg"))
    assert shown.exit_code == 0 and "dil_conv_5x5" in (tmp_path / "cells.svg").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is neither a genotype file nor a published genotype"),
        ({"schema": "other"}, "has schema 'other'; expected 'bnas_face.genotype/1'. Write one with bnasface search"),
        ({**BNAS_XNOR_1.to_json(), "normal": []}, "normal cell is incomplete"),
    ],
)
def test_show_refuses_what_is_no_genotype(tmp_path, content, message):
    if content is not None:
        (tmp_path / "g.json").write_text(json.dumps(content))
    result = invoke("show", "genotype", str(tmp_path / "g.json"))
    assert isinstance(result.exception, FormatError) and message in str(result.exception)
    assert not (tmp_path / "g.svg").exists()


def test_show_suggests_what_can_be_shown():
    result = invoke("show", "genotpye", "x")
    assert result.exit_code == 2 and "Did you mean 'genotype'?" in result.output


@pytest.mark.parametrize(
    ("kind", "names"),
    [("searchers", ["bnas", "pc_darts", "random"]), ("spaces", ["onebit", "paper"]), ("genotypes", ["bnas_xnor_1"])],
)
def test_ls_lists_what_a_search_can_be_told(kind, names):
    lines = invoke("ls", kind).output.splitlines()
    assert [line.split()[0] for line in lines] == names and all(len(line.split()) > 3 for line in lines)


def test_help_answers_without_torch():
    code = (
        "import sys; from bnas_face.cli import cli\n"
        "try:\n    cli(['search', '--help'], prog_name='bnasface')\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "False" and "--no-reduction" in shown and "bnasface search --resume s2" in shown
