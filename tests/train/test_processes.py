"""A training in two processes is the training in one; processes die and are replaced. Real ones, by torchrun."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import rank_training
import torch
import two_processes
from safetensors.torch import load_file
from small_training import make_config, stopped_before

from bnas_face.errors import ConfigError, TrainingError
from bnas_face.ranks import Job
from bnas_face.train import checkpoint, devices, log, loop, runs
from bnas_face.train import step as steps

SETTINGS = {
    "width": 0.125,
    "scale": 16.0,
    "optimizer": "sgd",
    "lr": 0.02,
    "development_share": 0.0,
    "checkpoint_minutes": 0,
}
SCRIPT = Path(rank_training.__file__)
TOLERANCE = 1e-9
"""Of float64; the losses are about 10."""


def _settings(run_dir, *, resume=False, kill=None, **config):
    return {"config": SETTINGS | config, "run_dir": str(run_dir), "resume": resume, "kill": kill}


def _same_state(first, second):
    """Whether two runs ended with the same network, head and optimizer."""
    one, other = (load_file(run_dir / checkpoint.STATE) for run_dir in (first, second))
    assert one.keys() == other.keys() and {value.dtype for value in one.values()} >= {torch.float64}
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-7, atol=1e-9, msg=lambda text, name=name: name + text)


def test_the_losses_of_two_processes_are_those_of_one_over_50_steps(tmp_path):
    config = {"epochs": 7, "batch_size": 8, "checkpoint_minutes": 9}
    one = rank_training.run(_settings(tmp_path / "one", **config))
    done = two_processes.run_settings(SCRIPT, _settings(tmp_path / "two", devices="auto", **config), tmp_path)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two.json").read_text())
    assert len(one) == len(two) == 56 and one[-1] < 0.8 * one[0]
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < TOLERANCE
    _same_state(tmp_path / "one", tmp_path / "two")


def test_images_left_out_are_counted_over_all_processes_and_through_a_resumption(tmp_path):
    config = {"epochs": 2, "on_corrupt": "skip", "batch_size": 8}
    broken = {"broken": [3, 17, 40, 41, 60]}
    rank_training.run(_settings(tmp_path / "whole", **config) | broken)
    with stopped_before(5):
        rank_training.run(_settings(tmp_path / "parts", **config) | broken)
    done = two_processes.run_settings(
        SCRIPT, _settings(tmp_path / "parts", resume=True, devices="auto", **config) | broken, tmp_path
    )
    assert done.returncode == 0, done.stderr
    whole, parts = ([row.left_out for row in log.read(tmp_path / name)] for name in ("whole", "parts"))
    assert whole == parts == [5, 5]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")
@pytest.mark.parametrize("shard_head", [False, True])
def test_the_losses_of_two_gpus_are_those_of_one_processor(tmp_path, shard_head):
    config = {"epochs": 3, "shard_head": shard_head}
    one = rank_training.run(_settings(tmp_path / "one", **config))
    done = two_processes.run_settings(SCRIPT, _settings(tmp_path / "two", devices="auto", **config), tmp_path)
    assert done.returncode == 0, done.stderr
    two = json.loads((tmp_path / "two.json").read_text())
    assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < 1e-6


def test_a_process_that_is_killed_ends_the_job_and_one_alone_goes_on(tmp_path):
    config = {"epochs": 2, "shard_head": True, "gradient_clip": 5.0, "head": "curricularface"}
    rank_training.run(_settings(tmp_path / "whole", **config))
    done = two_processes.run_settings(SCRIPT, _settings(tmp_path / "parts", kill=[1, 6], **config), tmp_path)
    assert done.returncode == 1
    assert "go on with --resume, with any number of processes." in done.stderr
    assert "Signal 9 (SIGKILL)" in done.stderr and "terminate called" not in done.stderr
    assert checkpoint.read_counters(tmp_path / "parts").step in (4, 5)
    state = load_file(tmp_path / "parts" / checkpoint.STATE)
    assert state["module.head.head.weight"].shape == (16, 16), "the weights of all identities"
    rank_training.run(_settings(tmp_path / "parts", resume=True, **config))
    _same_state(tmp_path / "whole", tmp_path / "parts")


def test_two_processes_go_on_with_what_one_began(tmp_path):
    config = {"epochs": 2, "shard_head": True, "optimizer": "adam", "lr": 0.002, "head": "arcface", "sub_centers": 3}
    rank_training.run(_settings(tmp_path / "whole", **config))
    with stopped_before(5):
        rank_training.run(_settings(tmp_path / "parts", **config))
    done = two_processes.run_settings(
        SCRIPT, _settings(tmp_path / "parts", resume=True, devices="auto", **config), tmp_path
    )
    assert done.returncode == 0, done.stderr
    _same_state(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.usefixtures("patterns")
def test_a_sampled_training_resumes_to_the_very_same_weights(tmp_path, tiny):
    config = tiny(sample_rate=0.5, optimizer="adam", checkpoint_minutes=0, development_share=0.0, gradient_clip=1.0)
    loop.train(config, tmp_path / "whole")
    with stopped_before(5):
        loop.train(config, tmp_path / "parts")
    loop.train(config, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / checkpoint.STATE) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.usefixtures("patterns")
def test_a_sampled_training_learns(tmp_path, tiny):
    config = tiny(sample_rate=0.5, epochs=12, batch_size=12, scale=16.0, lr=0.05)
    outcome = loop.train(config, tmp_path / "mine")
    assert outcome.development_accuracy > 0.8


@pytest.mark.usefixtures("patterns")
def test_a_sampled_training_adds_up_parts_of_a_batch(tmp_path, tiny):
    loop.train(tiny(sample_rate=0.5, accumulate=2, epochs=1), tmp_path / "mine")
    assert torch.isfinite(load_file(tmp_path / "mine" / checkpoint.STATE)["module.head.head.weight"]).all()


@pytest.mark.parametrize(
    ("text", "job", "expected"),
    [
        ("auto", Job("torchrun", 0, 4, 0, 2), ("cpu", 2)),
        ("cpu", Job("slurm", 3, 4, 1, 2), ("cpu", 2)),
        ("cpu:2", Job("torchrun", 1, 2, 1, 2), ("cpu", 2)),
    ],
)
def test_devices_of_a_launched_job_are_its_processes(text, job, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.launched_devices(text, job) == expected


def test_a_launched_job_takes_a_gpu_for_each_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert devices.launched_devices("auto", Job("torchrun", 0, 8, 0, 4)) == ("cuda", 4)
    with pytest.raises(ConfigError, match="torchrun started 6 processes on this machine, which has 4 GPUs"):
        devices.launched_devices("auto", Job("torchrun", 0, 6, 0, 6))


def test_what_a_machine_has_is_shared_by_the_processes_on_it(monkeypatch):
    fabric = SimpleNamespace(world_size=16)
    assert devices.n_here(fabric) == 16
    for name, value in {"PROCID": 0, "NTASKS": 16, "LOCALID": 0, "NNODES": 2}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert devices.n_here(fabric) == 8


def test_devices_that_contradict_the_launcher_are_refused():
    with pytest.raises(ConfigError, match=r"'cpu:3' ask for 3 processes on a machine, and torchrun started 2"):
        devices.launched_devices("cpu:3", Job("torchrun", 0, 2, 0, 2))


@pytest.mark.parametrize("settings", [{"sample_rate": 0.1}, {"shard_head": True}])
def test_settings_that_a_partial_head_cannot_have_are_refused(settings):
    with pytest.raises(ConfigError, match="train in bf16 or fp32"):
        make_config(precision="fp16", **settings)
    with pytest.raises(ConfigError, match="without --label-weight a teacher leaves none"):
        make_config(teacher="runs/x", **settings)
    assert make_config(teacher="runs/x", label_weight=1.0, **settings).is_partial


@pytest.mark.parametrize("rate", [0.0, 1.5, -0.1])
def test_a_sample_rate_is_a_share(rate):
    with pytest.raises(ConfigError, match=f"sample rate is {rate:g}; it must lie between"):
        make_config(sample_rate=rate)


def test_a_further_process_goes_on_with_the_settings_of_the_first(tmp_path, monkeypatch, tiny):
    from bnas_face.models import saved

    saved.save_config(tmp_path / "mine", tiny(epochs=7), {})
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = runs.begin(tiny(devices="cpu:2"), tmp_path / "mine", resume=True, overwrite=False, given={"devices"})
    assert (found.epochs, found.devices) == (7, "cpu:2")


@pytest.mark.usefixtures("patterns")
def test_a_sampled_gradient_that_is_not_finite_is_named(tmp_path, monkeypatch, tiny):
    original = steps.backward

    def backward(fabric, wrapped, batch, *, parts):
        loss = original(fabric, wrapped, batch, parts=parts)
        wrapped.head.head.weight.grad = float("nan") * wrapped.head.head.weight.grad
        return loss

    monkeypatch.setattr(steps, "backward", backward)
    with pytest.raises(TrainingError, match=r"Step 1 .*the gradient of 'head\.head\.weight' was not finite"):
        loop.train(tiny(sample_rate=0.5), tmp_path / "mine")
