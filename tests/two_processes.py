"""Starts a script or module in several processes, as a user does with torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bnas_face


def command(n_processes: int, *arguments: str | Path) -> list[str]:
    """``torchrun --standalone --nproc-per-node N …`` of this interpreter."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n_processes)]
    return launcher + [str(argument) for argument in arguments]


def environment() -> dict[str, str]:
    """Of this process, with the same bnas_face, one thread for each process and without what a launcher sets."""
    own = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
    more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(bnas_face.__file__).parents[1])}
    return {key: value for key, value in os.environ.items() if key not in own} | more


def run(n_processes: int, *arguments: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run to the end; what all processes said is in ``stdout`` and ``stderr``."""
    return subprocess.run(
        command(n_processes, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def run_settings(script: Path, settings: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes, its settings in a JSON file in `folder`."""
    file = folder / "settings.json"
    file.write_text(json.dumps(settings))
    return run(2, script, file)
