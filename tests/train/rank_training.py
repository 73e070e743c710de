"""Run by torchrun, or imported: a training on patterns whose batch norms keep their statistics.

``rank_training.py SETTINGS.json`` trains with the settings of the file: ``config`` (of `small_training.make_config`),
``run_dir``, ``resume``, ``kill`` ([process, step]: SIGKILL of this process after that step) or null, and perhaps
``broken`` (positions of images that cannot be read). The losses of
the first process are written beside the run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from small_training import draw_people, make_config
from torch import nn

from bnas_face.errors import BnasFaceError, BrokenImageError
from bnas_face.models.pixels import normalised
from bnas_face.train import learner, loop, recipe, trainer


class Frozen(learner.Learner):
    """A learner whose batch norms have the statistics of all images of its first weights, and keep them.

    It computes in float64, these statistics too: in float32 a difference of one rounding, as between two threads and
    three, grows by a factor of thousands within 50 steps.
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        norms = [part for part in self.backbone.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0
        people = draw_people()
        self.double()
        with torch.no_grad():
            self.backbone(normalised(torch.from_numpy(people.read(np.arange(len(people))))).double())
        self.norms = norms

    def train(self, mode=True):
        super().train(mode)
        for norm in getattr(self, "norms", ()):
            norm.eval()  # statistics of a batch would be those of a share of it
        return self


def _without(people, broken):
    """People of whom some images cannot be read."""

    def read(indices):
        for index in indices.tolist():
            if index in broken:
                raise BrokenImageError(str(index), "it is empty")
        return people.read(indices)

    return replace(people, read=read)


def run(settings):
    """Train; returns the loss of every step."""
    losses, step = [], loop.Trainer._step

    def counted(self, batch):
        losses.append(step(self, batch))
        if settings.get("kill") == [self.fabric.global_rank, self.counters.step]:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses[-1]

    config = recipe.resolve(make_config(**settings["config"]))
    people = _without(draw_people(), settings.get("broken", ()))
    with (
        mock.patch.object(loop, "Learner", Frozen),
        mock.patch.object(trainer, "Learner", Frozen),
        mock.patch.object(learner, "normalised", lambda pixels: normalised(pixels).double()),
        mock.patch.object(loop.Trainer, "_step", counted),
        mock.patch("bnas_face.data.datasets.load", lambda spec: people),
    ):
        loop.train(config, Path(settings["run_dir"]), resume=settings["resume"])
    return losses


def main():
    settings = json.loads(Path(sys.argv[1]).read_text())
    try:
        losses = run(settings)
    except BnasFaceError as error:
        sys.exit(f"Error: {error}")
    if os.environ["RANK"] == "0":
        Path(f"{settings['run_dir']}.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
