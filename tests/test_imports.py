"""Imports only go down: a fresh interpreter per room, and nothing loaded that the room must not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "facenet_pytorch", "onnxruntime", "pandas", "sklearn", "cv2", "scipy", "numpy")
STAGES = ("search", "train", "evaluate", "report", "packed", "bench", "pipeline")

# room → (forbidden packages, forbidden rooms of bnas_face)
RULES = {
    "bnas_face": (HEAVY, (*STAGES, "data", "models", "metrics", "cli")),
    "bnas_face.errors": (HEAVY, (*STAGES, "data", "models", "metrics", "cli")),
    "bnas_face.ranks": (HEAVY, (*STAGES, "data", "models", "metrics", "cli")),
    "bnas_face.tables": (HEAVY, (*STAGES, "data", "models", "metrics", "cli")),
    "bnas_face.cli": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.train": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.bench": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.eval": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.export": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.compare": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.search": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.show": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.data": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.align": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.report": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.doctor": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.cli.demo": (HEAVY, (*STAGES, "data", "models", "metrics")),
    "bnas_face.metrics.rates": (("torch", "pandas", "sklearn", "cv2"), (*STAGES, "data", "models", "cli")),
    "bnas_face.metrics.uncertainty": (("torch", "pandas", "sklearn", "cv2"), (*STAGES, "data", "models", "cli")),
    "bnas_face.metrics.identification": (
        ("torch", "pandas", "sklearn", "cv2", "faiss"),
        (*STAGES, "data", "models", "cli"),
    ),
    "bnas_face.metrics.tail": (("torch", "pandas", "sklearn", "cv2"), (*STAGES, "data", "models", "cli")),
    "bnas_face.evaluate.protocol": (
        ("torch", "torchvision", "onnxruntime"),
        ("search", "train", "report", "packed", "cli"),
    ),
    "bnas_face.data.datasets.ijbc": (("torch", "torchvision"), (*STAGES, "models", "metrics", "cli")),
    "bnas_face.data.formats.recordio": (("torch", "torchvision"), (*STAGES, "models", "metrics", "cli")),
    "bnas_face.data.datasets.lfw": (("torch", "torchvision"), (*STAGES, "models", "metrics", "cli")),
    "bnas_face.models": (("onnxruntime", "facenet_pytorch", "torchvision"), (*STAGES, "metrics", "cli")),
    "bnas_face.train.loop": (("onnxruntime", "facenet_pytorch"), ("search", "evaluate", "report", "packed", "cli")),
    "bnas_face.search.loop": (("torch", "onnxruntime", "pandas"), ("train", "evaluate", "report", "packed", "cli")),
    "bnas_face.search.engine": (
        ("onnxruntime", "facenet_pytorch", "pandas"),
        ("train", "evaluate", "report", "packed", "cli"),
    ),
    "bnas_face.evaluate.evaluate": (("onnxruntime", "facenet_pytorch"), ("search", "train", "packed", "cli")),
    **dict.fromkeys(
        ("bnas_face.packed", "bnas_face.packed.runtime", "bnas_face.packed.artifact", "bnas_face.packed.kernels"),
        (
            ("torch", "torchvision", "onnxruntime", "pandas", "sklearn", "cv2", "scipy", "click", "safetensors"),
            ("search", "train", "evaluate", "report", "pipeline", "data", "models", "metrics", "cli", "config"),
        ),
    ),
    "bnas_face.packed.pack": (
        ("onnxruntime", "facenet_pytorch", "pandas"),
        ("search", "train", "evaluate", "report", "pipeline", "data", "metrics", "cli"),
    ),
    "bnas_face.bench.measure": (
        ("torch", "onnxruntime", "pandas"),
        ("search", "train", "evaluate", "report", "cli"),
    ),
    "bnas_face.bench.worker": (
        ("torch", "onnxruntime", "pandas", "cv2", "scipy", "click"),
        ("search", "train", "evaluate", "report", "data", "models", "metrics", "packed", "cli"),
    ),
    "bnas_face.bench.engines.packed": (
        ("torch", "onnxruntime", "pandas", "cv2", "scipy", "click"),
        ("search", "train", "evaluate", "report", "data", "models", "metrics", "cli"),
    ),
    "bnas_face.bench.engines.onnxruntime": (
        ("torch", "pandas", "cv2", "scipy", "click"),
        ("search", "train", "evaluate", "report", "data", "metrics", "packed", "cli"),
    ),
    "bnas_face.report.leaderboard": (
        ("torch", "torchvision", "onnxruntime"),
        ("search", "train", "evaluate", "packed", "models", "cli"),
    ),
    "bnas_face.report.plates": (
        ("torch", "torchvision", "onnxruntime", "resvg_py"),
        ("search", "train", "evaluate", "packed", "models", "cli"),
    ),
    "bnas_face.report.run_page": (
        ("torch", "torchvision", "onnxruntime"),
        ("search", "train", "evaluate", "packed", "models", "cli"),
    ),
    "bnas_face.report.html": (
        ("torch", "torchvision", "onnxruntime"),
        ("search", "train", "evaluate", "packed", "models", "cli"),
    ),
}


@pytest.mark.parametrize("module", sorted(RULES))
def test_room_imports_only_what_it_may(module: str) -> None:
    packages, rooms = RULES[module]
    forbidden = (*packages, *(f"bnas_face.{room}" for room in rooms))
    code = f"import sys, {module}; print([m for m in {forbidden!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bnas_face.cli import cli\n"
        "try:\n    cli(['--help'], prog_name='bnasface')\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.rstrip().endswith("[]"), found.stdout
