"""A made-up result folder with every field of the schema: refused targets, a model without twin, images or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

FLOAT, W1A32, W1A1, OUTSIDE = "lfw-float", "lfw-xnor", "lfw-xnor-w1a1", "onnx:vface_mobilefacenet.onnx"
PROTOCOLS = {"cfp_ff": "CFP Frontal-Frontal", "cfp_fp": "CFP Frontal-Profile"}
SEPARATION = {
    "cfp_ff": {FLOAT: 2.5, W1A32: 2.46, W1A1: 1.2, OUTSIDE: 4.6},
    "cfp_fp": {FLOAT: 1.12, W1A32: 1.0, W1A1: 0.64, OUTSIDE: 2.2},
}
N, FOLDS = 1000, 10
BOOTSTRAP, PAIRED = "subject-cluster bootstrap 95 %", "paired subject-cluster bootstrap 95 %"


def _model(name: str, weight_bits: int, activation_bits: int, twin: str | None) -> dict[str, Any]:
    trained = not name.startswith("onnx")
    return {
        "id": name,
        "source": f"runs/{name}" if trained else name,
        "backbone": "iresnet18" if trained else "onnx",
        "binarizer": "none" if weight_bits == 32 else "xnor",
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "n_parameters": 2_101_440 if trained else 993_600,
        "n_binary_parameters": 0 if weight_bits == 32 else 1_990_000,
        "file_bytes": 8_421_376 if trained else 4_004_110,
        "size_px": 64 if trained else 112,
        "embedding_dim": 256,
        "weights_sha256": "5f" * 32,
        "twin": twin,
        "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "colour_order": "RGB", "flip": "sum"},
        "training": {
            "dataset": "lfw", "exclude_names_of": ["cfp"], "n_images": 7323, "n_identities": 1549,
            "epochs": 15, "head": "cosface", "seed": 0,
        } if trained else None,
    }  # fmt: skip


def _outcome(model: str, protocol: str, scores: np.ndarray, genuine: np.ndarray) -> dict[str, Any]:
    thresholds = np.quantile(scores, np.linspace(0, 1, 200))
    fmr = [(scores[~genuine] >= t).mean() for t in thresholds]
    fnmr = [(scores[genuine] < t).mean() for t in thresholds]
    best = int(np.argmin(np.add(fmr, fnmr)))
    threshold = float(thresholds[best])
    accuracy = float(((scores >= threshold) == genuine).mean())
    edges = np.linspace(scores.min(), scores.max(), 41)
    wrong = np.flatnonzero((scores >= threshold) != genuine)
    hardest = wrong[np.argsort(-np.abs(scores[wrong] - threshold))][:12]
    eer = float((fmr[best] + fnmr[best]) / 2)
    half = 1.96 * (accuracy * (1 - accuracy) / len(scores)) ** 0.5
    targets = []
    for target in (0.1, 0.01, 0.001):
        limit = float(np.sort(scores[~genuine])[::-1][int(target * (~genuine).sum())])
        accepted = scores > limit
        tar, false = float(accepted[genuine].mean()), int(accepted[~genuine].sum())
        targets.append({
            "fmr_target": target, "refused": None, "tar": tar, "fmr_achieved": false / float((~genuine).sum()),
            "n_false_matches": false, "threshold": limit,
            "ci_low": max(0.0, tar - 0.03), "ci_high": min(1.0, tar + 0.03), "ci_method": BOOTSTRAP,
        })  # fmt: skip
    targets[-1] |= {
        "refused": "FMR target 0.001 needs at least 1000 impostor pairs; 'cfp' has 500.",
        "tar": None, "fmr_achieved": None, "n_false_matches": None, "threshold": None, "ci_low": None, "ci_high": None,
    }  # fmt: skip
    return {
        "model": model, "protocol": protocol, "convention": "strict",
        "convention_stamp": "strict: thresholds are observed scores, nothing is interpolated",
        "n_pairs": len(scores), "n_genuine": int(genuine.sum()), "n_impostor": int((~genuine).sum()), "n_failed": 3,
        "accuracy": {
            "value": accuracy, "std": 0.0123, "sem": 0.0041, "ci_low": accuracy - half, "ci_high": accuracy + half,
            "ci_method": "Wilson 95 %", "per_fold": [accuracy] * FOLDS,
            "thresholds": [threshold + 0.002 * (k - 5) for k in range(FOLDS)],
        },
        "auc": {"value": 1 - eer**2, "ci_low": 1 - 1.3 * eer**2, "ci_high": 1 - 0.7 * eer**2, "ci_method": BOOTSTRAP},
        "eer": {
            "value": eer, "low": eer - 0.001, "high": eer + 0.001, "threshold": threshold,
            "ci_low": max(0.0, eer - 0.01), "ci_high": eer + 0.01, "ci_method": BOOTSTRAP,
        },
        "tar_at_fmr": targets,
        "curve": {
            "threshold": list(map(float, thresholds)), "fmr": list(map(float, fmr)), "fnmr": list(map(float, fnmr)),
        },
        "histogram": {
            "edges": list(map(float, edges)),
            "genuine": [int(c) for c in np.histogram(scores[genuine], edges)[0]],
            "impostor": [int(c) for c in np.histogram(scores[~genuine], edges)[0]],
        },
        "failures": [
            {
                "fold": int(i) * FOLDS // len(scores), "reference_id": f"{i:04d}/frontal_01.jpg",
                "probe_id": f"{(i if genuine[i] else i + 1):04d}/profile_02.jpg", "is_genuine": bool(genuine[i]),
                "score": float(scores[i]), "threshold": threshold,
                "reference_image": f"images/{protocol}_{i:04d}_r.jpg",
                "probe_image": f"images/{protocol}_{i:04d}_p.jpg",
            }
            for i in hardest
        ],
    }  # fmt: skip


def _comparison(protocol: str, model: str, difference: float, p_value: float) -> dict[str, Any]:
    return {
        "protocol": protocol, "model": model, "twin": FLOAT, "difference": difference,
        "ci_low": difference - 0.011, "ci_high": difference + 0.012, "ci_method": PAIRED,
        "p_value": p_value,
        "p_holm": min(1.0, 2 * p_value), "p_method": "McNemar exact",
    }  # fmt: skip


def build(models: tuple[str, ...] = (FLOAT, W1A32, W1A1, OUTSIDE)) -> tuple[dict[str, Any], pd.DataFrame]:
    """The content of result.json and pairs.csv, from Gaussian scores with seed 0."""
    bits = {FLOAT: (32, 32), W1A32: (1, 32), W1A1: (1, 1), OUTSIDE: (32, 32)}
    genuine = np.tile([True, False], N // 2)
    results, comparisons, tables = [], [], []
    for protocol in PROTOCOLS:
        shared = np.random.default_rng(0).normal(size=N)
        for model in models:
            own = np.random.default_rng(len(model)).normal(size=N)
            scores = 0.15 * (0.8 * shared + 0.6 * own + separations_of(protocol, model) * genuine)
            results.append(_outcome(model, protocol, scores, genuine))
            threshold = results[-1]["eer"]["threshold"]
            tables.append(_pairs(protocol, model, scores, genuine, threshold))
        values = {entry["model"]: entry["accuracy"]["value"] for entry in results if entry["protocol"] == protocol}
        for model, p_value in ((W1A32, 0.21), (W1A1, 1e-9)):
            if model in values and FLOAT in values:
                comparisons.append(_comparison(protocol, model, values[model] - values[FLOAT], p_value))
    content = {
        "schema": "bnas_face.result/1",
        "created": "2026-11-23T06:05:00Z",
        "command": "bnasface eval --protocol cfp_ff --protocol cfp_fp --out reports/example",
        "seed": 0,
        "versions": {"bnas_face": "0.1.0", "python": "3.11.2", "numpy": "2.4.6", "torch": "2.13.0"},
        "environment": {"cpu": "two cores", "threads": 2, "platform": "Linux"},
        "models": [
            _model(m, *bits[m], FLOAT if m in (W1A32, W1A1) and FLOAT in models else None) for m in models
        ],
        "protocols": [
            {
                "name": name, "title": title, "version": 1, "dataset": "cfp", "n_pairs": N, "n_genuine": N // 2,
                "n_impostor": N // 2, "n_folds": FOLDS, "scheme": "k_fold", "pairs_sha256": "ab" * 32,
                "images_hash": "cd" * 32, "metadata_columns": [],
            }
            for name, title in PROTOCOLS.items()
        ],
        "results": results,
        "comparisons": comparisons,
    }  # fmt: skip
    return content, pd.concat(tables, ignore_index=True)


def separations_of(protocol: str, model: str) -> float:
    """Distance of the genuine from the impostor scores in standard deviations."""
    return SEPARATION[protocol].get(model, 1.0)


def _pairs(protocol: str, model: str, scores: np.ndarray, genuine: np.ndarray, threshold: float) -> pd.DataFrame:
    index = np.arange(N)
    return pd.DataFrame({
        "protocol": protocol,
        "fold": index * FOLDS // N,
        "reference_id": [f"{i:04d}/frontal_01.jpg" for i in index],
        "probe_id": [f"{i if same else i + 1:04d}/profile_02.jpg" for i, same in zip(index, genuine, strict=True)],
        "is_genuine": genuine.astype(int),
        "model": model,
        "score": scores,
        "threshold": threshold,
        "is_match": (scores >= threshold).astype(int),
    })  # fmt: skip


def draw_face(path: Path, seed: int) -> None:
    """A small cartoon JPEG, so that the cards of a test report show something."""
    rng = np.random.default_rng(seed)
    image = np.full((112, 112, 3), rng.integers(40, 200, 3), np.uint8)
    skin = tuple(int(c) for c in rng.integers(90, 230, 3))
    cv2.ellipse(image, (56, 60), (int(rng.integers(28, 40)), 46), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (40, 72):
        cv2.circle(image, (x, 52), 4, (30, 30, 30), -1, cv2.LINE_AA)
    cv2.ellipse(image, (56, 84), (14, int(rng.integers(2, 9))), 0, 0, 180, (40, 40, 120), 2, cv2.LINE_AA)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


def save(folder: Path, content: dict[str, Any], pairs: pd.DataFrame | None = None) -> Path:
    """Write a report folder as ``bnasface eval`` leaves it (images only where the content names some)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(content))
    if pairs is not None:
        pairs.to_csv(folder / "pairs.csv", index=False)
    named = {
        failure[side]
        for entry in content["results"]
        for failure in entry.get("failures") or []
        for side in ("reference_image", "probe_image")
        if failure[side]
    }
    for seed, name in enumerate(sorted(named)):
        draw_face(folder / name, seed)
    return folder
