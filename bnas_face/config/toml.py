"""Settings of a training as a TOML file: keys are the options of ``bnasface train`` without their dashes in front.

    dataset = "lfw"
    exclude-names-of = ["cfp"]
    binarizer = "xnor"
    activation-bits = 1
    epochs = 12

``batch-size`` and ``batch_size`` are the same key. There are no tables.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bnas_face import tables
from bnas_face.errors import ConfigError


def read(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings of a file, by name with underscores.

    Parameters
    ----------
    path : Path
    known : collection of str
        Names there are.

    Raises
    ------
    ConfigError
        If the file is absent or no TOML, or a key is not known or given twice; names file and key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"Settings file '{path}' cannot be read: {reason}.") from error
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in known:
            near = tables.suggest(name, known).replace("_", "-")
            raise ConfigError(f"Unknown setting '{key}' in '{path}'.{near} Keys are options of bnasface train.")
        if name in values:
            raise ConfigError(f"Setting '{key}' stands twice in '{path}', with - and with _. Leave one.")
        values[name] = value
    return values


def text(settings: Mapping[str, Any], comment: str) -> str:
    """Settings as TOML under a comment; None, which is "not given", is left out."""
    lines = [f"{name.replace('_', '-')} = {_value(value)}" for name, value in settings.items() if value is not None]
    return "\n".join([f"# {comment}", *lines]) + "\n"


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's only difference in strings
    return repr(value)  # of a number: the shortest text that reads back as the same
