"""A network whose cost is asked for: what it is, and how many parameters and operations it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face import files
from bnas_face.errors import CheckpointError, ConfigError, UnknownNameError

RUN, ONNX, PACKED = "run", "onnx", "packed"
ONNX_PREFIX = "onnx:"
PACKED_ENDING = ".bnn"
COUNTS = ("n_parameters", "n_binary_parameters", "n_float_parameters", "n_binary_macs", "n_float_macs", "n_ops")


class BenchError(ConfigError):
    """An engine does not run a model; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network by its name on the command line.

    Attributes
    ----------
    spec : str
        ``"runs/mine"``, ``"onnx:FILE"`` or ``"FILE.bnn"``.
    kind : str
        `RUN`, `ONNX` or `PACKED`.
    path : Path
        The run folder or the file.
    info : mapping
        JSON values: ``id``, ``source``, ``backbone``, ``binarizer``, ``weight_bits``, ``activation_bits``,
        ``size_px``, ``embedding_dim``, ``weights_sha256`` (of a run's weights, else of the file),
        ``packed_from_sha256`` (of a packed file: the weights it was made from) and `COUNTS` (None: not counted).
    preprocessing : mapping
        ``mean``, ``std``, ``colour_order``, ``size_px``.
    images_at_once : int or None
        Of an ONNX file that takes so many images at once and no others.
    """

    spec: str
    kind: str
    path: Path
    info: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    images_at_once: int | None = None

    @property
    def is_one_bit(self) -> bool:
        """Whether its weights are 1-bit."""
        return bool(self.info["weight_bits"] == 1)


def open_model(spec: str) -> Model:
    """Look at a model; nothing is measured.

    Raises
    ------
    UnknownNameError, CheckpointError, MissingDependencyError
        If it cannot be opened.
    """
    if spec.startswith(ONNX_PREFIX):
        return _onnx(spec)
    if spec.endswith(PACKED_ENDING):
        return _packed(spec)
    if (Path(spec) / "config.json").is_file():
        return _run(spec)
    hint = f" Did you mean '{ONNX_PREFIX}{spec}'?" if spec.endswith(".onnx") else ""
    raise UnknownNameError(
        f"'{spec}' is no run folder.{hint} Expected a run folder such as runs/mine, onnx:FILE or a packed FILE.bnn."
    )


def _run(spec: str) -> Model:
    from bnas_face.models import cost, saved
    from bnas_face.models.backbones._preprocessing import Preprocessing

    folder = Path(spec)
    model, config, _ = saved.load(folder)
    info = {
        "id": folder.resolve().name,
        "source": spec,
        "backbone": config.backbone,
        "binarizer": config.binarizer,
        **cost.summary(model, config, weights_file=folder / saved.WEIGHTS),
        **cost.operations(model, config),
        "size_px": config.size_px,
        "embedding_dim": config.embedding_dim,
        "weights_sha256": files.sha256_file(folder / saved.WEIGHTS),
        "packed_from_sha256": None,
    }
    preprocessing = Preprocessing(size_px=config.size_px, source="run").as_dict()
    return Model(spec=spec, kind=RUN, path=folder, info=info, preprocessing=preprocessing)


def _onnx(spec: str) -> Model:
    from bnas_face.models import onnx_cost
    from bnas_face.models.backbones.onnx import OnnxNetwork

    network = OnnxNetwork(Path(spec.removeprefix(ONNX_PREFIX)))
    n_macs = onnx_cost.macs(network.path, network.preprocessing.size_px)
    info = {
        "id": network.path.stem,
        "source": spec,
        "backbone": "onnx",
        "binarizer": "none",
        "weight_bits": network.weight_bits,
        "activation_bits": network.activation_bits,
        "n_parameters": network.n_parameters,
        "n_binary_parameters": 0,
        "n_float_parameters": network.n_parameters,
        "n_binary_macs": None if n_macs is None else 0,
        "n_float_macs": n_macs,
        "n_ops": n_macs,
        "file_bytes": network.file_bytes,
        "size_px": network.preprocessing.size_px,
        "embedding_dim": network.embedding_dim,
        "weights_sha256": network.sha256,
        "packed_from_sha256": None,
    }
    return Model(
        spec=spec,
        kind=ONNX,
        path=network.path,
        info=info,
        preprocessing=network.preprocessing.as_dict(),
        images_at_once=network.fixed_batch,
    )


def _packed(spec: str) -> Model:
    from bnas_face.packed import load, provenance

    path = Path(spec)
    if not path.is_file():
        raise CheckpointError(f"Packed model '{spec}' does not exist. Make it with: bnasface export RUN --to packed.")
    network = load(path, threads=1)
    origin = provenance.origin(network.provenance)
    info = {
        "id": provenance.model_id(path),
        "source": spec,
        "backbone": origin.backbone,
        "binarizer": origin.binarizer,
        **{name: origin.counts[name] for name in ("weight_bits", "activation_bits", *COUNTS)},
        **_operations(origin.layers, origin.counts["activation_bits"]),
        "file_bytes": network.file_bytes,
        "size_px": network.size_px,
        "embedding_dim": network.embedding_dim,
        "weights_sha256": files.sha256_file(path),
        "packed_from_sha256": origin.weights_sha256,
    }
    return Model(spec=spec, kind=PACKED, path=path, info=info, preprocessing=dict(network.preprocessing))


def _operations(layers: Sequence[Mapping[str, Any]] | None, activation_bits: int | None) -> dict[str, int | None]:
    """Operations from the table of layers in a packed file's provenance; None where it has none."""
    from bnas_face.models import cost

    if layers is None:
        return dict.fromkeys(("n_binary_macs", "n_float_macs", "n_ops"))
    return dict(cost.operations_of(layers, activation_bits or 32))
