"""A training that is killed by the system, at whatever step, ends with the very weights of one that was not."""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRAINS = """
import os, random, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import draw_people, make_config
from test_distill import pixels_as_embeddings
from bnas_face.data import datasets
from bnas_face.train import loop

out, moment, kill_at = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
images = draw_people()
datasets.load = lambda spec: images
recipe = dict(ema=0.9, accumulate=2, two_stage=0.5, schedule="poly", gradient_clip=5.0, on_nan="skip", dropout=0.2)
losses = dict(teacher="runs/big", label_weight=0.1, relation_weight=0.0, head_lr_factor=2.0)
network = dict(binarizer="xnor", activation_bits=1)
config = make_config(**recipe, **losses, **network, epochs=2, threads=1, checkpoint_minutes=0.0)
teacher = pixels_as_embeddings(5)
real, renamed, n_renamed = loop.Trainer._step, Path.replace, 0

def step(self, batch):
    if self.counters.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch)

def rename(self, target):
    global n_renamed
    n_renamed += 1
    if n_renamed == kill_at:  # a file is written, and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)
    return renamed(self, target)

if moment == "never":
    loop.train(config, out / "whole", teacher=teacher)
    loop.train(config, out / "parts", teacher=teacher, resume=True)
else:
    if moment == "step":
        loop.Trainer._step = step
    else:
        Path.replace = rename
    loop.train(config, out / "parts", teacher=teacher)
"""


def run(out: Path, moment: str, kill_at: int = 0) -> Any:
    arguments = [str(Path(__file__).parent), str(out), moment, str(kill_at)]
    return subprocess.run([sys.executable, "-c", TRAINS, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("moment", "first", "last"), [("step", 1, 5), ("rename", 4, 12)])
def test_sigkill_at_a_random_step_or_in_the_middle_of_saving_costs_nothing(
    tmp_path: Path, moment: str, first: int, last: int
) -> None:
    """With a teacher, in two stages, with parts of batches and a moving average."""
    kill_at = random.SystemRandom().randint(first, last)
    killed = run(tmp_path, moment, kill_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    done = run(tmp_path, "never")
    assert done.returncode == 0, done.stderr
    whole, parts = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts, f"killed at {moment} {kill_at}"
    with (tmp_path / "parts" / "log.csv").open(newline="") as file:
        sessions = [row["session"] for row in csv.DictReader(file)]
    assert sessions[-1] == "2" or moment == "rename", "killed while the first state was saved, it began again"
    assert not list((tmp_path / "parts").rglob(".*.part"))
