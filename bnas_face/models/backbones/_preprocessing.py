"""From uint8 pixels to what a network wants to see: size, colour order, mean and standard deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import ConfigError

COLOUR_ORDERS = ("RGB", "BGR")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an RGB image before the network: ``(x / 255 − mean) / std`` per channel.

    Attributes
    ----------
    mean, std : tuple of 3 float
        On the scale 0 to 1, in the order of `colour_order`. The default maps 0…255 to −1…1.
    colour_order : str
        ``"RGB"``, or ``"BGR"`` for a network trained on images as OpenCV reads them.
    size_px : int
        Height and width of the network's input.
    source : str
        Who said so: "default", "options", the side-car's name or the table of known files. Stands in result.json.
    """

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    colour_order: str = "RGB"
    size_px: int = 112
    source: str = "default"

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(np.isfinite(v) for v in values):
                raise ConfigError(f"Preprocessing {name} {values!r} is not three finite numbers, one per colour.")
        if min(self.std) <= 0:
            raise ConfigError(f"Preprocessing std {self.std!r} must be greater than 0 in every colour.")
        if max(*self.mean, *self.std) > 2:
            raise ConfigError(
                f"Preprocessing mean {self.mean!r}, std {self.std!r} look like the scale 0 to 255; divide them by 255."
            )
        if self.colour_order not in COLOUR_ORDERS:
            raise ConfigError(f"Colour order '{self.colour_order}' is not one of {', '.join(COLOUR_ORDERS)}.")
        if not 1 <= self.size_px <= 4096:
            raise ConfigError(f"Preprocessing size_px {self.size_px} is not between 1 and 4096.")

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB uint8 (n, size_px, size_px, 3) → float32 (n, 3, size_px, size_px), by a table of 256 levels."""
        levels = np.arange(256) / 255.0
        planes = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            table = ((levels - mean) / std).astype(np.float32)
            colour = channel if self.colour_order == "RGB" else 2 - channel
            np.take(table, images[..., colour], out=planes[:, channel])
        return planes

    def as_dict(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
