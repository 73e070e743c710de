"""``bench.json`` and ``bench.csv``: what was measured, for the report and for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnas_face import files

FILE = "bench.json"
TABLE = "bench.csv"
OF_MODEL = (
    *("backbone", "binarizer", "weight_bits", "activation_bits", "size_px", "embedding_dim"),
    *("n_parameters", "n_binary_parameters", "n_float_parameters", "n_binary_macs", "n_float_macs", "n_ops"),
    "weights_sha256",
)
OF_ROW = (
    *("model", "engine", "threads", "batch", "p50_ms", "p95_ms", "images_per_s", "n_calls", "peak_bytes"),
    *("file_bytes", "file_format", "file_sha256", "is_quantised", "floats", "reason"),
)


def save(found: Mapping[str, Any], folder: Path) -> None:
    """Write ``bench.json``, and ``bench.csv`` with a line for each row and the columns of its model."""
    files.write_json(folder / FILE, dict(found))
    files.write_text(folder / TABLE, table(found))


def table(found: Mapping[str, Any]) -> str:
    """The rows as CSV; an empty cell was not measured or is not known."""
    models = {model["id"]: model for model in found["models"]}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*OF_ROW, *OF_MODEL, "cpu", "kernels"])
    for row in found["rows"]:
        own = [row[name] for name in OF_ROW] + [models[row["model"]].get(name) for name in OF_MODEL]
        writer.writerow([*own, found["environment"]["cpu"], found["kernels"]])
    return text.getvalue()
