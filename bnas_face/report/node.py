"""A value of a JSON file that knows where it stands, so that every error names the file and the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face.errors import ReportError


@dataclass(frozen=True)
class Node:
    """A value in the file and the way to it, so that every error can name the place; `writer` makes such files."""

    file: Path
    where: str
    value: Any
    writer: str = "bnasface eval"

    def __getitem__(self, key: str) -> Node:
        """The member `key`; an error if it is absent."""
        fields = self._checked(dict, "an object")
        if key not in fields:
            raise self.error(f"lacks the field '{self._below(key)}'")
        return Node(self.file, self._below(key), fields[key], self.writer)

    def get(self, key: str) -> Node | None:
        """The member `key`, or None where it is absent or null."""
        value = self._checked(dict, "an object").get(key)
        return None if value is None else Node(self.file, self._below(key), value, self.writer)

    def items(self) -> list[Node]:
        """The members of a list."""
        members = self._checked(list, "a list")
        return [Node(self.file, f"{self.where}[{i}]", member, self.writer) for i, member in enumerate(members)]

    def fields(self) -> dict[str, Any]:
        """The object as it stands."""
        found: dict[str, Any] = self._checked(dict, "an object")
        return found

    def text(self) -> str:
        """A string."""
        return str(self._checked(str, "text"))

    def number(self) -> float:
        """A finite number."""
        self._checked((int, float), "a number")
        if isinstance(self.value, bool) or not math.isfinite(self.value):
            raise self.error(f"holds {self.value!r} in '{self.where}', expected a finite number")
        return float(self.value)

    def maybe(self) -> float | None:
        """A finite number or null."""
        return None if self.value is None else self.number()

    def maybe_rate(self, least: float = 0.0) -> float | None:
        """A fraction between `least` (0, or −1 for a difference) and 1, or null: 99.3 is a percentage, and refused."""
        value = self.maybe()
        if value is not None and not least <= value <= 1:
            raise self.error(f"holds {self.value!r} in '{self.where}', expected a fraction between {least:g} and 1")
        return value

    def rates(self) -> tuple[float, ...]:
        """A list of fractions between 0 and 1."""
        found = (member.maybe_rate() for member in self.items())
        return tuple(rate for rate in found if rate is not None)

    def flag(self) -> bool:
        """True or false."""
        return bool(self._checked(bool, "true or false"))

    def integer(self) -> int:
        """A whole number of at least zero."""
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < 0:
            raise self.error(f"holds {self.value!r} in '{self.where}', expected a whole number of at least 0")
        return self.value

    def maybe_integer(self) -> int | None:
        """A whole number of at least zero, or null."""
        return None if self.value is None else self.integer()

    def numbers(self) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(member.number() for member in self.items())

    def one_of(self, known: set[str], kind: str) -> str:
        """A string that names one of `known`."""
        name = self.text()
        if name not in known:
            raise self.error(f"names the unknown {kind} '{name}' in '{self.where}'")
        return name

    def _below(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def _checked(self, types: Any, expected: str) -> Any:
        if not isinstance(self.value, types):
            raise self.error(f"holds {self.value!r:.60} in '{self.where or 'the whole file'}', expected {expected}")
        return self.value

    def error(self, what: str) -> ReportError:
        """An error of the file that says `what` is wrong and what to do."""
        return ReportError(f"'{self.file}' {what}. Write it again with '{self.writer}'.")
