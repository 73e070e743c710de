"""Devices and precision, through Lightning Fabric: one CPU, one GPU or many."""

from __future__ import annotations

import logging
from typing import Any

import torch

from bnas_face.config import TrainConfig
from bnas_face.errors import ConfigError


def make_fabric(config: TrainConfig) -> Any:
    """Fabric for the devices and precision of `config`; raises `ConfigError` for what this machine lacks."""
    try:
        from lightning_fabric import Fabric
    except ImportError:
        from lightning.fabric import Fabric
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its chatter is not for a user of ours
    accelerator, count = parse_devices(config.devices)
    strategy = "ddp" if count > 1 else "auto"
    if config.precision == "fp16" and accelerator == "cpu":
        raise ConfigError("--precision fp16 needs a GPU, and this training runs on the CPU. Use bf16 or fp32.")
    precision = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[config.precision]
    return Fabric(accelerator=accelerator, devices=count, strategy=strategy, precision=precision)


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


def summed(fabric: Any, count: int) -> int:
    """A count of each process, summed up; all processes call this together."""
    if fabric.world_size == 1:
        return count
    return int(fabric.all_reduce(torch.tensor(count, device=fabric.device), reduce_op="sum"))
