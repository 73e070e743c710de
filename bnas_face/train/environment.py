"""``environment.json``: which software and hardware trained a run."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import torch

from bnas_face import files, machine

ENVIRONMENT = "environment.json"
PACKAGES = ("torch", "numpy", "lightning-fabric", "safetensors", "opencv-python-headless")


def describe(fabric: Any) -> dict[str, Any]:
    """Versions, processor, devices and threads as JSON values."""
    return {
        "schema": "bnas_face.environment/1",
        "versions": machine.versions(PACKAGES),
        "platform": platform.platform(),
        "cpu": machine.cpu_name(),
        "threads": torch.get_num_threads(),
        "device": str(fabric.device),
        "device_name": torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else None,
        "world_size": fabric.world_size,
    }


def save(run_dir: Path, fabric: Any) -> None:
    """Write ``environment.json``."""
    files.write_json(run_dir / ENVIRONMENT, describe(fabric))
