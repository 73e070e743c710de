"""Pairs of a development protocol that are not tested: lists overlap, even LFW's View 1 and View 2 by 758 pairs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bnas_face.errors import ConfigError
from bnas_face.evaluate.protocol import Protocol


def without_tested(development: Protocol, tested: Iterable[Protocol]) -> Protocol:
    """`development` without the pairs that are tested, in whatever order and under whatever name of the protocol.

    Images are one where they are one file, or have one id in sets of the same content. The card stays as it is: its
    ``n_pairs`` minus the number of pairs is how many were left out.

    Raises
    ------
    ConfigError
        If no pair of one class is left.
    """
    known = {pair for one in tested for pair in _pairs(one)}
    kept = np.array([pair not in known for pair in _pairs(development)], np.bool_)
    if len(np.unique(development.is_genuine[kept])) < 2:
        raise ConfigError(
            f"--threshold-from names '{development.card.name}', and {np.count_nonzero(~kept):,} of its {len(kept):,} "
            "pairs are tested here too, so that no genuine or no impostor pair is left to fit a threshold on. Name "
            "another protocol, such as lfw_dev for lfw."
        )
    return replace(
        development,
        pairs=development.pairs[kept].reset_index(drop=True),
        reference=development.reference[kept],
        probe=development.probe[kept],
    )


def _pairs(of: Protocol) -> list[frozenset[str]]:
    root = getattr(of.images.read, "root", None)
    place = of.images.content_hash if root is None else Path(root).resolve()
    known = {i: os.path.normpath(f"{place}/{of.images.image_ids[i]}") for i in of.used.tolist()}
    return [frozenset((known[a], known[b])) for a, b in zip(of.reference.tolist(), of.probe.tolist(), strict=True)]
