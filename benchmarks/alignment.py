"""Faces found in raw LFW photographs, speed, and what our alignment does to the accuracy of fold 1.

The 807 originals of LFW's fold 1 are aligned by ``bnasface align`` and embedded with the outside MobileFaceNet; so is
the aligned LFW that was given. Both are decided at one threshold: the one fitted on folds 2-10 of the given set (only
fold 1 exists unaligned). An image without a face makes its pairs wrong.

Run: ``python benchmarks/alignment.py [SHARED_DATA]``. Last line:
``{"found_share": …, "images_per_s": …, "fold1_accuracy_ours": …, "fold1_accuracy_given": …}``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.data import align
from bnas_face.data.formats import archives, folders, pair_lists
from bnas_face.data.images import FaceImages
from bnas_face.evaluate.embed import Embedder, embed_images, open_embedder
from bnas_face.evaluate.score import pair_scores
from bnas_face.metrics import folds, thresholds


def main() -> None:
    """Print the machine, the counts and the JSON line."""
    default = Path(os.environ.get("BNASFACE_SHARED", "../shared")) / "data"
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    pairs = pair_lists.read_lfw(shared / "lfw" / "pairs.txt")
    embedder = open_embedder(f"onnx:{shared / 'models' / 'vface_mobilefacenet.onnx'}")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        archives.unpack(shared / "lfw" / "lfw_aligned_112.tar.gz", root / "given", str)
        archives.unpack(shared / "lfw" / "lfw_raw_250_fold01.tar.gz", root / "raw", str)
        start = time.perf_counter()
        done = align.align_folder(root / "raw", root / "ours", align.AlignSettings())
        seconds = time.perf_counter() - start
        given, ours = (scores_of(embedder, root / which, pairs) for which in ("given", "ours"))
    accuracy = fold1_accuracies(pairs, given, ours)
    print(f"{platform.machine()}, {os.cpu_count()} cores; start of the worker processes included")
    print(f"{done.n_images} images, {done.n_failed} without a face, {done.n_second_pass} found by the second pass only")
    result = {
        "found_share": round(1 - done.n_failed / done.n_images, 5),
        "images_per_s": round(done.n_images / seconds, 1),
        "fold1_accuracy_ours": round(accuracy[1], 5),
        "fold1_accuracy_given": round(accuracy[0], 5),
    }
    print(json.dumps(result))


def scores_of(embedder: Embedder, root: Path, pairs: pd.DataFrame) -> NDArray[np.float64]:
    """Score of every pair; NaN where an image is not there."""
    present = folders.list_images(root)
    images = FaceImages(
        name=root.name,
        image_ids=present,
        labels=np.full(len(present), -1),
        identity_names=(),
        content_hash="",
        size_px=112,
        read=folders.FolderReader(root, present, 112),
    )
    known = set(present)
    both = (pairs["reference_id"].isin(known) & pairs["probe_id"].isin(known)).to_numpy(np.bool_)
    ids = pairs.loc[both, ["reference_id", "probe_id"]].to_numpy()
    embeddings = embed_images(embedder, images, ids=list(ids.ravel()), cache=False)
    rows = embeddings.rows(list(ids.ravel())).reshape(-1, 2)
    scores = np.full(len(pairs), np.nan)
    scores[both] = pair_scores(embeddings.values, embeddings.failed, rows[:, 0], rows[:, 1])
    return scores


def fold1_accuracies(pairs: pd.DataFrame, *scored: NDArray[np.float64]) -> list[float]:
    """Accuracy on fold 1 of each set of scores, at the threshold of folds 2-10 of the first."""
    genuine = pairs["is_genuine"].to_numpy(np.int64) == 1
    fold = pairs["fold"].to_numpy(np.int64)
    threshold = folds.cross_validated(scored[0], genuine, fold, thresholds.STRICT).fold_threshold[0]
    first = fold == 0
    return [float(np.mean(~np.isnan(s[first]) & ((s[first] >= threshold) == genuine[first]))) for s in scored]


if __name__ == "__main__":
    main()
