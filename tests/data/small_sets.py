"""Small sets of images for the tests of this folder: JPEG files of noise, in the layouts of the real sets."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

from bnas_face.data.formats import encoded

PEOPLE = {"Ann_Lee": 3, "Bo_Ek": 2, "Cy_Oz": 1, "Di_Ng": 2}


def jpeg(seed: int, size_px: int = 16) -> bytes:
    """A JPEG of smooth noise, size_px × size_px, different for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return encoded.encode_jpeg(coarse.repeat(size_px // 4, 0).repeat(size_px // 4, 1))


def lfw_files() -> dict[str, bytes]:
    """8 images of 4 people, by id."""
    ids = [f"{name}/{name}_{number:04d}.jpg" for name, n in PEOPLE.items() for number in range(1, n + 1)]
    return {image_id: jpeg(seed) for seed, image_id in enumerate(ids)}


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    """Write files below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def tar(path: Path, files: dict[str, bytes], mode: str = "w:gz") -> Path:
    """Write files into a tar archive."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def lfw_pairs(path: Path) -> Path:
    """A View 2 list of 2 folds × (1 + 1) pairs over `lfw_files`."""
    path.write_text("2\t1\nAnn_Lee\t1\t3\nBo_Ek\t1\tDi_Ng\t2\nDi_Ng\t1\t2\nCy_Oz\t1\tAnn_Lee\t2\n", encoding="utf-8")
    return path
