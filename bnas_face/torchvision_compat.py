"""Import torchvision beside a torch it was not compiled for.

The torchvision wheel of the ordinary package index is compiled for CUDA. Beside a CPU-only torch its C++ library cannot
be loaded, and ``import torchvision`` dies with ``operator torchvision::nms does not exist``; facenet-pytorch dies with
it. Only in that case `ensure_torchvision` defines the two missing operators itself. Non-maximum suppression is then
exact, though slower than C++; ``torchvision.io.decode_*`` and RoI operators stay unavailable.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np
import torch

MISSING_OPERATOR = "operator torchvision::nms does not exist"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ensure_torchvision() -> None:
    """Import torchvision, with our ``nms`` where its own cannot be loaded. Call before facenet_pytorch."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if MISSING_OPERATOR not in str(error):
            raise
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]  # half imported
        for operator in ("torchvision::nms", "torchvision::qnms"):
            torch.library.define(operator, SCHEMA)
            torch.library.impl(operator, "default", nms)
        importlib.import_module("torchvision")
        # After the import: during it, "no operators" rightly skips the registrations of the RoI operators.
        sys.modules["torchvision.extension"]._has_ops = lambda: True  # type: ignore[attr-defined]


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression, as torchvision's CPU kernel: indices (int64) of the kept boxes, best first.

    `dets` has shape (n, 4) as x1, y1, x2, y2; `scores` (n,), ties keep their order. A box goes if its overlap (IoU)
    with a better box that was kept is greater than `iou_threshold`.
    """
    boxes = dets if dets.is_floating_point() else dets.float()
    left, top, right, bottom = boxes.detach().cpu().numpy().T
    area = (right - left) * (bottom - top)
    order = np.argsort(-scores.detach().cpu().double().numpy(), kind="stable")
    kept: list[int] = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        width = np.minimum(right[best], right[order]) - np.maximum(left[best], left[order])
        height = np.minimum(bottom[best], bottom[order]) - np.maximum(top[best], top[order])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):  # two empty boxes: 0/0 is not "greater"
            overlap = shared / (area[best] + area[order] - shared)
        order = order[~(overlap.astype(np.float64) > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64, device=dets.device)
