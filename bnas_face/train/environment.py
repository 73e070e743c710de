"""``environment.json``: which software and hardware trained a run."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import bnas_face
from bnas_face import files

ENVIRONMENT = "environment.json"
PACKAGES = ("torch", "numpy", "lightning-fabric", "safetensors", "opencv-python-headless")


def describe(fabric: Any) -> dict[str, Any]:
    """Versions, processor, devices and threads as JSON values."""
    return {
        "schema": "bnas_face.environment/1",
        "versions": {"bnas_face": bnas_face.__version__, **{name: _version(name) for name in PACKAGES}},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "device": str(fabric.device),
        "device_name": torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else None,
        "world_size": fabric.world_size,
    }


def save(run_dir: Path, fabric: Any) -> None:
    """Write ``environment.json``."""
    files.write_json(run_dir / ENVIRONMENT, describe(fabric))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
