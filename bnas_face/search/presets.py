"""Defaults that depend on the searcher and the space, and presets of settings by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from bnas_face import tables
from bnas_face.config import OBJECTS_SHIFT_PX, ModelConfig, SearchConfig
from bnas_face.errors import ConfigError

if TYPE_CHECKING:
    from bnas_face.models.binarizers._base import Binarizer

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Every number of the paper's search is a default already.
    "paper": {},
    # Demo-sized: a smaller network, fewer images, one repeat and one warm-up epoch; Adam learns sooner than SGD.
    "quick": {
        "max_images": 240,
        "size_px": 64,
        "cells": 4,
        "channels": 8,
        "warmup_epochs": 1,
        "repeats": 1,
        "mixed_epochs": 1,
        "batch_size": 32,
        "optimizer": "adam",
        "lr": 3e-3,
    },
}
FROZEN_SHARE = 0.3
"""15 of PC-DARTS' 50 epochs train weights only."""
RANDOM_EPOCHS = 5
_OF_SEARCHER: Mapping[str, tuple[str, ...]] = {
    "ucb": ("bnas",),
    "warmup_epochs": ("bnas",),
    "repeats": ("bnas",),
    "mixed_epochs": ("bnas",),
    "temperature": ("bnas",),
    "reduction": ("bnas",),
    "epochs": ("pc_darts", "random"),
    "frozen_epochs": ("pc_darts",),
    "samples": ("random",),
}
_Value = TypeVar("_Value")


def preset(name: str) -> dict[str, Any]:
    """Fields of a preset; ``quick`` gives up certainty, not steps: every part of the algorithm runs.

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    """
    tables.check_known("preset", name, PRESETS)
    return dict(PRESETS[name])


def resolve(config: SearchConfig) -> SearchConfig:
    """`config` with every None and ``"auto"`` replaced by the default of its searcher, space and binarizer.

    - λ of UCB: 1 in space ``onebit`` (what the authors added it for), else 0.
    - Channel sampling: BNAS 2, PC-DARTS 4 (the papers'), random 1 (each genotype is trained as it is).
    - Epochs: PC-DARTS 50, of which 15 (or three tenths) are frozen; each sample of random 5.
    - Batch size: PC-DARTS 256, else 128.
    - Optimizer: W1A1 Adam with learning rate 1e-3 and no decay; else SGD with 0.025 (PC-DARTS 0.1) and 5e-4.

    A resolved config resolves to itself.

    Raises
    ------
    ConfigError
        If all epochs of PC-DARTS are frozen, or C does not divide the channels.
    """
    of_pc_darts = config.searcher == "pc_darts"
    one_bit = config.space == "onebit" and config.binarizer != "none"
    epochs = _else(config.epochs, {"pc_darts": 50, "random": RANDOM_EPOCHS}.get(config.searcher))
    optimizer = ("adam" if one_bit else "sgd") if config.optimizer == "auto" else config.optimizer
    adam = optimizer == "adam"
    if of_pc_darts and (config.frozen_epochs or 0) >= (epochs or 0):
        raise ConfigError(
            f"All {epochs} epochs of pc_darts would train weights only, since {config.frozen_epochs} are frozen: "
            "nothing would be searched. Choose fewer --frozen-epochs or more --epochs."
        )
    return replace(
        config,
        ucb=_else(config.ucb, 1.0 if config.space == "onebit" else 0.0),
        channel_sampling=_else(config.channel_sampling, {"pc_darts": 4, "random": 1}.get(config.searcher, 2)),
        epochs=epochs,
        frozen_epochs=_else(config.frozen_epochs, round(FROZEN_SHARE * (epochs or 0)) if of_pc_darts else None),
        batch_size=_else(config.batch_size, 256 if of_pc_darts else 128),
        optimizer=optimizer,
        lr=_else(config.lr, 1e-3 if adam else 0.1 if of_pc_darts else 0.025),
        weight_decay=_else(config.weight_decay, 0.0 if adam else 5e-4),
    )


def _else(value: _Value | None, default: _Value) -> _Value:
    return default if value is None else value


def of_objects(dataset: str, size_px: int) -> dict[str, Any]:
    """What a set of objects asks for where nothing is typed: its shift, and images that are not enlarged.

    Parameters
    ----------
    dataset : str
    size_px : int
        What the search would use else.

    Returns
    -------
    dict
        Fields of `SearchConfig`; empty for faces.
    """
    from bnas_face.data import datasets

    name = dataset.partition(":")[0]
    if name not in datasets.names() or (card := datasets.card(name)).kind != "objects":
        return {}
    return {"shift_px": OBJECTS_SHIFT_PX, "size_px": min(size_px, card.size_px or size_px)}


def without_effect(searcher: str, given: Collection[str]) -> list[str]:
    """Those of the `given` fields that this searcher does not read."""
    return sorted(name for name in given if searcher not in _OF_SEARCHER.get(name, (searcher,)))


def check_names(config: SearchConfig) -> None:
    """Tell a mistyped name before anything is decoded.

    Raises
    ------
    UnknownNameError
        If the searcher, the space or the binarizer is not known.
    """
    tables.check_known("searcher", config.searcher, tables.names("bnas_face.search.searchers"))
    tables.check_known("search space", config.space, tables.names("bnas_face.models.spaces"))
    tables.check_known("binarizer", config.binarizer, tables.names("bnas_face.models.binarizers"))


def binarizer(config: SearchConfig) -> Binarizer:
    """What makes the convolutions of the search network, for inputs of the space's bits.

    Raises
    ------
    ConfigError
        If it cannot have such inputs.
    """
    from bnas_face import models

    model = ModelConfig(binarizer=config.binarizer, activation_bits=_activation_bits(config))
    found: Binarizer = tables.load(models.BINARIZERS, "binarizer", config.binarizer).build(model)
    return found


def _activation_bits(config: SearchConfig) -> int:
    from bnas_face import models

    bits: int = models.space(config.space).ACTIVATION_BITS
    return 32 if config.binarizer == "none" else bits


def check_binarizer(config: SearchConfig) -> None:
    """Tell a binarizer that cannot have the inputs of the space's convolutions before anything is decoded.

    Raises
    ------
    ConfigError
        If it is so: react in space paper, whose inputs are floats.
    """
    try:
        binarizer(config)
    except ConfigError as error:
        raise ConfigError(
            f"Binarizer '{config.binarizer}' does not go with space '{config.space}', whose convolutions have "
            f"{_activation_bits(config)}-bit inputs. Choose the other --space (paper: 32, onebit: 1), or "
            "--binarizer xnor."
        ) from error
