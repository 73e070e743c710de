"""A search in two processes is the search in one; processes die and one goes on. Real ones, by torchrun."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rank_search
import torch
import two_processes
from safetensors.torch import load_file
from small_search import make_config, make_data

from bnas_face import ranks
from bnas_face.config import SearchConfig
from bnas_face.errors import ConfigError, TrainingError
from bnas_face.search import engine, folder, log, shares

SCRIPT = Path(rank_search.__file__)


def _settings(run_dir, *, resume=False, kill=None, **config):
    few = {"warmup_epochs": 1, "repeats": 1, "threads": 1, "checkpoint_minutes": 0.0}
    return {"config": few | config, "run_dir": str(run_dir), "resume": resume, "kill": kill}


def _same(first, second):
    """Whether two searches took the same course to the same genotype."""
    assert (first / folder.GENOTYPE).exists()
    found = [json.loads((run_dir / folder.GENOTYPE).read_text()) for run_dir in (first, second)]
    assert found[0]["normal"] == found[1]["normal"] and found[0]["reduction"] == found[1]["reduction"]
    rows = [log.read(run_dir, n_units=10_000) for run_dir in (first, second)]
    for one, other in zip(*rows, strict=True):
        for what in ("phase", "path", "operation", "accuracy"):
            assert getattr(one, what) == getattr(other, what)
        assert one.loss == pytest.approx(other.loss, abs=1e-6)  # as many digits as the log has
    states = [load_file(run_dir / folder.STATE) for run_dir in (first, second)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-7, atol=1e-9)


def test_a_search_in_two_processes_is_the_search_in_one(tmp_path):
    settings = {"ucb": 1.0, "fitness": "verification"}
    rank_search.run(_settings(tmp_path / "one", **settings))
    done = two_processes.run_settings(SCRIPT, _settings(tmp_path / "two", **settings), tmp_path)
    assert done.returncode == 0, done.stderr
    _same(tmp_path / "one", tmp_path / "two")


def test_a_process_that_is_killed_ends_the_search_and_one_alone_goes_on(tmp_path):
    config = {"searcher": "pc_darts", "epochs": 4, "frozen_epochs": 1}
    rank_search.run(_settings(tmp_path / "whole", **config))
    done = two_processes.run_settings(SCRIPT, _settings(tmp_path / "parts", kill=[1, 2], **config), tmp_path)
    assert done.returncode == 1
    assert "go on with --resume, with any number of processes." in done.stderr
    assert not (tmp_path / "parts" / folder.GENOTYPE).exists()
    rank_search.run(_settings(tmp_path / "parts", resume=True, **config))
    _same(tmp_path / "whole", tmp_path / "parts")


def test_shares_of_a_batch_are_the_batch(monkeypatch):
    batch, found = np.arange(7), []
    for rank in range(3):
        monkeypatch.setattr(ranks, "job", lambda rank=rank: ranks.Job("torchrun", rank, 3, rank, 3))
        found.append(shares.own(batch))
    assert sorted(np.concatenate([indices for indices, _ in found])) == list(range(7))
    assert sum(share for _, share in found) == pytest.approx(1)


def test_batches_too_small_for_the_processes_are_refused(monkeypatch):
    monkeypatch.setattr(ranks, "job", lambda: ranks.Job("torchrun", 0, 8, 0, 8))
    with pytest.raises(ConfigError, match="Batches of 8 images give 8 processes fewer than the two each"):
        engine.Engine(make_config(), make_data(), 1)


def test_processes_that_disagree_are_told(monkeypatch):
    monkeypatch.setattr(ranks, "exchanged", lambda digest: [digest, "another"])
    with pytest.raises(TrainingError, match="have come to different decisions"):
        shares.check_same({"n_done": 1})


def test_a_further_process_takes_the_settings_of_the_first(tmp_path, monkeypatch):
    folder.save_config(tmp_path / "s", make_config(cells=5), {})
    monkeypatch.setattr(ranks, "job", lambda: ranks.Job("torchrun", 1, 2, 1, 2))
    found = folder.begin(SearchConfig(name="s"), tmp_path / "s", resume=True, overwrite=False)
    assert found.cells == 5
    anew = folder.begin(SearchConfig(name="s"), tmp_path / "s", resume=False, overwrite=True)
    assert anew == SearchConfig(name="s")
