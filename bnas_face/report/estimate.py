"""A number with its confidence interval, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.report.node import Node


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its confidence interval; None with a `reason` where it is undefined.

    Attributes
    ----------
    value, low, high : float or None
        The number and its interval, as fractions (an interval of a difference is signed).
    method : str
        How the interval was made ("Wilson 95 %", …); empty where unknown.
    reason : str
        Why the value is undefined; empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    reason: str


def read(node: Node, key: str = "value", least: float = 0.0) -> Estimate:
    """The number `key` of an object (a fraction of at least `least`) with ``ci_low``, ``ci_high``, ``ci_method``."""
    return Estimate(
        value=node[key].maybe_rate(least),
        low=node["ci_low"].maybe(),
        high=node["ci_high"].maybe(),
        method=optional_text(node, "ci_method"),
        reason=optional_text(node, "reason"),
    )


def read_rate(node: Node, key: str) -> Estimate:
    """The rate `key` of an object with ``<key>_low`` and ``<key>_high``; null where no pair is of its class."""
    return Estimate(
        value=node[key].maybe_rate(),
        low=node[f"{key}_low"].maybe_rate(),
        high=node[f"{key}_high"].maybe_rate(),
        method="",
        reason="",
    )


def optional_text(node: Node, key: str) -> str:
    """The text `key` of an object, empty where it is absent or null."""
    found = node.get(key)
    return "" if found is None else found.text()
