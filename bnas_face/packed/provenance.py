"""What a packed file says of its origin, checked: anybody can write it, and reports read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FLOATS = ("int8", "fp16", "fp32")
"""How weights that are no bits may be stored, see `pack.lower`."""


def floats(provenance: Mapping[str, Any]) -> str | None:
    """One of `FLOATS`; None where the file does not say."""
    found = provenance.get("floats")
    return found if isinstance(found, str) and found in FLOATS else None
