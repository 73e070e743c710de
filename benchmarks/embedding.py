"""How fast images are embedded, and how much of the time is not the network: decoding, flipping, cache.

Embeds images of the aligned LFW with the outside MobileFaceNet (straight and flipped), then asks again.

Run: ``python benchmarks/embedding.py [SHARED_DATA [N_IMAGES]]``. Last line:
``{"images_per_s": …, "overhead_share": …, "from_cache_s": …}``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats import archives, folders
from bnas_face.data.images import FaceImages
from bnas_face.evaluate.embed import embed_images, open_embedder


def main() -> None:
    """Print the machine, the counts and the JSON line."""
    shared = Path(sys.argv[1] if len(sys.argv) > 1 else Path(os.environ.get("BNASFACE_SHARED", "../shared")) / "data")
    n_images = int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    embedder = open_embedder(f"onnx:{shared / 'models' / 'vface_mobilefacenet.onnx'}")
    in_network_s = 0.0

    def timed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal in_network_s
        start = time.perf_counter()
        values = embedder.network(images)
        in_network_s += time.perf_counter() - start
        return values

    with tempfile.TemporaryDirectory() as name:
        os.environ["BNASFACE_CACHE"] = f"{name}/cache"
        archives.unpack(shared / "lfw" / "lfw_aligned_112.tar.gz", Path(name) / "lfw", str)
        ids = folders.list_images(Path(name) / "lfw")[:n_images]
        images = FaceImages(
            name="lfw",
            image_ids=ids,
            labels=np.full(len(ids), -1),
            identity_names=(),
            content_hash="lfw",
            size_px=112,
            read=folders.FolderReader(Path(name) / "lfw", ids, 112),
        )
        seconds = [-time.perf_counter()]
        embed_images(replace(embedder, network=timed), images)
        seconds[0] += time.perf_counter()
        seconds.append(-time.perf_counter())
        assert embed_images(embedder, images).from_cache
        seconds[1] += time.perf_counter()
    print(f"{platform.machine()}, {os.cpu_count()} cores, {len(ids)} images, each straight and flipped")
    result = {
        "images_per_s": round(len(ids) / seconds[0], 1),
        "overhead_share": round(1 - in_network_s / seconds[0], 4),
        "from_cache_s": round(seconds[1], 4),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
