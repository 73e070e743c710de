"""Fixtures of the training tests: a dataset of 16 people whose images a tiny network can tell apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_training import draw_people, make_config

from bnas_face.config import TrainConfig
from bnas_face.data import datasets
from bnas_face.data.images import FaceImages


@pytest.fixture
def patterns(monkeypatch: pytest.MonkeyPatch) -> FaceImages:
    """Every dataset name opens the patterns."""
    images = draw_people()
    monkeypatch.setattr(datasets, "load", lambda spec: images)
    return images


@pytest.fixture
def tiny() -> Callable[..., TrainConfig]:
    """Settings by keyword, of model and training alike; everything else as small as it goes."""
    return make_config


@pytest.fixture
def people() -> Callable[..., FaceImages]:
    """Draws a set of patterns; another seed, other pixels."""
    return draw_people
