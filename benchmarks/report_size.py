"""Seconds and megabytes of the report page of a large protocol with metadata, from files made up here.

Run: ``python benchmarks/report_size.py [--pairs 100000] [--columns 6] [--groups 20]``. A study of two models (a 1-bit
network and its full-precision twin) as ``bnasface eval`` leaves it: result.json with curves and bands of 400 points,
slices by every metadata column, 24 failures a model with thumbnails, and pairs.csv with every score. Timed is
``bnas_face.report.html.write``, from files to files, imports not counted. The last line is one JSON object; the issue
asks for less than 10 s and 15 MB.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

MODELS = {"w1a1": 1.9, "full_precision": 2.6}
N_POINTS, N_FAILURES, THUMBNAIL_PX = 400, 24, 112
PROTOCOL = "csv:pairs.csv"
NO_INTERVAL = {"ci_low": None, "ci_high": None, "ci_method": "not computed here"}


def study(folder: Path, n_pairs: int, n_columns: int, n_groups: int, seed: int) -> None:
    """Write result.json, pairs.csv and images/ of a made-up study."""
    rng = np.random.default_rng(seed)
    genuine = rng.random(n_pairs) < 0.5
    names = [f"person_{i % 9973:05d}/image_{i:06d}.jpg" for i in range(n_pairs)]
    groups = rng.integers(0, n_groups, (n_columns, n_pairs))
    results, tables = [], []
    for model, separation in MODELS.items():
        scores = 0.15 * (rng.normal(size=n_pairs) + separation * genuine)
        threshold = 0.15 * separation / 2
        results.append(outcome(model, scores, genuine, threshold, groups, names))
        tables.append(pair_table(model, scores, genuine, threshold, names))
    pd.concat(tables).to_csv(folder / "pairs.csv", index=False)
    write_images(folder, results, rng)
    (folder / "result.json").write_text(json.dumps(content(results, genuine, n_columns)))


def outcome(
    model: str, scores: np.ndarray, genuine: np.ndarray, threshold: float, groups: np.ndarray, names: list[str]
) -> dict[str, Any]:
    """One entry of ``results``."""
    match = scores >= threshold
    accuracy = float((match == genuine).mean())
    at = np.quantile(scores, np.linspace(0, 1, N_POINTS))[::-1]
    fmr, fnmr = ([float(v) for v in rates] for rates in curve(scores, genuine, at))
    edges = np.linspace(scores.min(), scores.max(), 101)
    interval = {"ci_low": accuracy - 0.002, "ci_high": accuracy + 0.002, "ci_method": "made up"}
    return {
        "model": model, "protocol": PROTOCOL, "convention": "strict", "n_pairs": len(scores),
        "n_genuine": int(genuine.sum()), "n_impostor": int((~genuine).sum()), "n_failed": 0,
        "accuracy": {"value": accuracy, "std": 0.001, "sem": 0.0003, "thresholds": [threshold] * 10, **interval},
        "auc": {"value": 0.95, **interval, "ci_low": 0.94, "ci_high": 0.96},
        "eer": {"value": 0.1, "threshold": threshold, **interval, "ci_low": 0.09, "ci_high": 0.11},
        "tar_at_fmr": [tar(target, fmr, fnmr, at) for target in (0.1, 0.01, 0.001)],
        "curve": {"threshold": [float(t) for t in at], "fmr": fmr, "fnmr": fnmr},
        "band": {"fmr": fmr, "fnmr_low": [max(0.0, v - 0.01) for v in fnmr],
                 "fnmr_high": [min(1.0, v + 0.01) for v in fnmr], "method": "made up"},
        "histogram": {"edges": edges.tolist(), "genuine": np.histogram(scores[genuine], edges)[0].tolist(),
                      "impostor": np.histogram(scores[~genuine], edges)[0].tolist()},
        "slices": [slices(column, of, match, genuine, threshold) for column, of in enumerate(groups)],
        "failures": failures(scores, genuine, match, threshold, names),
    }  # fmt: skip


def curve(scores: np.ndarray, genuine: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FMR and FNMR at thresholds."""
    impostors, own = np.sort(scores[~genuine]), np.sort(scores[genuine])
    return 1 - np.searchsorted(impostors, at) / len(impostors), np.searchsorted(own, at) / len(own)


def tar(target: float, fmr: list[float], fnmr: list[float], at: np.ndarray) -> dict[str, Any]:
    """One entry of ``tar_at_fmr``: the last point of the curve that does not exceed the target."""
    place = max(k for k, value in enumerate(fmr) if value <= target)
    return {
        "fmr_target": target, "refused": None, "tar": 1 - fnmr[place], "fmr_achieved": fmr[place],
        "n_false_matches": None, "threshold": float(at[place]), **NO_INTERVAL,
    }  # fmt: skip


