"""Devices and precision, through Lightning Fabric: one CPU, one GPU or many, on one machine or several.

A job is started by ``torchrun`` or ``srun``, which start its processes, or by ``--devices cpu:2`` and the like, for
which this process starts the others.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import torch

from bnas_face import ranks
from bnas_face.config import TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.ranks import Job


def make_fabric(config: TrainConfig) -> Any:
    """Fabric for the devices and precision of `config`; raises `ConfigError` for what this machine lacks."""
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies import DDPStrategy
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its chatter is not for a user of ours
    job = ranks.job()
    accelerator, count = parse_devices(config.devices) if not job.launcher else launched_devices(config.devices, job)
    nodes = job.n_nodes if job.launcher else 1
    if config.precision == "fp16" and accelerator == "cpu":
        raise ConfigError("--precision fp16 needs a GPU, and this training runs on the CPU. Use bf16 or fp32.")
    many = count * nodes > 1
    return Fabric(
        accelerator=accelerator,
        devices=count,
        num_nodes=nodes,
        strategy=DDPStrategy(timeout=timedelta(minutes=config.wait_minutes)) if many else "auto",
        precision={"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[config.precision],
    )


def parse_devices(devices: str) -> tuple[str, int]:
    """``"auto"``, ``"cpu"``, ``"cpu:2"``, ``"4"`` → accelerator and number of processes.

    Raises
    ------
    ConfigError
        If the text is none of these, or asks for more GPUs than there are.
    """
    n_gpus = torch.cuda.device_count()
    if devices == "auto":
        return ("cuda", n_gpus) if n_gpus else ("cpu", 1)
    name, _, number = ("cpu", "", "1") if devices == "cpu" else devices.rpartition(":")
    if name not in ("", "cpu", "cuda") or not number.isdigit() or int(number) < 1:
        raise ConfigError(f"Devices '{devices}' are not understood. Use auto, cpu, cpu:2, or a number of GPUs.")
    if name != "cpu" and int(number) > n_gpus:
        raise ConfigError(f"Devices '{devices}' ask for {number} GPUs; this machine has {n_gpus}. Use --devices auto.")
    return ("cpu" if name == "cpu" else "cuda", int(number))


def memory_bytes(device: torch.device) -> int:
    """Most memory that tensors have taken on a GPU so far; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def n_here(fabric: Any) -> int:
    """How many of a training's processes share this machine."""
    job = ranks.job()
    return job.local_size if job.launcher else int(fabric.world_size)


def launched_devices(devices: str, job: Job) -> tuple[str, int]:
    """Accelerator, and number of processes on each machine, of a job whose processes torchrun or SLURM started.

    ``"auto"`` is a GPU for each process where there are any, and ``"cpu"`` the CPU for all; a number must be theirs.

    Raises
    ------
    ConfigError
        If `devices` ask for another number of processes, or there are fewer GPUs than processes.
    """
    n_gpus = torch.cuda.device_count()
    if devices in ("auto", "cpu"):
        accelerator = "cuda" if devices == "auto" and n_gpus else "cpu"
    else:
        accelerator, count = parse_devices(devices)
        if count != job.local_size:
            raise ConfigError(
                f"Devices '{devices}' ask for {count} processes on a machine, and {job.launcher} started "
                f"{job.local_size}. Leave --devices out, or start as many."
            )
    if accelerator == "cuda" and job.local_size > n_gpus:
        raise ConfigError(
            f"{job.launcher} started {job.local_size} processes on this machine, which has {n_gpus} GPUs. Start one "
            "for each GPU, or use --devices cpu."
        )
    return accelerator, job.local_size
