"""What the rows of ``summary.csv`` share, whatever was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODEL_COLUMNS = ("weight_bits", "activation_bits", "n_parameters", "file_bytes")


def model_columns(model: Mapping[str, Any]) -> dict[str, Any]:
    """Bits and size of a model, from its entry of ``models``."""
    return {column: model.get(column) for column in MODEL_COLUMNS}


def cost_and_gap(entry: Mapping[str, Any], model: Mapping[str, Any], gap: Mapping[str, Any]) -> dict[str, Any]:
    """How it is binarized, and how far it is from its full-precision twin."""
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
