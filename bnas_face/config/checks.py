"""What every kind of setting is checked with; all raise `ConfigError`."""

from __future__ import annotations

from pathlib import Path

from bnas_face.errors import ConfigError


def check_name(name: str) -> None:
    """Refuse what is no plain folder name."""
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"Run name '{name}' is not a plain folder name. Use letters, digits, - and _.")


def one_of(word: str, value: object, allowed: tuple[object, ...]) -> None:
    """Refuse what is none of the allowed values; `word` names the setting in the message."""
    if value not in allowed:
        raise ConfigError(f"The {word} '{value}' is not known. Choose {' or '.join(str(a) for a in allowed)}.")


def in_range(word: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high], and one that is not a number; `word` names the setting."""
    if not low <= value <= high:
        raise ConfigError(f"The {word} is {value:g}; it must lie between {low:g} and {high:g}.")
