"""Which of several processes of one job this is, as its launcher says: torchrun, SLURM, or lightning-fabric for us."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from bnas_face.errors import ConfigError, TrainingError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NNODES")
INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs in whose shell programs are started by hand, as lightning-fabric has it."""
GO_ON = "What was saved is kept: go on with --resume, with any number of processes."
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "socket")
_DRAINED_S = 0.1
T = TypeVar("T")


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
def joined(
    wait_minutes: float = 10.0, remedy: str = "Call again: embeddings that were computed are kept."
) -> Iterator[Job]:
    """The processes that torchrun or SLURM started meet, so that `told` and the like work, and end together.

    Parameters
    ----------
    wait_minutes : float
        For each other, at most.
    remedy : str
        What the user is to do when one has ended.

    Raises
    ------
    ConfigError
        As `job`.
    TrainingError
        As `together`.
    """
    found = job()
    if not found.launcher or found.world_size == 1:
        yield found
        return
    import torch
    import torch.distributed as distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(found.local_rank % torch.cuda.device_count())
    if found.launcher == "slurm":
        _set_address()
    limit = timedelta(minutes=wait_minutes)
    distributed.init_process_group("gloo", rank=found.rank, world_size=found.world_size, timeout=limit)
    with together(remedy):
        yield found


def _set_address() -> None:
    """Where the first process of a SLURM job listens, as lightning-fabric finds it out."""
    try:
        from lightning_fabric.plugins.environments import SLURMEnvironment
    except ImportError:
        from lightning.fabric.plugins.environments import SLURMEnvironment
    environment = SLURMEnvironment()
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)


def told(value: T) -> T:
    """What the first process says, in all of them."""
    import torch.distributed as distributed

    if not distributed.is_initialized():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def collected(value: T) -> list[T]:
    """What all processes say, in their order, in the first; an empty list in the others."""
    import torch.distributed as distributed

    if not distributed.is_initialized():
        return [value]
    is_first = distributed.get_rank() == 0
    values: list[Any] = [None] * (distributed.get_world_size() if is_first else 0)
    distributed.gather_object(value, values if is_first else None)
    return values


def exchanged(value: T) -> list[T]:
    """What all processes say, in their order, in all of them."""
    import torch.distributed as distributed

    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


@contextmanager
def together(remedy: str = GO_ON) -> Iterator[None]:
    """The processes of a job, which must have met already, end together, and none waits for one that has ended.

    Parameters
    ----------
    remedy : str
        What the user is to do when one has ended.

    Raises
    ------
    TrainingError
        If another process has ended or does not answer, or the launcher asks for an end (SIGTERM).
    """
    import torch.distributed as distributed

    if not distributed.is_initialized():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise TrainingError(
            "This process was asked to end (SIGTERM): another one of its job has ended, or the job was cancelled. "
            + remedy
        )

    before = signal.signal(signal.SIGTERM, end)  # torchrun and SLURM send it when a process has ended
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
            f"{distributed.get_rank()} noticed. Its own message says why, if it could give one. {remedy}"
        ) from error
    finally:
        _leave()


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
