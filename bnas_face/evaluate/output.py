"""The files of a report folder: ``summary.csv``, ``pairs.csv`` or ``images.csv``, thumbnails of failures, and
``result.json`` last.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bnas_face.errors import BnasFaceError, BrokenImageError
from bnas_face.evaluate import objects
from bnas_face.evaluate.objects import MeasuredObjects
from bnas_face.evaluate.results import Measured
from bnas_face.files import atomic_path, write_bytes, write_json

N_FAILURES = 24
JPEG_QUALITY = 90
THUMBNAIL = re.compile(r"[a-z0-9_]+-\d{6}\.jpg")
MODEL_COLUMNS = ("weight_bits", "activation_bits", "n_parameters", "file_bytes")


def write(out: Path, result: dict[str, Any], measured: Sequence[Measured | MeasuredObjects], *, images: bool) -> None:
    """Write a report folder; ``result.json`` comes last, so a folder that has one is complete.

    Parameters
    ----------
    out : Path
        Made if absent. The three files are written beside those of an earlier result and replace them together at the
        end: an error leaves all of them as they were.
    result : dict
        The whole ``result.json``; the ``failures`` of its results are filled in here.
    measured : sequence of Measured
        In the order of ``result["results"]``.
    images : bool
        Write thumbnails of failed pairs. Without, thumbnails of an earlier result are removed: photographs of real
        people must not be published by accident.
    """
    thumbnails = _Thumbnails(out) if images else None
    for entry, one in zip(result["results"], measured, strict=True):
        if isinstance(one, Measured):
            entry["failures"] = failures(one, thumbnails)
    with ExitStack() as stack:  # renamed in reverse order, result.json last
        last = stack.enter_context(atomic_path(out / "result.json"))
        found = _tables(result, measured)
        for name, parts in found.items():
            if parts:
                _to_csv(stack.enter_context(atomic_path(out / name)), pd.concat(parts, ignore_index=True))
        write_json(last, result)
    for name in (name for name, parts in found.items() if not parts):
        (out / name).unlink(missing_ok=True)
    _remove_stale(out, thumbnails.written if thumbnails else set())


def _tables(result: dict[str, Any], measured: Sequence[Measured | MeasuredObjects]) -> dict[str, list[pd.DataFrame]]:
    """File name → the parts of its table; none for a table that this report does not need."""
    return {
        "summary.csv": [summary_table(result)],
        "pairs.csv": [pair_table(one) for one in measured if isinstance(one, Measured)],
        "images.csv": [objects.image_table(one) for one in measured if isinstance(one, MeasuredObjects)],
    }


def check_writable(out: Path) -> None:
    """Make the folder and try to write there, before hours are spent on what would go there.

    Raises
    ------
    BnasFaceError
        If that is not possible; names the folder and the reason.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise BnasFaceError(
            f"Cannot write into the report folder '{out}': {error.strerror or error}. Name another one with --out."
        ) from None


