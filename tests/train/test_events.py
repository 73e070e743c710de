"""TensorBoard events, where they are asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_training import stopped_before

from bnas_face.config import TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.train import events, loop

pytestmark = pytest.mark.usefixtures("patterns")
Tiny = Callable[..., TrainConfig]


def read(run_dir: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(run_dir / events.FOLDER))
    found.Reload()
    return found


def steps(found: Any, name: str) -> list[int]:
    return [event.step for event in found.Scalars(name)]


def test_every_step_and_every_row_is_an_event_once_even_after_an_interruption(tmp_path: Path, tiny: Tiny) -> None:
    pytest.importorskip("tensorboard")
    with stopped_before(5):
        loop.train(tiny(tensorboard=True), tmp_path / "mine")
    loop.train(tiny(tensorboard=True), tmp_path / "mine", resume=True)
    found = read(tmp_path / "mine")
    assert steps(found, "loss") == steps(found, "lr") == [1, 2, 3, 4, 5, 6]
    assert steps(found, "development_accuracy") == steps(found, "images_per_s") == [3, 6]


def test_nothing_is_written_unasked(tmp_path: Path, tiny: Tiny) -> None:
    loop.train(tiny(epochs=1), tmp_path / "mine")
    assert not (tmp_path / "mine" / events.FOLDER).exists()


def test_without_tensorboard_the_wish_is_answered_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Tiny
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(loop, "check_names", lambda config: None)
    monkeypatch.setattr(loop, "prepare", lambda *_, **__: pytest.fail("images were read"))
    with pytest.raises(ConfigError, match=r"not installed\. Get it: pip install 'bnas_face\[tensorboard\]'"):
        loop.train(tiny(tensorboard=True), tmp_path / "mine")
