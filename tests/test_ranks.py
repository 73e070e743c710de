"""Which process of a job this is, from what torchrun and SLURM set."""

from __future__ import annotations

import os
import signal
import time

import pytest
import torch.distributed as distributed

from bnas_face import ranks
from bnas_face.errors import ConfigError, TrainingError

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}
SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"}


def test_torchrun():
    job = ranks.job(TORCHRUN)
    assert job == ranks.Job("torchrun", 5, 8, 1, 4) and job.n_nodes == 2 and not job.is_first


def test_torchrun_in_a_slurm_job_counts():
    assert ranks.job(TORCHRUN | SLURM).launcher == "torchrun"


def test_slurm():
    job = ranks.job(SLURM)
    assert job == ranks.Job("slurm", 3, 4, 1, 2) and job.n_nodes == 2


def test_a_shell_in_a_slurm_job_is_one_process():
    assert ranks.job(SLURM | {"SLURM_JOB_NAME": "bash"}) == ranks.Job()


def test_the_second_node_of_a_job_is_not_first():
    assert not ranks.job(TORCHRUN | {"RANK": "4", "LOCAL_RANK": "0"}).is_first


def test_further_processes_of_our_own():
    assert ranks.job({"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}) == ranks.Job("", 1, 2, 1, 2)


@pytest.mark.parametrize("environment", [{}, {"RANK": "3"}, {"WORLD_SIZE": "4"}])
def test_nobody_launched_it(environment):
    assert ranks.job(environment) == ranks.Job() and ranks.Job().is_first


def test_machines_with_unequal_numbers_are_refused():
    with pytest.raises(ConfigError, match=r"8 processes are not shared equally .* 3 are on this one\. Start as many"):
        ranks.job(TORCHRUN | {"LOCAL_WORLD_SIZE": "3"})


def test_a_number_that_is_none_is_quoted():
    with pytest.raises(ConfigError, match=r"number of processes that is none: .*'many'"):
        ranks.job(TORCHRUN | {"WORLD_SIZE": "many"})


@pytest.fixture
def second_of_two(monkeypatch):
    """As in process 1 of 2; what a test does with SIGTERM ends with it."""
    for name, value in {"is_initialized": True, "get_world_size": 2, "get_rank": 1, "get_backend": "nccl"}.items():
        monkeypatch.setattr(distributed, name, lambda value=value: value)
    monkeypatch.setattr(distributed, "barrier", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("second_of_two")
def test_a_lost_process_is_told_in_one_sentence():
    message = r"Another of the 2 processes has ended .*process 1 noticed.*--resume"
    with pytest.raises(TrainingError, match=message), ranks.together():
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1234")


@pytest.mark.usefixtures("second_of_two")
def test_the_launchers_request_to_end_is_told():
    with pytest.raises(TrainingError, match=r"asked to end \(SIGTERM\).*--resume"), ranks.together():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


@pytest.mark.usefixtures("second_of_two")
def test_other_errors_are_not_taken_for_a_lost_process():
    with pytest.raises(RuntimeError, match="shapes"), ranks.together():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.usefixtures("second_of_two")
def test_after_a_good_end_sigterm_is_as_before():
    before = signal.getsignal(signal.SIGTERM)
    with ranks.together():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
