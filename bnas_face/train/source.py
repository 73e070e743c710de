"""What a run is trained on: the dataset without the people it must not know, split and decoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import tables
from bnas_face.config import TrainConfig
from bnas_face.data import decoding, development, loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.images import FaceImages
from bnas_face.data.selection import limited, protocol_names, select
from bnas_face.data.sources import Progress, Source, Streamed, Without
from bnas_face.data.views import views
from bnas_face.data.workers import default_workers
from bnas_face.train.distill import Teacher

VIEWS_SEED = 0
"""Views are a part of the data, not of the run: runs of several seeds share them, and what the teacher saw of them."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Images of a run.

    Attributes
    ----------
    images : Source
        Of `n_images` images at the network's size.
    labels : ndarray of int64, shape (n_images,)
    n_identities : int
    development_pixels : ndarray of uint8, shape (n_development, size_px, size_px, 3)
        Empty where nothing is held out.
    development_pairs : DevelopmentPairs or None
        Of faces.
    development_labels : ndarray of int64, shape (n_development,), or None
        Of objects.
    provenance : dict
        JSON values for ``config.json``.
    targets : ndarray of float32, shape (n_images, teacher_dim), or None
        The teacher's embeddings.
    """

    images: Source
    labels: NDArray[np.int64]
    n_identities: int
    development_pixels: NDArray[np.uint8]
    development_pairs: development.DevelopmentPairs | None
    development_labels: NDArray[np.int64] | None
    provenance: dict[str, Any]
    targets: NDArray[np.float32] | None = None


def prepare(
    config: TrainConfig,
    *,
    teacher: Teacher | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    n_processes: int = 1,
) -> TrainingData:
    """Select, split and open what `config` names, and have the teacher look at it.

    Parameters
    ----------
    config : TrainConfig
    teacher : Teacher or None
    progress : callable or None
        Called with (images decoded, images in all).
    say : callable or None
        Called with a line that the user should read: that the images are not in memory.
    n_processes : int
        Trainings that share this machine's memory.

    Raises
    ------
    ConfigError, DatasetError
        See `selection.select`, `development`, `decoding.open_source`.
    """
    images = select(config.dataset, exclude_names_of=config.exclude_names_of, min_images=config.min_images)
    is_objects = config.model.task == "classification"
    images = limited(images, config.max_images, seed=config.seed, is_objects=is_objects)
    training, held, pairs = images, None, None
    if config.development_share > 0 and is_objects:
        training, held = development.split_images(images, config.development_share, seed=config.seed)
    elif config.development_share > 0:
        training, held = development.split(images, config.development_share, seed=config.seed)
        pairs = development.draw_pairs(held.labels, config.development_pairs, seed=config.seed)
    looked_at, pairs, pixels = _development(held, pairs, config)
    if config.views > 1:
        training = views(training, config.views, LEVELS[config.augment], seed=VIEWS_SEED)
    skip_corrupt = config.on_corrupt == "skip"
    targets, untaught = (None, {}) if teacher is None else teacher.embed(training)
    loader.check_readable(training.name, untaught, skip_corrupt=skip_corrupt)
    source = decoding.open_source(
        training,
        config.model.size_px,
        how=config.loading,
        workers=default_workers() if config.workers is None else config.workers,
        skip_corrupt=skip_corrupt,
        memory_bytes=decoding.memory_bound() // n_processes,
        progress=progress,
    )
    if say is not None and not source.in_memory:
        how = "decoded anew in every epoch" if isinstance(source, Streamed) else "read from a cache on disk"
        say(f"{len(source):,} training images are {how}.")
    return TrainingData(
        images=Without(source, untaught) if untaught else source,
        labels=training.labels,
        n_identities=training.n_identities,
        development_pixels=pixels,
        development_pairs=pairs,
        development_labels=looked_at.labels if looked_at is not None and is_objects else None,
        provenance=_provenance(config, training, held) | ({} if teacher is None else {"teacher": dict(teacher.info)}),
        targets=targets,
    )


def _development(
    held: FaceImages | None, pairs: development.DevelopmentPairs | None, config: TrainConfig
) -> tuple[FaceImages | None, development.DevelopmentPairs | None, NDArray[np.uint8]]:
    """The held-out images that are looked at, their pairs and their pixels: not those that no pair has.

    With ``--on-corrupt skip`` images that cannot be read are left out, and their pairs.
    """
    size_px = config.model.size_px
    if held is None:
        return None, None, np.empty((0, size_px, size_px, 3), np.uint8)
    if pairs is not None:
        used = pairs.images()
        held, pairs = held.select_images(used), pairs.among(used)
    found = decoding.decode(held, size_px, skip_corrupt=config.on_corrupt == "skip")
    if not found.reasons:
        return held, pairs, found.pixels
    good = np.setdiff1d(np.arange(len(held)), list(found.reasons))
    return held.select_images(good), None if pairs is None else pairs.among(good), found.pixels[good]


def _provenance(config: TrainConfig, training: FaceImages, held: FaceImages | None) -> dict[str, Any]:
    return {
        "dataset": training.name,
        "content_hash": training.content_hash,
        "exclude_names_of": list(config.exclude_names_of),
        "min_images": config.min_images,
        "n_images": len(training),
        "n_views": config.views,
        "n_identities": training.n_identities,
        "n_development_images": 0 if held is None else len(held),
        "n_development_identities": 0 if held is None else held.n_identities,
        **({"class_names": list(training.identity_names)} if config.model.task == "classification" else {}),
        "source": {key: value for key, value in training.provenance.items() if _is_json(value)},
    }


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def protocols_for(config: TrainConfig) -> list[str]:
    """Protocols to test a run on: of objects its own set's; of faces those whose people it does not know."""
    known = [name for name in protocol_names() if name != "lfw_dev"]
    dataset = config.dataset.partition(":")[0]
    if config.model.task == "classification":
        return [name for name in known if name == dataset]
    wanted = config.exclude_names_of or (("demo",) if dataset == "demo" else ("lfw", "cfp"))
    found = [name for name in known for other in wanted if _is_of(name, other)]
    return [name for name in found if dataset == "demo" or not _is_of(name, dataset)] or ["demo_lfw"]


def overlap_hint(config: TrainConfig) -> str | None:
    """One line for a run that may know people of the sets it is to be tested on; None for one that cannot."""
    if config.model.task == "classification" or config.exclude_names_of:
        return None
    tested = [name for name in ("lfw", "cfp") if any(_is_of(found, name) for found in protocols_for(config))]
    if not tested:
        return None
    options = " ".join(f"--exclude-names-of {name}" for name in tested)
    return (
        f"People of {' and '.join(tested)} may be among those it learnt, which flatters the test: train with "
        f"{options}. Where the set has no names of people (CASIA's records have numbers), say so beside the result."
    )


def _is_of(protocol: str, dataset: str) -> bool:
    """Whether a protocol is one of a dataset ("cfp_fp" of "cfp")."""
    return protocol == dataset or protocol.startswith(f"{dataset}_")


def check_names(config: TrainConfig) -> None:
    """Raise `UnknownNameError` early, before images are decoded, if a name is mistyped."""
    from bnas_face import models

    tables.check_known("head", config.head, tables.names(models.HEADS))
    tables.check_known("backbone", config.model.backbone, tables.names(models.BACKBONES))
    tables.check_known("augmentation", config.augment, LEVELS)
    tables.check_known("binarizer", config.model.binarizer, tables.names(models.BINARIZERS))
