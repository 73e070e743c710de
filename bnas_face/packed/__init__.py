"""The packed engine: a network whose 1-bit weights and activations are bits, on disk and in the processor.

``load("model.bnn")`` needs numpy alone; ``pack`` and what it imports need torch.
"""

from __future__ import annotations

from bnas_face.packed.runtime import Network, load

__all__ = ["Network", "load"]
