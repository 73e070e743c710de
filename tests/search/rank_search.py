"""Run by torchrun, or imported: a search on small patterns in float64 whose norms only scale.

``rank_search.py SETTINGS.json`` searches with the settings of the file: ``config``, ``run_dir``, ``resume``, and
``kill`` ([process, unit]: SIGKILL of this process after that unit) or null.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from unittest import mock

import torch
from small_search import make_config, make_data
from torch import nn

from bnas_face.errors import BnasFaceError
from bnas_face.models.pixels import normalised
from bnas_face.search import engine, fitness, loop


class DoubleEngine(engine.Engine):
    """Computes in float64: the rounding of float32 would decide over signs."""

    def _build(self, unit):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            super()._build(unit)
        finally:
            torch.set_default_dtype(before)


class Scale(nn.Module):
    """Instead of a norm: its statistics would be those of a share of the batch."""

    def forward(self, values):
        """Halved."""
        return 0.5 * values


def run(settings):
    """Search; returns the outcome."""
    unit = loop._Run._unit

    def counted(self):
        row = unit(self)
        if settings.get("kill") == [loop.ranks.job().rank, self.searcher.n_done]:
            os.kill(os.getpid(), signal.SIGKILL)
        return row

    def make(config, n_units):
        data = make_data(12, verification=config.fitness == "verification")
        return DoubleEngine(config, data, n_units), data.provenance

    with (
        mock.patch.object(engine, "normalised", lambda pixels: normalised(pixels).double()),
        mock.patch.object(fitness, "normalised", lambda pixels: normalised(pixels).double()),
        mock.patch("bnas_face.search.supernet.search_norm", lambda n_channels: Scale()),
        mock.patch.object(fitness, "BATCH", 3),
        mock.patch.object(loop._Run, "_unit", counted),
    ):
        config = make_config(**settings["config"])
        return loop.search(config, Path(settings["run_dir"]), resume=settings["resume"], make_engine=make)


def main():
    try:
        run(json.loads(Path(sys.argv[1]).read_text()))
    except BnasFaceError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
