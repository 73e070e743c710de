"""The later fields of result.json, made up: slices, bands, transfer, overlap, differences and identification."""

from __future__ import annotations

import json
from typing import Any

GALLERY = "tinyface"
BOOTSTRAP, PAIRED = "subject-cluster bootstrap 95 %", "paired subject-cluster bootstrap 95 %"
SMALL = "fewer than 30 impostor pairs"


def rate(name: str, errors: int, n: int) -> dict[str, Any]:
    """A rate with an interval around it; null where there is no pair."""
    if n == 0:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    value = errors / n
    half = 1.96 * (max(value, 1 / n) * 0.9 / n) ** 0.5
    return {name: value, f"{name}_low": max(0.0, value - half), f"{name}_high": min(1.0, value + half)}


def rates(n_genuine: int, n_impostor: int, false_matches: int, false_non_matches: int) -> dict[str, Any]:
    """FMR and FNMR with the errors they are counted from."""
    return {
        **rate("fmr", false_matches, n_impostor), "n_false_matches": false_matches if n_impostor else None,
        **rate("fnmr", false_non_matches, n_genuine), "n_false_non_matches": false_non_matches if n_genuine else None,
    }  # fmt: skip


def group(label: str, n_genuine: int, n_impostor: int, errors: tuple[int, int], small: str | None) -> dict[str, Any]:
    """One group of a metadata column."""
    return {
        "label": label, "n_pairs": n_genuine + n_impostor, "n_genuine": n_genuine, "n_impostor": n_impostor,
        "n_failed": 1, "small": small, **rates(n_genuine, n_impostor, *errors),
    }  # fmt: skip


def slices(threshold: float, worse: int) -> list[dict[str, Any]]:
    """Two columns; the last group is small, one group has no impostor pair."""
    yaw = [
        group("0 to 30", 200, 220, (2, 3 + worse), None),
        group("30 to 60", 180, 250, (3, 11 + 2 * worse), None),
        group("60 to 90", 110, 20, (1, 24 + 3 * worse), SMALL),
    ]
    age = [group("0 to 10", 300, 500, (4, 9 + worse), None), group("over 10", 200, 0, (0, 30 + worse), SMALL)]
    return [
        {"column": column, "threshold": threshold, "threshold_method": "median of the fold thresholds",
         "note": note, "groups": groups}
        for column, note, groups in (("yaw", "", yaw), ("age_gap", "12 pairs have no value of 'age_gap'", age))
    ]  # fmt: skip


def band(curve: dict[str, Any]) -> dict[str, Any]:
    """A band around a measured curve."""
    points = sorted(zip(curve["fmr"], curve["fnmr"], strict=True))
    return {
        "fmr": [fmr for fmr, _ in points],
        "fnmr_low": [max(0.0, fnmr - 0.02) for _, fnmr in points],
        "fnmr_high": [min(1.0, fnmr + 0.03) for _, fnmr in points],
        "method": BOOTSTRAP,
    }


def identification(model: str, place: int, n_gallery: int = 500) -> dict[str, Any]:
    """One model on the gallery."""
    ranks = range(1, n_gallery + 1)
    share = [min(1.0, 0.5 + 0.07 * place + 0.06 * (rank**0.3)) for rank in ranks]
    estimate = {"ci_method": BOOTSTRAP}
    return {
        "model": model, "protocol": GALLERY, "task": "identification", "convention": "strict",
        "convention_stamp": "strict: thresholds are observed scores, nothing is interpolated",
        "n_gallery": n_gallery, "n_subjects": 480, "n_mated": 1200, "n_nonmated": 900, "n_failed": 4,
        "ranks": [
            {"rank": k, "value": share[k - 1], "ci_low": share[k - 1] - 0.02, "ci_high": min(1.0, share[k - 1] + 0.02),
             **estimate}
            for k in (1, 5, 20)
        ],
        "cmc": {"rank": list(ranks), "value": share},
        "open_set": [
            {"fpir_target": 0.01, "refused": None, "fpir_achieved": 0.0089, "n_false_positives": 8,
             "tpir": 0.41 + 0.05 * place, "fnir": 0.59 - 0.05 * place, "threshold": 0.52,
             "ci_low": 0.38 + 0.05 * place, "ci_high": 0.44 + 0.05 * place, **estimate},
            {"fpir_target": 0.001, "refused": "FPIR target 0.001 needs at least 1000 non-mated probes; 900 are there.",
             "fpir_achieved": None, "n_false_positives": None, "tpir": None, "fnir": None, "threshold": None,
             "ci_low": None, "ci_high": None, **estimate},
        ],
    }  # fmt: skip


def layers(binary: bool) -> list[dict[str, Any]]:
    """What each kind of layer costs; the parameters add up to those of the made-up models."""
    rows = [
        ("1-bit convolution", 16, 1_990_000, 248_750, 25_000_000), ("convolution", 1, 1_728, 6_912, 7_077_888),
        ("linear", 1, 105_392, 421_568, 105_392), ("normalisation", 18, 3_000, 24_000, 0),
        ("activation", 17, 1_320, 5_280, 0),
    ]  # fmt: skip
    if not binary:
        rows[:2] = [("convolution", 17, 1_991_728, 7_966_912, 32_077_888)]
    return [dict(zip(("kind", "n_layers", "n_parameters", "packed_bytes", "n_macs"), row, strict=True)) for row in rows]


