"""Settings that go together, by name (``bnasface train --preset paper``), and what a set of objects asks for.

Whatever is typed on the command line wins over both.

The preset ``paper`` is the recipe of DARTS's evaluation networks, which PC-DARTS and the two BNAS papers follow (their
authors' numbers as remembered, not read again): 600 epochs of CIFAR-10 by SGD with cosine from 0.025, gradient clipped
to 5, auxiliary classifier 0.4, drop-path rising to 0.2 (PC-DARTS: 0.3), cutout of 16 px, all 50,000 training images.
Weight decay is DARTS's 3e-4. Deviations: Nesterov momentum; no decay of biases and batch norms; the border of a shifted
image is repeated instead of black; cutout leaves mid-grey. On ImageNet: 14 cells of 64 channels, 250 epochs, and cosine
where DARTS multiplies the rate by 0.97 every epoch; no label smoothing, no colour jitter, central squares shifted
instead of random crops. W1A1 networks train by Adam with 1e-3 and without decay (ours).

The preset ``casia_paper`` is ArcFace's recipe for CASIA-WebFace (Deng et al., ArcFace, CVPR 2019, section 3.1; its
numbers as remembered, not read again): 112 px, flips only, embeddings of 512, dropout 0.4, scale 64 and margin 0.5, SGD
with 0.9 and 5e-4, batches of 512, rate 0.1 divided by 10 after 20,000 and 28,000 of 32,000 steps, that is after 5/8 and
7/8 of some 33 epochs. The backbone is yours to choose. Deviations: Nesterov momentum; no decay of biases and batch
norms. W1A1 networks train by Adam as above.

The preset ``quick`` is no paper's: minutes on two CPU cores, to see whether everything is in place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from bnas_face import tables
from bnas_face.config import OBJECTS_SHIFT_PX, TrainConfig
from bnas_face.errors import ConfigError

_EVALUATION: Mapping[str, Any] = {
    "auxiliary": True,
    "auxiliary_weight": 0.4,
    "gradient_clip": 5.0,
    "optimizer": "sgd",
    "momentum": 0.9,
    "development_share": 0.0,
}
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    # preset → dataset, or any set of "faces" or "objects" → settings
    "casia_paper": {
        "faces": {
            "head": "arcface",
            "scale": 64.0,
            "margin": 0.5,
            "size_px": 112,
            "width": 1.0,
            "embedding_dim": 512,
            "dropout": 0.4,
            "optimizer": "sgd",
            "momentum": 0.9,
            "lr": 0.1,
            "weight_decay": 5e-4,
            "schedule": "step",
            "step_at": (0.625, 0.875),
            "step_factor": 0.1,
            "warmup_epochs": 0.0,
            "epochs": 33,
            "batch_size": 512,
            "shift_px": 0,
            "development_share": 0.0,
        },
    },
    "quick": {
        "faces": {"epochs": 3, "max_images": 10_000, "batch_size": 64, "width": 0.25, "embedding_dim": 128},
        "objects": {"epochs": 3, "max_images": 10_000, "batch_size": 64},
    },
    "paper": {
        "cifar10": {
            **_EVALUATION,
            "cells": 20,
            "channels": 36,
            "drop_path": 0.2,
            "cutout_px": 16,
            "epochs": 600,
            "batch_size": 96,
            "lr": 0.025,
            "weight_decay": 3e-4,
            "warmup_epochs": 0.0,
        },
        "imagenet": {
            **_EVALUATION,
            "cells": 14,
            "channels": 64,
            "epochs": 250,
            "batch_size": 128,
            "lr": 0.1,
            "weight_decay": 3e-5,
            "warmup_epochs": 5.0,
        },
    },
}
ONE_BIT: Mapping[str, Any] = {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0}
"""Takes the place of SGD in a preset where activations are 1-bit."""

OBJECTS: Mapping[str, Any] = {"task": "classification", "head": "cross_entropy", "shift_px": OBJECTS_SHIFT_PX}
"""What a set of objects asks for; 14 px of 112 are the 4 px of 32 that CIFAR-10 is shifted by everywhere."""


def names() -> tuple[str, ...]:
    """Names of all presets."""
    return tuple(PRESETS)


def preset(name: str, dataset: str, *, activation_bits: int, kind: str = "faces") -> dict[str, Any]:
    """Settings of a preset for a dataset, or else for its kind, ``"faces"`` or ``"objects"``.

    Raises
    ------
    UnknownNameError
        If there is no such preset.
    ConfigError
        If the preset has nothing to say about the dataset.
    """
    tables.check_known("preset", name, PRESETS)
    known = PRESETS[name]
    of = dataset.partition(":")[0]
    found = known.get(of, known.get(kind))
    if found is None:
        raise ConfigError(
            f"Preset '{name}' is a recipe for {' and '.join(known)}, not for '{of}'. Leave --preset out, or give "
            "another --dataset."
        )
    return {**found, **(ONE_BIT if activation_bits == 1 and "optimizer" in found else {})}


def fill(values: Mapping[str, Any], given: Collection[str], name: str | None) -> dict[str, Any]:
    """Settings with those of the preset and of the kind of dataset in the places that the user left open.

    Parameters
    ----------
    values : mapping
        Fields of `TrainConfig` and `ModelConfig`, flat; ``task`` None leaves it to the dataset.
    given : collection of str
        Those that the user gave.
    name : str or None
        Of a preset.

    Returns
    -------
    dict
        For objects ``embedding_dim`` is the number of classes that are there.

    Raises
    ------
    UnknownNameError, ConfigError
        See `preset`; or if a name is not known.
    DatasetError
        If a set of objects is not on this machine, or has fewer than two classes.
    """
    from bnas_face.data import datasets

    dataset = values["dataset"]
    card = datasets.card(dataset.partition(":")[0])
    task = values["task"] or ("classification" if card.kind == "objects" else "embedding")
    implied: dict[str, Any] = {"task": task}
    if name is not None:
        kind = "objects" if task == "classification" else "faces"
        implied |= preset(name, dataset, activation_bits=values["activation_bits"], kind=kind)
    if task == "classification":
        implied |= {**OBJECTS, **({"size_px": card.size_px} if card.size_px else {})}
        if "embedding_dim" not in given:
            implied["embedding_dim"] = _n_classes(values)
    return {**values, **{field: value for field, value in implied.items() if field not in given}}


def _n_classes(values: Mapping[str, Any]) -> int:
    from bnas_face.data.selection import select

    return select(
        values["dataset"], exclude_names_of=values["exclude_names_of"], min_images=values["min_images"]
    ).n_identities


_USED_BY: Mapping[str, tuple[str, str]] = {
    # setting → the other setting, and the value of it that uses this one
    "step_at": ("schedule", "step"),
    "step_factor": ("schedule", "step"),
    "poly_power": ("schedule", "poly"),
    "momentum": ("optimizer", "sgd"),
    "drop_path": ("backbone", "searched"),
    "cells": ("backbone", "searched"),
    "channels": ("backbone", "searched"),
}


def check_used(config: TrainConfig, typed: Collection[str]) -> None:
    """Refuse what was typed and would have no effect.

    Raises
    ------
    ConfigError
        If one of the settings `typed` is of a schedule, an optimizer, a network or a teacher that is not asked for.
    """
    for name in sorted(set(typed) & set(_USED_BY)):
        other, value = _USED_BY[name]
        now = getattr(config.model, other, None) or getattr(config, other, None)
        if now != value:
            raise ConfigError(
                f"--{name.replace('_', '-')} is of --{other} {value}, and that is '{now}'. Add it, or leave this out."
            )
    if "teacher_weight" in typed and not config.teacher:
        raise ConfigError("--teacher-weight is of a teacher's embeddings. Name a --teacher, or leave it out.")
    if "auxiliary_weight" in typed and not config.model.auxiliary:
        raise ConfigError("--auxiliary-weight is of an auxiliary classifier. Add --auxiliary, or leave it out.")
