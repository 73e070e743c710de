"""How hard the demo protocols are: raw pixels, PCA and a trained IResNet-18; and whether a detector sees faces.

Prints one JSON object as its last line. Accuracies are 10-fold, each fold decided at the threshold fitted on the others
(convention "strict"). PCA is fitted on training identities; its accuracy is the best of plain and whitened cosine over
several numbers of components, chosen on the protocol itself, so it is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bnas_face import pipeline
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.data import datasets
from bnas_face.data.detect import FaceDetector
from bnas_face.data.images import FaceImages, resize
from bnas_face.data.synthetic import faces, identity, protocols
from bnas_face.evaluate.evaluate import evaluate
from bnas_face.metrics import folds, thresholds
from bnas_face.train import runs
from bnas_face.train.loop import train

NAMES = ("demo_lfw", "demo_cfp", "demo_agedb")
PCA_PX, COMPONENTS = 32, (50, 100, 200, 400)
NETWORK = ModelConfig(backbone="iresnet18", size_px=64, width=0.25, embedding_dim=128)
RECIPE: dict[str, Any] = {**pipeline.RECIPE, "lr": 3e-3, "precision": "bf16"}
Floats = NDArray[np.float64]


class Pairs:
    """A protocol's pictures and pairs in memory."""

    def __init__(self, name: str) -> None:
        images, pairs = protocols.build(name)
        row = {image_id: number for number, image_id in enumerate(images.image_ids)}
        self.pixels = images.read(np.arange(len(images)))
        self.reference = pairs.reference_id.map(row).to_numpy()
        self.probe = pairs.probe_id.map(row).to_numpy()
        self.is_genuine, self.fold = pairs.is_genuine.to_numpy() == 1, pairs.fold.to_numpy()

    def accuracy(self, features: Floats) -> float:
        """10-fold accuracy of the cosine of features (n_images, n)."""
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        scores = (unit[self.reference] * unit[self.probe]).sum(axis=1)
        decided = folds.cross_validated(scores, self.is_genuine, self.fold, thresholds.STRICT)
        return round(folds.accuracy(decided.is_match == self.is_genuine, self.fold).value, 4)


def flat(pixels: NDArray[np.uint8], size_px: int) -> Floats:
    """Pictures as rows."""
    return resize(pixels, size_px).reshape(len(pixels), -1).astype(np.float64)


def pca_accuracy(train_rows: Floats, sets: dict[str, Pairs]) -> dict[str, dict[str, float]]:
    """Best plain and best whitened accuracy per protocol."""
    mean = train_rows.mean(axis=0)
    _, spread, axes = np.linalg.svd(train_rows - mean, full_matrices=False)
    found = {}
    for name, pairs in sets.items():
        projected = (flat(pairs.pixels, PCA_PX) - mean) @ axes[: max(COMPONENTS)].T
        plain = max(pairs.accuracy(projected[:, :k]) for k in COMPONENTS)
        white = max(pairs.accuracy(projected[:, :k] / spread[:k]) for k in COMPONENTS)
        found[name] = {"plain": plain, "whitened": white}
    return found


def network_accuracy(seed: int) -> tuple[dict[str, float], float]:
    """Accuracy of `NETWORK`, and the seconds it trained."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "full_precision"
        config = TrainConfig(name=run_dir.name, dataset=pipeline.DATASET, seed=seed, model=NETWORK, **RECIPE)
        outcome = train(runs.begin(config, run_dir, resume=False, overwrite=True), run_dir)
        result = evaluate([str(run_dir)], NAMES, Path(folder) / "report", images=False, n_replicates=50)
    return {entry["protocol"]: round(entry["accuracy"]["value"], 4) for entry in result["results"]}, outcome.seconds


def frontal_faces(n_images: int) -> FaceImages:
    """Frontal pictures of people that nothing else uses."""
    group = faces.Group(conditions=replace(protocols.FRONTAL, occluder=0.0, sunglasses=0.0), count=1)
    return faces.rendered("frontal", 2_000_000 + np.arange(n_images), (group,), seed=protocols.SEED)


def detection_rate(n_images: int) -> float:
    """Share of frontal pictures in which MTCNN finds a face."""
    detector = FaceDetector()
    images = frontal_faces(n_images).read(np.arange(n_images))
    return sum(detector.find(image) is not None for image in images) / n_images


def nearest_identity(n_identities: int) -> dict[str, float]:
    """Quantiles of each identity's distance to its nearest neighbour, in standard deviations of one coefficient."""
    people = identity.draw(protocols.SEED, np.arange(n_identities, dtype=np.int64))
    table = torch.cat([people.shape, torch.stack(list(people.appearance.values()), dim=1)], dim=1)
    table = table / table.std(dim=0)
    nearest = torch.cat([torch.cdist(part, table).topk(2, largest=False).values[:, 1] for part in table.split(1000)])
    marks = {"minimum": 0.0, "percentile_1": 0.01, "median": 0.5, "maximum": 1.0}
    found = {name: round(float(torch.quantile(nearest, share)), 3) for name, share in marks.items()}
    pairs = (table[: n_identities // 2] - table[n_identities // 2 : n_identities // 2 * 2]).norm(dim=1)
    return {**found, "random_pair_median": round(float(pairs.median()), 3), "n_coefficients": table.shape[1]}


def main() -> None:
    """All of it; `--no-network` leaves the training out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-network", action="store_true")
    chosen = parser.parse_args()
    sets = {name: Pairs(name) for name in NAMES}
    train_images = datasets.load(pipeline.DATASET)
    pca = pca_accuracy(flat(train_images.read(np.arange(len(train_images))), PCA_PX), sets)
    found: dict[str, object] = {
        "raw_pixel_cosine": {name: pairs.accuracy(flat(pairs.pixels, 112)) for name, pairs in sets.items()},
        "pca": {name: max(both.values()) for name, both in pca.items()},
        "pca_plain": {name: both["plain"] for name, both in pca.items()},
        "mtcnn_detection_rate": detection_rate(200),
        "nearest_identity_of_10000": nearest_identity(10_000),
        "threads": torch.get_num_threads(),
    }
    if not chosen.no_network:
        accuracy, seconds = network_accuracy(chosen.seed)
        found |= {"full_precision": accuracy, "training_s": round(seconds, 1)}
        found |= {"dataset": pipeline.DATASET, "recipe": RECIPE, "seed": chosen.seed}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