def history(start: float, n_epochs: int = 15) -> dict[str, Any]:
    """A loss that falls, and a development accuracy of every fifth epoch."""
    epochs = range(1, n_epochs + 1)
    return {
        "epoch": [float(epoch) for epoch in epochs],
        "loss": [round(start / epoch**0.7, 4) for epoch in epochs],
        "development_accuracy": [0.93 - start / 1000 - 0.3 / epoch if epoch % 5 == 0 else None for epoch in epochs],
    }


def extend(content: dict[str, Any]) -> dict[str, Any]:
    """A copy of a result with all later fields."""
    found: dict[str, Any] = json.loads(json.dumps(content))
    for model in found["models"]:
        binary = model["weight_bits"] == 1
        model["packed_bytes"] = 690_000 if binary else model["file_bytes"]
        if model["training"]:
            model["layers"], model["history"] = layers(binary), history(34.0 if binary else 30.0)
        model["n_float_parameters"] = model["n_parameters"] - model["n_binary_parameters"]
        model["file_format"] = "float32 safetensors (simulated)" if binary else "float32 safetensors"
    for place, entry in enumerate(found["results"]):
        accuracy = entry["accuracy"]
        entry["slices"] = slices(accuracy["thresholds"][5], place % 4)
        entry["band"] = band(entry["curve"])
        entry["development"] = {
            "protocol": "lfw_dev", "threshold": 0.2,
            "threshold_method": "fitted on all 1,000 compared pairs of lfw_dev",
            "accuracy": {"value": 0.871, "ci_low": 0.849, "ci_high": 0.89, "ci_method": "Wilson 95 %"},
            **rates(500, 500, 31, 98),
        }  # fmt: skip
        trained = not entry["model"].startswith("onnx")
        entry["without_overlap"] = {
            "n_people": 3, "n_pairs": entry["n_pairs"] - 60, "n_left_out": 60, "auc": entry["auc"]["value"],
            "accuracy": {**accuracy, "value": accuracy["value"] - 0.01, "ci_low": accuracy["ci_low"] - 0.01},
            "reason": None, "method": "people that the training set also has, by normalised name, are left out",
        } if trained else None  # fmt: skip
    for gap in found["comparisons"]:
        gap["transfer"] = {
            "threshold": 0.31, "threshold_method": "median of the fold thresholds", "own_threshold": 0.28,
            "own": rates(500, 500, 26, 61), "moved": rates(500, 500, 9, 93),
        }  # fmt: skip
        gap["auc_difference"] = {"value": -0.021, "ci_low": -0.03, "ci_high": -0.012, "ci_method": PAIRED}
        gap["tar_difference"] = [
            {"fmr_target": 0.1, "value": -0.04, "ci_low": -0.06, "ci_high": -0.01, "ci_method": PAIRED},
            {"fmr_target": 0.001, "value": None, "ci_low": None, "ci_high": None, "ci_method": PAIRED,
             "reason": "insufficient data"},
        ]  # fmt: skip
    found["protocols"].append({
        "name": GALLERY, "title": "TinyFace, identification", "task": "identification", "version": 1,
        "dataset": "tinyface", "images_hash": "ef" * 32,
    })  # fmt: skip
    found["results"] += [identification(model["id"], place) for place, model in enumerate(found["models"])]
    return found


def templates(content: dict[str, Any]) -> dict[str, Any]:
    """A copy of a result as if its pairs were pairs of templates: no folds, no accuracy, gaps of the TAR."""
    found: dict[str, Any] = json.loads(json.dumps(content))
    undefined = dict.fromkeys(("value", "std", "sem", "ci_low", "ci_high"))
    for protocol in found["protocols"]:
        protocol |= {"n_folds": 0, "scheme": "one set of template pairs"}
    for entry in found["results"]:
        entry["accuracy"] = {**undefined, "per_fold": [], "thresholds": [], "reason": "no folds"}
        entry["eer"] |= {"ci_low": None, "ci_high": None}
        entry["failures"] = []
    for gap in found["comparisons"]:
        gap["quantity"] = "TAR at FMR 0.01, failed pairs as misses"
    return found


def gallery_gap(model: str, twin: str, difference: float) -> dict[str, Any]:
    """One entry of ``comparisons`` of identification."""
    return {
        "protocol": GALLERY, "model": model, "twin": twin, "quantity": "rank-1 identification rate of mated probes",
        "difference": difference, "ci_low": difference - 0.02, "ci_high": difference + 0.02, "ci_method": PAIRED,
        "p_value": 1e-6, "p_holm": 3e-6, "p_method": "exact McNemar, two-sided, on mated probes at rank 1",
        "smallest_gap": 0.01,
    }  # fmt: skip
