"""Options that every command has which evaluates models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _triple(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, float, float] | None:
    """Three numbers, one per colour: ``0.485,0.456,0.406``."""
    if value is None:
        return None
    try:
        first, second, third = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"'{value}' is not three numbers separated by commas, such as 0.5,0.5,0.5.") from None
    return first, second, third


_OPTIONS = (
    click.option("--convention", default="strict", show_default=True, help="strict, insightface or facex."),
    click.option(
        "--onnx-mean", callback=_triple, metavar="R,G,B", help="Mean per colour of ONNX models, scale 0 to 1."
    ),
    click.option("--onnx-std", callback=_triple, metavar="R,G,B", help="Standard deviation per colour of ONNX models."),
    click.option("--onnx-colour-order", type=click.Choice(["RGB", "BGR"]), help="Colour order of ONNX models."),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the bootstrap."),
    click.option(
        "--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Images embedded at once."
    ),
)


def options(command: _Command) -> _Command:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
