"""Download what may be downloaded: LFW through scikit-learn, CIFAR-10 through torchvision; both know the checksums."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from bnas_face.errors import DatasetError

_MOST_IMAGES = 500
"""scikit-learn decodes what it downloads; asking for people with this many images leaves one person to decode."""


def fetch(name: str, target: Path) -> Path:
    """Download a dataset's original archives below `target`.

    Returns
    -------
    Path
        What is to be imported: the folder of unaligned images (lfw), or the archive (cifar10).

    Raises
    ------
    DatasetError
        If its owners do not let it be downloaded freely, or there is no network.
    """
    if name not in _DOWNLOADS:
        raise DatasetError(
            f"'{name}' cannot be fetched; only {', '.join(FETCHABLE)} can. Where to get it: bnasface data where {name}."
        )
    target.mkdir(parents=True, exist_ok=True)
    try:
        return _DOWNLOADS[name](target)
    except (OSError, RuntimeError) as error:
        raise DatasetError(
            f"'{name}' could not be downloaded: {error}. Check the network, or get it elsewhere: bnasface data where "
            f"{name}. The dataset 'demo' needs nothing."
        ) from None


def _lfw(target: Path) -> Path:
    from sklearn.datasets import fetch_lfw_people

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # one for every retry
        fetch_lfw_people(data_home=str(target), funneled=True, min_faces_per_person=_MOST_IMAGES)
    return target / "lfw_home" / "lfw_funneled"


def _cifar10(target: Path) -> Path:
    """The archive as it is: torchvision would unpickle it, `cifar_batches` reads it without running anything."""
    from bnas_face import torchvision_compat

    torchvision_compat.ensure_torchvision()
    from torchvision.datasets import CIFAR10, utils

    utils.download_url(CIFAR10.url, str(target), CIFAR10.filename, CIFAR10.tgz_md5)
    return target / str(CIFAR10.filename)


_DOWNLOADS: Mapping[str, Callable[[Path], Path]] = {"lfw": _lfw, "cifar10": _cifar10}
FETCHABLE = tuple(_DOWNLOADS)