def summary_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row per model × protocol; all rates are fractions, an undefined number is an empty cell.

    Columns of verification stand only where faces were verified, those of recognition where objects were recognised.
    """
    models = {model["id"]: model for model in result["models"]}
    gaps = {(entry["model"], entry["protocol"]): entry for entry in result["comparisons"]}
    return pd.DataFrame(
        [
            _row_maker(entry)(entry, models[entry["model"]], gaps.get((entry["model"], entry["protocol"]), {}))
            for entry in result["results"]
        ]
    )


def _row_maker(entry: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    return _object_row if entry.get("task") == objects.TASK else _summary_row


def _object_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "model": entry["model"],
        "protocol": entry["protocol"],
        "convention": entry["convention"],
        **{column: model.get(column) for column in MODEL_COLUMNS},
        "n_images": entry["n_images"],
        "n_classes": entry["n_classes"],
    }
    for name in ("top1", "top5"):
        row |= {name: entry[name]["value"], f"{name}_ci_low": entry[name]["ci_low"]}
        row |= {f"{name}_ci_high": entry[name]["ci_high"]}
    return row | _cost_and_gap(entry, model, gap)


def _cost_and_gap(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "n_failed": entry["n_failed"],
        "binarizer": model.get("binarizer"),
        "n_binary_parameters": model.get("n_binary_parameters"),
        "twin": gap.get("twin"),
        "difference_to_twin": gap.get("difference"),
        "difference_ci_low": gap.get("ci_low"),
        "difference_ci_high": gap.get("ci_high"),
        "mcnemar_p": gap.get("p_value"),
        "mcnemar_p_holm": gap.get("p_holm"),
    }


def _summary_row(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    accuracy, auc, eer = entry["accuracy"], entry["auc"], entry["eer"]
    row = {
        "model": entry["model"],
        "protocol": entry["protocol"],
        "convention": entry["convention"],
        **{column: model.get(column) for column in MODEL_COLUMNS},
        "n_pairs": entry["n_pairs"],
        "accuracy": accuracy["value"],
        "accuracy_std": accuracy["std"],
        "accuracy_ci_low": accuracy["ci_low"],
        "accuracy_ci_high": accuracy["ci_high"],
        "auc": auc["value"],
        "eer": eer["value"],
        "accuracy_sem": accuracy["sem"],
        "auc_ci_low": auc["ci_low"],
        "auc_ci_high": auc["ci_high"],
        "eer_low": eer["low"],
        "eer_high": eer["high"],
        "eer_ci_low": eer["ci_low"],
        "eer_ci_high": eer["ci_high"],
        "n_genuine": entry["n_genuine"],
        "n_impostor": entry["n_impostor"],
        **_cost_and_gap(entry, model, gap),
    }
    for tar in entry["tar_at_fmr"]:
        name = f"{tar['fmr_target']:g}"
        row |= {f"tar_at_fmr_{name}": tar["tar"], f"fmr_achieved_{name}": tar["fmr_achieved"]}
    return row


def pair_table(measured: Measured) -> pd.DataFrame:
    """Every tested pair with its score and decision.

    A pair that could not be compared has an empty score, is_match 0 and is_correct 0.
    """
    verdicts = measured.verdicts
    pairs = measured.protocol.pairs.iloc[verdicts.tested]
    return pd.DataFrame(
        {
            "protocol": measured.protocol.card.name,
            "fold": pairs["fold"].to_numpy(),
            "reference_id": pairs["reference_id"].to_numpy(),
            "probe_id": pairs["probe_id"].to_numpy(),
            "is_genuine": pairs["is_genuine"].to_numpy(np.int64),
            "model": measured.model,
            "score": measured.scores[verdicts.tested],
            "threshold": verdicts.threshold,
            "is_match": verdicts.is_match.astype(np.int64),
            "is_correct": verdicts.is_correct.astype(np.int64),
        }
    )


def failures(measured: Measured, thumbnails: _Thumbnails | None) -> list[dict[str, Any]]:
    """The wrongly decided pairs farthest on the wrong side of their threshold, hardest first, at most `N_FAILURES`.

    False matches and false non-matches share the places evenly as far as there are enough of each. Pairs that were
    not compared are not among them (they have no score); ``n_failed`` counts them.
    """
    verdicts, protocol = measured.verdicts, measured.protocol
    scores = measured.scores[verdicts.tested]
    wrong = np.flatnonzero(verdicts.completed & ~verdicts.is_correct)
    distance = np.abs(scores - verdicts.threshold)
    wrong = wrong[np.argsort(-distance[wrong], kind="stable")]
    kinds = [wrong[verdicts.is_match[wrong] == match] for match in (True, False)]
    half = N_FAILURES // 2
    shares = [max(half, N_FAILURES - len(other)) for other in reversed(kinds)]
    chosen = np.concatenate([kind[:share] for kind, share in zip(kinds, shares, strict=True)])
    chosen = chosen[np.argsort(-distance[chosen], kind="stable")]
    entries = []
    for at in chosen:
        position = verdicts.tested[at]
        pair = protocol.pairs.iloc[position]
        sides = (protocol.reference[position], protocol.probe[position])
        names = [thumbnails.name(protocol, int(side)) if thumbnails else None for side in sides]
        entries.append(
            {
                "fold": int(pair["fold"]),
                "reference_id": str(pair["reference_id"]),
                "probe_id": str(pair["probe_id"]),
                "is_genuine": bool(pair["is_genuine"]),
                "score": float(scores[at]),
                "threshold": float(verdicts.threshold[at]),
                "reference_image": names[0],
                "probe_image": names[1],
            }
        )
    return entries


class _Thumbnails:
    """Writes each failed image once into ``images/``; names hold nothing that came from a file."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.written: set[str] = set()

    def name(self, protocol: Any, position: int) -> str | None:
        """Path of the thumbnail relative to the folder; None if the image cannot be read."""
        name = f"images/{protocol.card.name}-{position:06d}.jpg"
        if name in self.written:
            return name
        try:
            pixels = protocol.images.read(np.array([position], np.int64))[0]
        except BrokenImageError:
            return None
        ok, content = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), [1, JPEG_QUALITY])
        if not ok:
            return None
        write_bytes(self.out / name, content.tobytes())
        self.written.add(name)
        return name


def _to_csv(target: Path, table: pd.DataFrame) -> None:
    table.to_csv(target, index=False, lineterminator="\n")


def _remove_stale(out: Path, written: set[str]) -> None:
    """Remove thumbnails of an earlier result; other files in ``images/`` are not ours."""
    for file in (out / "images").glob("*.jpg"):
        if THUMBNAIL.fullmatch(file.name) and f"images/{file.name}" not in written:
            file.unlink(missing_ok=True)
