"""Download what may be downloaded: LFW through scikit-learn, which knows the archives and their checksums."""

from __future__ import annotations

import warnings
from pathlib import Path

from bnas_face.errors import DatasetError

FETCHABLE = ("lfw",)
_MOST_IMAGES = 500
"""scikit-learn decodes what it downloads; asking for people with this many images leaves one person to decode."""


def fetch(name: str, target: Path) -> Path:
    """Download a dataset's original archives below `target` and return the folder of unaligned images.

    Raises
    ------
    DatasetError
        If its owners do not let it be downloaded freely, or there is no network.
    """
    if name not in FETCHABLE:
        raise DatasetError(
            f"'{name}' cannot be fetched; only {', '.join(FETCHABLE)} can. Where to get it: bnasface data where {name}."
        )
    from sklearn.datasets import fetch_lfw_people

    target.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one for every retry
            fetch_lfw_people(data_home=str(target), funneled=True, min_faces_per_person=_MOST_IMAGES)
    except OSError as error:
        raise DatasetError(
            f"'{name}' could not be downloaded: {error}. Check the network, or get it elsewhere: bnasface data where "
            f"{name}. The dataset 'demo' needs nothing."
        ) from None
    return target / "lfw_home" / "lfw_funneled"
