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
    file_bytes : int
        Length of the file that would be shipped.
    file_format : str
    options : mapping
        JSON values for the engine's `open`.
    """

    file: Path
    file_bytes: int
    file_format: str
    options: Mapping[str, Any] = field(default_factory=dict)
