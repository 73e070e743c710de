"""``result.json`` as typed records, checked field by field before anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnas_face.errors import FormatError, ReportError
from bnas_face.files import read_json
from bnas_face.genotype import Genotype, from_json
from bnas_face.report import detail, estimate, identification, layers
from bnas_face.report.node import Node
from bnas_face.report.records import (
    IDENTIFICATION,
    OBJECTS,
    Comparison,
    Curve,
    Failure,
    Histogram,
    Model,
    Outcome,
    Protocol,
    Result,
    Tar,
)

SCHEMA = "bnas_face.result/1"
FILE_NAME = "result.json"


def load(folder: Path) -> Result:
    """Read ``result.json`` of a report folder.

    Raises
    ------
    ReportError
        If the file is absent, damaged, of another schema, or lacks a field; names the file and the field.
    """
    file = folder / FILE_NAME
    try:
        content = read_json(file)
    except (FormatError, RecursionError) as error:
        reason = error if isinstance(error, FormatError) else f"'{file}' is nested too deeply to be a result."
        raise ReportError(f"{reason} A report folder is written by 'bnasface eval --out {folder}'.") from None
    return parse(content, file)


def parse(content: Any, file: Path) -> Result:
    """What was read of `file` (its name stands in errors), or what `evaluate.measure` returns; errors as in `load`."""
    root = Node(file, "", content)
    schema = root["schema"].text()
    if schema != SCHEMA:
        raise ReportError(f"'{file}' has the schema '{schema}', expected '{SCHEMA}'. Update bnas_face to read it.")
    notes = root.get("notes")
    models = tuple(_model(node) for node in root["models"].items())
    protocols = tuple(_protocol(node) for node in root["protocols"].items())
    known_models = _distinct(root["models"], [model.id for model in models])
    known_protocols = _distinct(root["protocols"], [protocol.name for protocol in protocols])
    entries = root["results"].items()
    return Result(
        created=root["created"].text(),
        command=root["command"].text(),
        models=models,
        protocols=protocols,
        outcomes=tuple(_outcome(node, known_models, known_protocols) for node in entries if not _is_of_gallery(node)),
        comparisons=tuple(_comparison(node, known_models, known_protocols) for node in root["comparisons"].items()),
        notes=tuple(note.text() for note in notes.items()) if notes else (),
        raw=content,
        identifications=tuple(
            identification.read(node, known_models, known_protocols) for node in entries if _is_of_gallery(node)
        ),
    )


def _is_of_gallery(node: Node) -> bool:
    return estimate.optional_text(node, "task") == IDENTIFICATION


def _distinct(node: Node, names: list[str]) -> set[str]:
    """The names, each once; an error names one that stands twice."""
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise node.error(f"holds '{twice[0]}' twice in '{node.where}', expected different names")
    return set(names)


def _model(node: Node) -> Model:
    twin = node["twin"]
    return Model(
        id=node["id"].text(),
        weight_bits=node["weight_bits"].maybe_integer(),
        activation_bits=node["activation_bits"].maybe_integer(),
        n_parameters=node["n_parameters"].maybe_integer(),
        file_bytes=node["file_bytes"].maybe_integer(),
        twin=None if twin.value is None else twin.text(),
        raw=node.fields(),
        genotype=_genotype(node),
        layers=layers.read(node),
        history=layers.read_history(node),
    )


def _genotype(node: Node) -> Genotype | None:
    found = node.get("genotype")
    if found is None:
        return None
    try:
        return from_json(found.fields(), found.where)
    except FormatError as error:
        raise found.error(f"holds no genotype: {str(error).removesuffix('.')}") from error


def _protocol(node: Node) -> Protocol:
    def needed(key: str) -> int:
        return _count(node, key) if _is_of_gallery(node) else node[key].integer()

    return Protocol(
        name=node["name"].text(),
        title=node["title"].text(),
        **{name: needed(name) for name in ("n_pairs", "n_genuine", "n_impostor", "n_folds")},
        raw=node.fields(),
        n_images=_count(node, "n_images"),
        n_classes=_count(node, "n_classes"),
    )


def _count(node: Node, key: str) -> int:
    found = node.get(key)
    return 0 if found is None else found.integer()


def _outcome(node: Node, models: set[str], protocols: set[str]) -> Outcome:
    accuracy, eer = node["accuracy"], node["eer"]
    curve, histogram, stamp = node.get("curve"), node.get("histogram"), node.get("convention_stamp")
    return Outcome(
        model=node["model"].one_of(models, "model"),
        protocol=node["protocol"].one_of(protocols, "protocol"),
        convention=node["convention"].text(),
        convention_stamp="" if stamp is None else stamp.text(),
        n_pairs=node["n_pairs"].integer(),
        n_genuine=node["n_genuine"].integer(),
        n_impostor=node["n_impostor"].integer(),
        n_failed=node["n_failed"].integer(),
        accuracy=estimate.read(accuracy),
        accuracy_std=accuracy["std"].maybe_rate(),
        accuracy_sem=accuracy["sem"].maybe(),
        thresholds=tuple(n for n in (m.maybe() for m in accuracy["thresholds"].items()) if n is not None),
        auc=estimate.read(node["auc"]),
        eer=estimate.read(eer),
        eer_threshold=eer["threshold"].maybe(),
        tar_at_fmr=tuple(_tar(entry) for entry in node["tar_at_fmr"].items()),
        curve=None if curve is None else _curve(curve),
        histogram=None if histogram is None else _histogram(histogram),
        failures=tuple(_failure(entry) for entry in node["failures"].items()),
        **_recognition(node),
        slices=detail.slices(node),
        band=detail.band(node),
        without_overlap=detail.overlap(node),
        development=detail.development(node),
        **_failed_images(node),
        overlap_unknown=estimate.optional_text(node, "overlap_unknown"),
    )


def _failed_images(node: Node) -> dict[str, Any]:
    """How many images of the protocol had no embedding, and which; unknown in older files."""
    count, named = node.get("n_images_failed"), node.get("failed_images")
    found: dict[str, Any] = {"n_images_failed": None if count is None else count.integer()}
    return found | {"failed_images": tuple(map(str, named.fields())) if named else ()}


def _recognition(node: Node) -> dict[str, Any]:
    """The fields of object recognition; none for verification."""
    task = node.get("task")
    if task is None or task.text() != OBJECTS:
        return {}
    top = {name: estimate.read(node[name]) for name in ("top1", "top5")}
    return {**top, "n_images": node["n_images"].integer()}


def _tar(node: Node) -> Tar:
    refused = node["refused"]
    return Tar(
        fmr_target=node["fmr_target"].number(),
        refused=None if refused.value is None else refused.text(),
        tar=estimate.read(node, "tar"),
        fmr_achieved=node["fmr_achieved"].maybe_rate(),
        n_false_matches=node["n_false_matches"].maybe_integer(),
        threshold=node["threshold"].maybe(),
    )


def _curve(node: Node) -> Curve:
    threshold, fmr, fnmr = node["threshold"].numbers(), node["fmr"].rates(), node["fnmr"].rates()
    if not len(threshold) == len(fmr) == len(fnmr):
        raise node.error(
            f"holds {len(threshold)}, {len(fmr)} and {len(fnmr)} points in '{node.where}', expected equal counts"
        )
    return Curve(threshold=threshold, fmr=fmr, fnmr=fnmr)


def _histogram(node: Node) -> Histogram:
    edges, genuine, impostor = (node[key].numbers() for key in ("edges", "genuine", "impostor"))
    if not len(edges) - 1 == len(genuine) == len(impostor):
        raise node.error(f"holds {len(edges)} edges for {len(genuine)} and {len(impostor)} bins in '{node.where}'")
    return Histogram(edges=edges, genuine=genuine, impostor=impostor)


def _failure(node: Node) -> Failure:
    reference, probe = node.get("reference_image"), node.get("probe_image")
    return Failure(
        fold=node["fold"].integer(),
        reference_id=node["reference_id"].text(),
        probe_id=node["probe_id"].text(),
        is_genuine=node["is_genuine"].flag(),
        score=node["score"].number(),
        threshold=node["threshold"].number(),
        reference_image=None if reference is None else reference.text(),
        probe_image=None if probe is None else probe.text(),
    )


def _comparison(node: Node, models: set[str], protocols: set[str]) -> Comparison:
    method, p_holm, smallest = node.get("p_method"), node.get("p_holm"), node.get("smallest_gap")
    return Comparison(
        protocol=node["protocol"].one_of(protocols, "protocol"),
        model=node["model"].one_of(models, "model"),
        twin=node["twin"].one_of(models, "model"),
        difference=estimate.read(node, "difference", -1.0),
        p_value=node["p_value"].maybe_rate(),
        p_holm=None if p_holm is None else p_holm.maybe_rate(),
        p_method="" if method is None else method.text(),
        smallest_gap=None if smallest is None else smallest.maybe_rate(),
        quantity=estimate.optional_text(node, "quantity"),
        transfer=detail.transfer(node),
        auc_difference=detail.auc_difference(node),
        tar_differences=detail.tar_differences(node),
    )
