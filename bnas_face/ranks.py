"""Which of several processes of one job this is, as its launcher says: torchrun, SLURM, or lightning-fabric for us."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bnas_face.errors import ConfigError, TrainingError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NNODES")
INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs in whose shell programs are started by hand, as lightning-fabric has it."""
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "socket")
_DRAINED_S = 0.1


@dataclass(frozen=True)
class Job:
    """The processes of a job and which of them this one is.

    Attributes
    ----------
    launcher : str
        ``"torchrun"``, ``"slurm"``, or ``""``: nobody, or bnas_face itself.
    rank : int
        Of all processes, from 0.
    world_size : int
        How many processes there are.
    local_rank, local_size : int
        The same on this machine.
    """

    launcher: str = ""
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def n_nodes(self) -> int:
        """Machines, each with `local_size` processes."""
        return self.world_size // self.local_size

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and talks to the user."""
        return self.rank == 0


def job(environment: Mapping[str, str] | None = None) -> Job:
    """The job this process belongs to; `environment` None is that of the process.

    Raises
    ------
    ConfigError
        If the launcher's numbers cannot be: not whole, or not as many processes on every machine.
    """
    variables = os.environ if environment is None else environment
    try:
        found = _read(variables)
    except ValueError as error:
        raise ConfigError(f"The launcher set a number of processes that is none: {error}.") from None
    if found.local_size < 1 or found.world_size % found.local_size:
        raise ConfigError(
            f"{found.world_size} processes are not shared equally by the machines: {found.local_size} are on this one. "
            "Start as many on each: torchrun --nproc-per-node N, or srun --ntasks-per-node N."
        )
    return found


def _read(found: Mapping[str, str]) -> Job:
    if all(name in found for name in TORCHRUN):
        rank, size, local_rank, local_size = (int(found[name]) for name in TORCHRUN[:4])
        return Job("torchrun", rank, size, local_rank, local_size)
    if all(name in found for name in SLURM) and found.get("SLURM_JOB_NAME") not in INTERACTIVE:
        rank, size, local_rank, n_nodes = (int(found[name]) for name in SLURM)
        return Job("slurm", rank, size, local_rank, size // max(1, n_nodes))
    # What lightning-fabric tells the further processes that it starts for --devices cpu:2.
    size = int(found.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in found else 1
    rank = int(found.get("LOCAL_RANK", "0"))
    return Job("", rank, size, rank, size)


@contextmanager
def together() -> Iterator[None]:
    """The processes of a job, which must have met already, end together, and none waits for one that has ended.

    Raises
    ------
    TrainingError
        If another process has ended or does not answer, or the launcher asks for an end (SIGTERM).
    """
    import torch.distributed as distributed

    if not distributed.is_initialized():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
        distributed.barrier()
        signal.signal(signal.SIGTERM, before)
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's: this process ends by itself, and says why
        raise TrainingError(
            f"Another of the {distributed.get_world_size()} processes has ended or does not answer, which process "
            f"{distributed.get_rank()} noticed. Its own message says why, if it could give one. What was saved is "
            "kept: go on with --resume, with any number of processes."
        ) from error
    finally:
        _leave()


def _end(number: int, frame: FrameType | None) -> None:
    """What torchrun and SLURM send to the others when a process has ended, or to all when the job is cancelled."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise TrainingError(
        "This process was asked to end (SIGTERM): another one of its job has ended, or the job was cancelled. What was "
        "saved is kept: go on with --resume, with any number of processes."
    )


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error is that of talking to another process."""
    import torch.distributed as distributed

    known = (distributed.DistBackendError, distributed.DistNetworkError, distributed.DistStoreError)
    text = str(error).lower()
    return isinstance(error, known) or any(word in text for word in _LOST)


def _leave() -> None:
    """Forget the other processes without ever destroying gloo's group; Fabric ends NCCL's itself.

    The group's destructor waits for its threads, and these wait for Python's lock to release tensors. Run by the last
    owner, which may be DistributedDataParallel's reducer, it holds that lock (torch 2.13): the process would hang. A
    thread that gets to the lock when Python has ended would abort the process ("terminate called without an active
    exception"): so they are given the time to finish.
    """
    import torch.distributed as distributed

    if distributed.get_backend() == "gloo":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(distributed.group.WORLD))
        distributed.destroy_process_group()
        time.sleep(_DRAINED_S)
