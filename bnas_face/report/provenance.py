"""What a result says of where it comes from: everything in the file that is drawn nowhere else."""

from __future__ import annotations

from typing import Any

from bnas_face import __version__
from bnas_face.report import numbers
from bnas_face.report.records import Protocol, Result

_GROUPED_FROM = 10_000
_NAMED = 5


def provenance(result: Result) -> dict[str, Any]:
    """What the last section lists: everything in the file that is not drawn elsewhere, as pairs of name and text."""
    raw = result.raw
    return {
        "seed": raw.get("seed"),
        "package_version": dict(flat(raw.get("versions"))).get("bnas_face", __version__),
        "versions": flat(raw.get("versions")),
        "environment": flat(raw.get("environment")),
        "models": [
            {
                "model": model,
                "facts": flat({key: model.raw.get(key) for key in _MODEL_FACTS} | {"twin": model.twin or "none"}),
                "preprocessing": flat(model.raw.get("preprocessing")),
                "training": flat(model.raw.get("training")),
            }
            for model in result.models
        ],
        "protocols": [
            {
                "protocol": protocol,
                "facts": _counts(protocol) + flat({key: protocol.raw.get(key) for key in _facts_of(protocol)}),
                "audit": _audit(protocol, result),
                "n_failed": [
                    (o.model, numbers.count(o.n_failed)) for o in result.everything if o.protocol == protocol.name
                ],
            }
            for protocol in result.protocols
        ],
    }


def _audit(protocol: Protocol, result: Result) -> list[tuple[str, str]]:
    """What each model could not embed, and whom of the protocol its training set has, as (model, text)."""
    found = []
    for _, outcome in result.entries(protocol):
        parts = []
        if outcome.n_images_failed is not None and outcome.n_images_failed:
            named = ", ".join(outcome.failed_images[:_NAMED]) + (", …" if outcome.n_images_failed > _NAMED else "")
            parts.append(f"{outcome.n_images_failed:,} images without an embedding ({named})")
        elif outcome.n_images_failed is not None:
            parts.append("every image has an embedding")
        shared = outcome.without_overlap
        if shared is not None:
            parts.append(f"{shared.n_people:,} people are in its training set too, in {shared.n_left_out:,} pairs")
        elif outcome.overlap_unknown:
            parts.append(f"people shared with its training set: not known ({outcome.overlap_unknown})")
        found += [(outcome.model, "; ".join(parts))] if parts else []
    return found


_MODEL_FACTS = (
    "twin",
    "source",
    "backbone",
    "binarizer",
    "n_binary_parameters",
    "size_px",
    "embedding_dim",
    "weights_sha256",
)
_OBJECT_FACTS = ("dataset", "licence", "version", "labels_sha256", "images_hash")
_GALLERY_FACTS = ("dataset", "licence", "alignment", "version", "scheme", "lists_sha256", "images_hash")
_PROTOCOL_FACTS = ("dataset", "licence", "alignment", "version", "scheme", "n_folds", "pairs_sha256", "images_hash")


def _facts_of(protocol: Protocol) -> tuple[str, ...]:
    if protocol.is_of_gallery:
        return tuple(key for key in _GALLERY_FACTS if key in protocol.raw)
    return _OBJECT_FACTS if protocol.is_of_objects else _PROTOCOL_FACTS


def _counts(protocol: Protocol) -> list[tuple[str, str]]:
    """How many images of how many classes, or how many pairs."""
    if protocol.is_of_objects:
        return [("images", numbers.count(protocol.n_images)), ("classes", numbers.count(protocol.n_classes))]
    if protocol.is_of_gallery:
        counts = ((name, protocol.raw.get(f"n_{name}")) for name in ("gallery", "subjects", "mated", "nonmated"))
        return [(name, _text(n)) for name, n in counts if n is not None]
    genuine, impostor = numbers.count(protocol.n_genuine), numbers.count(protocol.n_impostor)
    return [("pairs", f"{numbers.count(protocol.n_pairs)} ({genuine} genuine, {impostor} impostor)")]


def flat(content: Any) -> list[tuple[str, str]]:
    """The fields of an object as (name, text), nested names joined by dots; null as "not given"."""
    if not isinstance(content, dict):
        return [] if content is None else [("", _text(content))]
    found: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            found += [(f"{key}.{name}".rstrip("."), text) for name, text in flat(value)]
        else:
            found.append((str(key), _text(value)))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, list):
        return ", ".join(_text(member) for member in value) or "none"
    if isinstance(value, int) and not isinstance(value, bool) and value >= _GROUPED_FROM:
        return f"{value:,}"
    return str(value)
