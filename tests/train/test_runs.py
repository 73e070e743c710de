"""Existing run folders, and the command line of ``bnasface train``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bnas_face.cli import cli
from bnas_face.config import TrainConfig
from bnas_face.errors import CheckpointError, ConfigError
from bnas_face.models import saved
from bnas_face.train import loop, runs, source


def _unfinished(run_dir, config):
    saved.save_config(run_dir, config, {})
    return run_dir


def test_a_new_run_is_begun_as_asked(tmp_path, tiny):
    config = tiny()
    assert runs.begin(config, tmp_path / "mine", resume=False, overwrite=False) is config
    assert runs.begin(config, tmp_path / "mine", resume=True, overwrite=False) is config


def test_an_unfinished_run_asks_for_resume(tmp_path, tiny):
    with pytest.raises(CheckpointError, match=r"is not finished\. Add --resume"):
        runs.begin(tiny(), _unfinished(tmp_path / "mine", tiny()), resume=False, overwrite=False)


@pytest.mark.parametrize("resume", [False, True])
def test_a_finished_run_is_never_destroyed_unasked(tmp_path, resume, tiny):
    folder = _unfinished(tmp_path / "mine", tiny())
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is finished\. Choose another --name, or --overwrite"):
        runs.begin(tiny(), folder, resume=resume, overwrite=False)
    assert (folder / "weights.safetensors").exists()


def test_overwrite_removes_an_earlier_run_but_no_other_folder(tmp_path, tiny):
    folder = _unfinished(tmp_path / "mine", tiny())
    runs.begin(tiny(), folder, resume=False, overwrite=True)
    assert folder.exists(), "not before the new training is sure to begin"
    runs.clear(folder)
    assert not folder.exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    for overwrite in (True, False):
        with pytest.raises(CheckpointError, match=r"no run folder .* left alone"):
            runs.begin(tiny(), tmp_path / "photos", resume=False, overwrite=overwrite)
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_resume_uses_the_settings_the_run_was_begun_with(tmp_path, tiny):
    folder = _unfinished(tmp_path / "mine", tiny(lr=0.03, exclude_names_of=("cfp",), width=0.25))
    config = runs.begin(tiny(), folder, resume=True, overwrite=False)
    assert config == tiny(lr=0.03, exclude_names_of=("cfp",), width=0.25)


def test_resume_with_another_setting_names_both_values(tmp_path, tiny):
    folder = _unfinished(tmp_path / "mine", tiny(epochs=7))
    with pytest.raises(ConfigError, match="--epochs is '2', but run 'mine' was begun with '7'"):
        runs.begin(tiny(), folder, resume=True, overwrite=False, given={"epochs"})


def test_resume_may_change_the_machine(tmp_path, tiny):
    folder = _unfinished(tmp_path / "mine", tiny(threads=1))
    assert runs.begin(tiny(threads=2), folder, resume=True, overwrite=False, given={"threads"}).threads == 2


def test_resume_and_overwrite_contradict_each_other(tmp_path, tiny):
    with pytest.raises(ConfigError, match="contradict"):
        runs.begin(tiny(), tmp_path / "mine", resume=True, overwrite=True)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_run_name_is_a_plain_folder_name(name, tiny):
    with pytest.raises(ConfigError, match="not a plain folder name"):
        tiny(name)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("epochs", 0, "number of epochs is 0"),
        ("batch_size", 1, "batch size is 1"),
        ("lr", -1.0, "learning rate is -1"),
        ("precision", "fp8", "precision 'fp8' is not known. Choose fp32 or bf16 or fp16"),
        ("optimizer", "lion", "optimizer 'lion'"),
        ("development_share", 0.9, "development share is 0.9"),
        ("activation_bits", 2, "activation bits '2'"),
        ("shortcuts", "none", "shortcuts 'none'"),
        ("width", 0.0, "width is 0"),
    ],
)
def test_settings_out_of_range_are_quoted(field, value, message, tiny):
    with pytest.raises(ConfigError, match=message):
        tiny(**{field: value})


TINY = ["--size-px", "64", "--width", "0.125", "--embedding-dim", "8", "--epochs", "1", "--batch-size", "16"]
TINY += ["--development-share", "0.25", "--devices", "cpu"]


@pytest.mark.usefixtures("patterns")
def test_the_command_trains_says_what_is_next_and_refuses_to_do_it_twice():
    arguments = ["train", "--dataset", "lfw", "--binarizer", "xnor", "--name", "mine", *TINY]
    first = CliRunner().invoke(cli, arguments)
    assert first.exit_code == 0, first.output
    assert "development accuracy" in first.output
    assert "Now test it:  bnasface eval --protocol cfp_ff --protocol cfp_fp --model runs/mine" in first.output
    assert "People of cfp may be among those it learnt" in first.output
    second = CliRunner().invoke(cli, arguments)
    assert isinstance(second.exception, CheckpointError) and "--overwrite" in str(second.exception)


@pytest.mark.usefixtures("patterns")
def test_the_command_resumes_with_the_saved_settings(monkeypatch):
    def stop(self, epoch, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_epoch", stop)
        CliRunner().invoke(cli, ["train", "--dataset", "lfw", "--name", "mine", *TINY], standalone_mode=False)
    result = CliRunner().invoke(cli, ["train", "--name", "mine", "--resume"])
    assert result.exit_code == 0, result.output
    _, model, info = saved.load(runs.Path("runs", "mine"))
    assert model.width == 0.125 and info["dataset"] == "lfw"


def _draw_folder(images, root):
    for image_id, pixels in zip(images.image_ids, images.read(np.arange(len(images))), strict=True):
        path = root / image_id
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)


def test_a_run_that_is_killed_with_sigkill_goes_on_with_resume(tmp_path, people):
    _draw_folder(people(), tmp_path / "faces")
    command = [sys.executable, "-m", "bnas_face", "train", "--name", "mine"]
    settings = ["--dataset", f"folder:{tmp_path / 'faces'}", *TINY, "--epochs", "400", "--checkpoint-minutes", "0"]
    state = tmp_path / "runs" / "mine" / "state" / "last.safetensors"
    with subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    config = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    (tmp_path / "runs" / "mine" / "config.json").write_text(json.dumps({**config, "epochs": 3}))
    again = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert again.returncode == 1 and "Add --resume" in again.stderr
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    saved.load(tmp_path / "runs" / "mine")


def test_every_setting_is_an_option(tiny):
    options = {name for option in cli.get_command(None, "train").params for name in option.opts}
    settings = {*TrainConfig.__dataclass_fields__, *type(tiny().model).__dataclass_fields__} - {"model"}
    assert {f"--{name.replace('_', '-')}" for name in settings} <= options


@pytest.mark.parametrize(
    ("dataset", "exclude", "option"),
    [
        ("demo:60x8@64", (), None),
        ("lfw", ("cfp",), None),
        ("lfw", (), "train with --exclude-names-of cfp. "),
        ("casia", (), "train with --exclude-names-of lfw --exclude-names-of cfp. "),
    ],
)
def test_a_run_that_may_know_people_of_the_protocols_named_next_is_told_so(dataset, exclude, option, tiny):
    hint = source.overlap_hint(replace(tiny(), dataset=dataset, exclude_names_of=exclude))
    assert hint is None if option is None else option in hint


@pytest.mark.parametrize(
    ("dataset", "exclude", "expected"),
    [
        ("demo:60x8@64", (), ["demo_agedb", "demo_cfp", "demo_lfw"]),
        ("lfw", ("cfp",), ["cfp_ff", "cfp_fp"]),
        ("cfp", (), ["lfw"]),
        ("folder:photos", (), ["lfw", "cfp_ff", "cfp_fp"]),
    ],
)
def test_the_protocols_named_next_are_not_of_the_set_trained_on(dataset, exclude, expected, tiny):
    found = source.protocols_for(replace(tiny(), dataset=dataset, exclude_names_of=exclude))
    assert sorted(found) == sorted(expected)
