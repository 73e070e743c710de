"""What an engine's `prepare` hands to the process that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A file that an engine can run.

    Attributes
    ----------
    file : Path
        What the engine opens.
    shipped : Path
        The file whose length is quoted: what somebody needs to run the network with this engine.
    file_format : str
    is_quantised : bool
        Whether its weights were rounded for this engine, so that it embeds otherwise than the model: its time and its
        bytes then are not those of the model's accuracy.
    floats : str or None
        Of a packed file: how the weights that are no bits are stored, see `packed.pack.lower`; None: not known.
    images_at_once : int or None
        Of a file that takes so many images at once and no others; None: any number.
    options : mapping
        JSON values for the engine's `open`.
    """

    file: Path
    shipped: Path
    file_format: str
    is_quantised: bool = False
    floats: str | None = None
    images_at_once: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
