"""torchvision imports beside a torch it was not compiled for, and is left alone where it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bnas_face.torchvision_compat import ensure_torchvision, nms

STUBS = {
    "healthy": ("", "untouched"),
    "no operators": ("raise RuntimeError('operator torchvision::nms does not exist')", None),
    "another error": ("raise RuntimeError('CUDA is on holiday')", "CUDA is on holiday"),
}


def greedy(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Oracle: by definition, one pair at a time."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        overlaps = []
        for j in kept:
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            shared = max(width, 0.0) * max(height, 0.0)
            areas = sum((boxes[k, 2] - boxes[k, 0]) * (boxes[k, 3] - boxes[k, 1]) for k in (i, j))
            overlaps.append(shared / (areas - shared))
        if all(overlap <= threshold for overlap in overlaps):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_equals_the_definition(threshold: float) -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (200, 2))], axis=1)
    scores = rng.uniform(size=200).round(2)  # with ties
    kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.dtype == torch.int64
    assert kept.tolist() == greedy(boxes, scores, threshold)


def test_nms_keeps_a_box_whose_overlap_equals_the_threshold() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1], [1, 0, 2, 1]])  # IoU 1/2
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, 0.49).tolist() == [0]


def test_nms_of_nothing_is_nothing() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_nms_of_small_integers_does_not_overflow() -> None:
    boxes = torch.tensor([[0, 0, 200, 200], [0, 0, 190, 200], [210, 210, 250, 250]], dtype=torch.uint8)
    assert nms(boxes, torch.tensor([1, 2, 3], dtype=torch.uint8), 0.5).tolist() == [2, 1]


def test_batched_nms_suppresses_within_a_group_only() -> None:
    ensure_torchvision()
    from torchvision.ops import batched_nms

    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.1]), torch.tensor([0, 0, 1]), 0.5)
    assert kept.tolist() == [1, 2]


def run_fresh(code: str, first_on_path: Path | None = None) -> str:
    """Standard output of `code` in a fresh interpreter, warnings as errors."""
    insert = "" if first_on_path is None else f"import sys; sys.path.insert(0, {str(first_on_path)!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", insert + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_facenet_pytorch_imports_on_this_machine_in_a_fresh_interpreter() -> None:
    code = (
        "from bnas_face.torchvision_compat import ensure_torchvision\n"
        "ensure_torchvision(); ensure_torchvision()\n"
        "from facenet_pytorch import MTCNN\n"
        "import torch, torchvision\n"
        "torchvision.extension._assert_has_ops()\n"
        "print(torchvision.ops.nms(torch.tensor([[0., 0, 9, 9], [1, 0, 9, 9]]), torch.tensor([.1, .2]), .5).tolist())"
    )
    assert run_fresh(code) == "[1]"


@pytest.mark.parametrize("state", STUBS)
def test_only_the_missing_operator_is_mended(tmp_path: Path, state: str) -> None:
    """A stub torchvision that works, lacks its operators until they are defined, or fails for another reason."""
    failure, expected = STUBS[state]
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "extension.py").write_text("def _has_ops():\n    return 'untouched'\n")
    guard = f"import torch\nif not hasattr(torch.ops.torchvision, 'nms'):\n    {failure or 'pass'}\n"
    (package / "__init__.py").write_text("from torchvision import extension\n" + guard)
    code = (
        "from bnas_face.torchvision_compat import ensure_torchvision\n"
        "import torch\n"
        "try:\n    ensure_torchvision()\n"
        "except RuntimeError as error:\n    print(error)\n"
        "else:\n    import torchvision\n"
        "    print(torchvision.extension._has_ops(), hasattr(torch.ops.torchvision, 'nms'))"
    )
    wanted = {"healthy": "untouched False", "no operators": "True True"}.get(state, expected)
    assert run_fresh(code, tmp_path) == wanted
