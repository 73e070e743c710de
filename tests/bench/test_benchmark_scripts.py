"""The scripts of benchmarks/: what they make of what they measure."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def script(name: str) -> ModuleType:
    """A script as a module."""
    found = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # where its dataclasses look for their names
    found.loader.exec_module(module)
    return module


def test_the_share_of_one_threads_limit_is_that_of_one_thread() -> None:
    packed_conv = script("packed_conv")
    rows = [{"threads": 2, "gops": 3000}, {"threads": 1, "gops": 1500}, {"threads": 1, "gops": 1600}]
    assert packed_conv.best_gops(rows) == 1600
    assert packed_conv.best_gops(rows[:1]) is None, "two threads reach more than one thread can"
