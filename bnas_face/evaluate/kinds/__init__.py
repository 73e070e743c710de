"""Kinds of protocols by name: what is counted, and of which networks. A card says which kind it is."""

from __future__ import annotations

from typing import cast

from bnas_face import tables
from bnas_face.evaluate.kinds._base import AnyMeasured, AnyProtocol, Kind


def names() -> tuple[str, ...]:
    """Names of all kinds."""
    return tables.names(__name__)


def load(name: str) -> Kind:
    """The kind of a name; raises `UnknownNameError` for a typo."""
    return cast(Kind, tables.load(__name__, "kind of protocol", name))


def of(found: AnyProtocol | AnyMeasured) -> Kind:
    """The kind of a protocol, or of what was measured on one."""
    protocol = found.protocol if isinstance(found, AnyMeasured) else found
    return load(protocol.card.kind)
