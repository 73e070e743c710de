"""Pickles of others, read without running anything: the instructions of data only.

A pickle is a program. Instead of Python's unpickler this module interprets the few instructions that data needs
(lists, tuples, dictionaries, bytes, text, numbers, truth values, the memo) and builds numpy arrays by name from a
closed table; any other instruction or name is refused. Nothing in the file can reach a function, an attribute or an
import.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import FormatError

MAX_OPERATIONS = 50_000_000
_MARK = object()
_ITEM_TYPES = {"u1": np.uint8, "|u1": np.uint8, "b1": np.bool_, "|b1": np.bool_, "i8": np.int64, "<i8": np.int64}


def max_unpacked_bytes(n_bytes: int) -> int:
    """Largest size a file of `n_bytes` may unpack to: images are shared between pairs, but not a thousand times."""
    return 200_000_000 + 20 * n_bytes


class _RefusedError(Exception):
    """Raised inside the interpreter; becomes a `FormatError` with the byte."""


@dataclass
class _Name:
    """A name the pickle mentions, from the closed table `_CALLS`; it is never looked up anywhere."""

    name: str


@dataclass
class _DType:
    item_type: type


@dataclass
class Array:
    """An array being rebuilt; `value` is set by BUILD."""

    value: NDArray[Any] | None = None


def interpret(content: bytes, path: Path, kind: str, *, dictionaries: bool = False) -> Any:
    """The value that a pickle describes: Python's own types, and `Array` around numpy's.

    Parameters
    ----------
    content : bytes
        The whole file.
    path : Path
        Named in errors.
    kind : str
        What the file should be, with its article ("a .bin"), for errors.
    dictionaries : bool
        Whether such a file may hold dictionaries.

    Raises
    ------
    FormatError
        If the pickle is damaged, truncated, or asks for anything but data; names the file and the byte.
    """
    machine = _Machine(len(content), kind, dictionaries=dictionaries)
    position = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in damaged text
            for count, (operation, argument, where) in enumerate(pickletools.genops(BytesIO(content))):
                position = where or 0
                if count > MAX_OPERATIONS:
                    raise _RefusedError("it has too many instructions")
                machine.step(operation.name, argument)
        return machine.result()
    except _RefusedError as error:
        raise FormatError(f"'{path}' is refused at byte {position}: {error}. Nothing of it was run.") from None
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, UnicodeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise FormatError(
            f"'{path}' is damaged or truncated near byte {position} of {len(content)}: {reason}."
        ) from None


_NUMBERS = ("INT", "LONG", "LONG1", "LONG4", "BININT", "BININT1", "BININT2")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_PUSH = frozenset((*_NUMBERS, *_BYTES, *_TEXTS))
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


class _Machine:
    """The pickle machine: a stack and a memo, and the instructions of data only."""

    def __init__(self, n_bytes: int, kind: str, *, dictionaries: bool) -> None:
        self.kind = kind
        self.handlers = {**_HANDLERS, **_DICTIONARIES} if dictionaries else _HANDLERS
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.n_left = max_unpacked_bytes(n_bytes)

    def result(self) -> Any:
        """The value that is left."""
        if len(self.stack) != 1:
            raise ValueError(f"{len(self.stack)} values are left at its end")
        return self.stack[0]

    def step(self, name: str, argument: Any) -> None:
        """Run one instruction, or refuse it."""
        if name in _PUSH:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("STRING", "BINSTRING", "SHORT_BINSTRING"):  # Python 2 text is bytes: encoding="bytes"
            self.stack.append(argument.encode("latin-1"))
        elif name not in _IGNORED:
            handler = self.handlers.get(name)
            if handler is None:
                raise _RefusedError(f"the pickle instruction {name} is not allowed in {self.kind}")
            handler(self, argument)

    def drop(self) -> None:
        self.stack.pop()

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        value = self.stack.pop()
        if value is _MARK or not isinstance(value, kind):
            raise TypeError(f"an instruction found {type(value).__name__} on the stack")
        return value

    def pop_mark(self) -> list[Any]:
        """The values above the topmost mark, in order; the mark is taken off too."""
        items: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]

    def tuple_of(self, n: int) -> None:
        items = [self.pop() for _ in range(n)][::-1]
        self.stack.append(tuple(items))

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError(f"an instruction appends to {type(target).__name__}")
        target.extend(items)

    def new_dictionary(self, items: list[Any]) -> None:
        self.stack.append({})
        self.set_items(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError(f"an instruction sets items of {type(target).__name__}")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self, module: str, name: str) -> None:
        full = f"{module}.{name}".replace("numpy._core.", "numpy.core.")
        if full not in _NAMES:
            raise _RefusedError(f"it asks for '{module}.{name}', which {self.kind} has no need of")
        self.stack.append(_Name(full))

    def stack_name(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(module, name)

    def reduce(self) -> None:
        arguments, called = self.pop(tuple), self.pop(_Name)
        if called.name not in _CALLS:
            raise _RefusedError(f"it calls '{called.name}', which is no function of {self.kind}")
        value = _CALLS[called.name](*arguments)
        if isinstance(value, bytes):  # the same text may be encoded again and again: a bomb
            self.n_left -= len(value)
        if self.n_left < 0:
            raise _RefusedError("it unpacks to far more than the file holds")
        self.stack.append(value)

    def build(self) -> None:
        state, target = self.pop(tuple), self.stack[-1]
        if isinstance(target, _DType):
            if state[1] not in ("<", "|", "=", b"<", b"|", b"="):
                raise _RefusedError(f"numbers of byte order {state[1]!r} are not allowed in {self.kind}")
        elif isinstance(target, Array):
            _, shape, dtype, is_fortran, data = state
            target.value = _filled(data, dtype, shape, "F" if is_fortran else "C")
        else:
            raise _RefusedError(f"it sets the state of {type(target).__name__}")


def _new_array(kind: Any, shape: Any, code: Any) -> Array:
    if not isinstance(kind, _Name) or kind.name != "numpy.ndarray":
        raise _RefusedError("it rebuilds something else than a numpy array")
    return Array()


def _dtype(code: Any, *_: Any) -> _DType:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or text not in _ITEM_TYPES:
        raise _RefusedError(f"arrays of type {code!r} are not allowed (only uint8, bool and int64)")
    return _DType(_ITEM_TYPES[text])


def _filled(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    """An array over bytes that are in the file: its size cannot exceed what the file holds."""
    if not isinstance(data, (bytes, bytearray)) or not isinstance(dtype, _DType) or order not in ("C", "F"):
        raise TypeError("an array without data")
    sizes = [int(size) for size in (shape if isinstance(shape, tuple) else (shape,))]
    if any(size < 0 for size in sizes) or len(sizes) > 8:
        raise ValueError(f"an array of shape {sizes[:8]}")
    flat: NDArray[Any] = np.frombuffer(bytes(data), dtype.item_type)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any) -> Any:
    return _filled(data, dtype, (1,), "C")[0]


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    return Array(_filled(data, dtype, shape, order))


def _encoded_text(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("it encodes something else than latin-1 text")
    return text.encode("latin-1")


_CALLS: Mapping[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _new_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encoded_text,
}
_NAMES = frozenset({*_CALLS, "numpy.ndarray"})

_HANDLERS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "POP": lambda machine, _: machine.drop(),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_mark()),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "BYTEARRAY8": lambda machine, argument: machine.stack.append(bytes(argument)),
    "GLOBAL": lambda machine, argument: machine.name(*argument.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.stack_name(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
    "PUT": lambda machine, argument: machine.put(argument),
    "BINPUT": lambda machine, argument: machine.put(argument),
    "LONG_BINPUT": lambda machine, argument: machine.put(argument),
    "MEMOIZE": lambda machine, _: machine.put(None),
    "GET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine.stack.append(machine.memo[argument]),
}

_DICTIONARIES: Mapping[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "DICT": lambda machine, _: machine.new_dictionary(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
}