def slices(column: int, of: np.ndarray, match: np.ndarray, genuine: np.ndarray, threshold: float) -> dict[str, Any]:
    """One metadata column."""
    groups = []
    for group in range(int(of.max()) + 1):
        own = of == group
        wrong = {"fmr": match & ~genuine & own, "fnmr": ~match & genuine & own}
        of_class = {"fmr": int((~genuine & own).sum()), "fnmr": int((genuine & own).sum())}
        rates = {name: float(wrong[name].sum()) / max(1, of_class[name]) for name in wrong}
        groups.append({
            "label": f"group {group}", "n_pairs": int(own.sum()), "n_genuine": of_class["fnmr"],
            "n_impostor": of_class["fmr"], "n_failed": 0, "small": None, **rates,
            **{f"{name}_low": max(0.0, rate - 0.01) for name, rate in rates.items()},
            **{f"{name}_high": min(1.0, rate + 0.01) for name, rate in rates.items()},
            "n_false_matches": int(wrong["fmr"].sum()), "n_false_non_matches": int(wrong["fnmr"].sum()),
        })  # fmt: skip
    return {
        "column": f"column_{column}", "threshold": threshold, "threshold_method": "made up", "note": "",
        "groups": groups,
    }  # fmt: skip


def failures(
    scores: np.ndarray, genuine: np.ndarray, match: np.ndarray, threshold: float, names: list[str]
) -> list[dict[str, Any]]:
    """The hardest pairs, as ``bnasface eval`` lists them."""
    wrong = np.flatnonzero(match != genuine)
    hardest = wrong[np.argsort(-np.abs(scores[wrong] - threshold))][:N_FAILURES]
    return [
        {
            "fold": 0, "reference_id": names[i], "probe_id": names[i - 1], "is_genuine": bool(genuine[i]),
            "score": float(scores[i]), "threshold": threshold, "reference_image": f"images/{i}-r.jpg",
            "probe_image": f"images/{i}-p.jpg",
        }
        for i in hardest
    ]  # fmt: skip


def pair_table(model: str, scores: np.ndarray, genuine: np.ndarray, threshold: float, names: list[str]) -> pd.DataFrame:
    """The rows of pairs.csv of one model."""
    match = scores >= threshold
    return pd.DataFrame({
        "protocol": PROTOCOL, "fold": np.arange(len(scores)) * 10 // len(scores), "reference_id": names,
        "probe_id": [names[i - 1] for i in range(len(names))], "is_genuine": genuine.astype(int), "model": model,
        "score": scores, "threshold": threshold, "is_match": match.astype(int),
        "is_correct": (match == genuine).astype(int),
    })  # fmt: skip


def write_images(folder: Path, results: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """A noisy JPEG, as large as a photograph's thumbnail, for every failure."""
    (folder / "images").mkdir()
    for failure in (failure for entry in results for failure in entry["failures"]):
        for side in ("reference_image", "probe_image"):
            coarse = rng.integers(0, 255, (28, 28, 3), np.uint8)
            image = cv2.resize(coarse, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / failure[side]), image, [cv2.IMWRITE_JPEG_QUALITY, 85])


def content(results: list[dict[str, Any]], genuine: np.ndarray, n_columns: int) -> dict[str, Any]:
    """The whole of result.json."""
    gap = results[0]["accuracy"]["value"] - results[1]["accuracy"]["value"]
    models = [
        {"id": name, "weight_bits": bits, "activation_bits": bits, "n_parameters": 1_000_000, "file_bytes": 4_000_000,
         "twin": "full_precision" if bits == 1 else None}
        for name, bits in zip(MODELS, (1, 32), strict=True)
    ]  # fmt: skip
    protocol = {
        "name": PROTOCOL, "title": PROTOCOL, "n_pairs": len(genuine), "n_genuine": int(genuine.sum()),
        "n_impostor": int((~genuine).sum()), "n_folds": 10,
        "metadata_columns": [f"column_{k}" for k in range(n_columns)],
    }  # fmt: skip
    comparison = {
        "protocol": PROTOCOL, "model": "w1a1", "twin": "full_precision", "difference": gap, "ci_low": gap - 0.01,
        "ci_high": gap + 0.01, "ci_method": "made up", "p_value": 1e-9, "p_holm": 1e-9, "p_method": "made up",
    }  # fmt: skip
    return {
        "schema": "bnas_face.result/1", "created": "2026-01-01T00:00:00Z", "command": "made up", "models": models,
        "protocols": [protocol], "results": results, "comparisons": [comparison],
    }  # fmt: skip


def main() -> None:
    """Make the study, render it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    from bnas_face.report import html

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "study"
        folder.mkdir()
        study(folder, chosen.pairs, chosen.columns, chosen.groups, chosen.seed)
        start = time.perf_counter()
        page = html.write(folder)
        seconds = time.perf_counter() - start
        size_mb = page.stat().st_size / 1e6
    print(json.dumps({"n_pairs": chosen.pairs, "render_s": round(seconds, 2), "html_mb": round(size_mb, 2)}))


if __name__ == "__main__":
    main()
