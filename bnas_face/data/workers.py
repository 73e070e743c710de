"""Batches made by processes: torch's DataLoader hands out the units and passes pixels through shared memory.

See `bnas_face.data.processes` for where the processes come from.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic

import torch
from torch.utils.data import DataLoader, Dataset

from bnas_face import machine
from bnas_face.data import processes
from bnas_face.data.loader import Made, T
from bnas_face.data.sources import Pixels
from bnas_face.errors import DatasetError

MOST = 8
"""Processes by default, at most."""
PREFETCH = 2
"""Batches each process makes ahead."""


def default_workers(n_ranks: int = 1) -> int:
    """Processes for each of `n_ranks` trainings on this machine: the cores but one, shared out; 1 to `MOST`."""
    return min(MOST, max(1, machine.processors() // n_ranks - 1))


class _Units(Dataset[tuple[torch.Tensor, Mapping[int, str]]]):
    """Indexed by what is to be made."""

    def __init__(self, work: Callable[[Any], Made]) -> None:
        self.work = work

    def __getitem__(self, unit: Any) -> tuple[torch.Tensor, Mapping[int, str]]:
        pixels, reasons = self.work(unit)
        return torch.from_numpy(pixels), reasons


def _begin(_: int) -> None:
    processes.begin()


def _same(item: object) -> object:
    return item


class _Told(Generic[T]):
    """Units in order, each remembered until its pixels come."""

    def __init__(self, units: Iterable[T]) -> None:
        self.units, self.waiting = units, deque[T]()

    def __iter__(self) -> Iterator[T]:
        for unit in self.units:
            self.waiting.append(unit)
            yield unit


def in_processes(
    name: str, work: Callable[[T], Made], units: Iterable[T], n_workers: int
) -> Iterator[tuple[T, Pixels, Mapping[int, str]]]:
    """``work(unit)`` of each unit, in order, by processes; `name` of the dataset is for messages.

    Raises
    ------
    DatasetError
        If a process dies.
    """
    told = _Told(units)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more than cores: as asked for
        made = iter(
            DataLoader(
                _Units(work),
                batch_size=None,
                sampler=told,
                num_workers=n_workers,
                collate_fn=_same,
                prefetch_factor=PREFETCH,
                worker_init_fn=_begin,
                multiprocessing_context=processes.fork_server(),
            )
        )
    try:
        for pixels, reasons in made:
            yield told.waiting.popleft(), pixels.numpy(), reasons
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DatasetError(
            f"A process that loads images of '{name}' died ({str(error).splitlines()[0]}). It may have been out "
            "of memory, or of shared memory (/dev/shm): go on with --resume and fewer --workers, or with --workers 0."
        ) from None
