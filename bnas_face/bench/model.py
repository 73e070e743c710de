"""A network whose cost is asked for: what it is, and how many parameters and operations it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnas_face import files
from bnas_face.errors import ConfigError, UnknownNameError

ONNX = "onnx:"


class BenchError(ConfigError):
    """An engine does not run a model; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network by its name on the command line.

    Attributes
    ----------
    spec : str
        ``"runs/mine"`` or ``"onnx:FILE"``.
    kind : str
        ``"run"`` or ``"onnx"``.
    path : Path
        The run folder or the file.
    info : mapping
        JSON values: ``id``, ``weight_bits``, ``activation_bits``, ``size_px``, ``embedding_dim``, ``weights_sha256``,
        ``n_parameters``, ``n_binary_parameters``, ``n_binary_macs``, ``n_float_macs``, ``n_ops`` (None: not counted).
    preprocessing : mapping
        ``mean``, ``std``, ``colour_order``, ``size_px``.
    """

    spec: str
    kind: str
    path: Path
    info: Mapping[str, Any]
    preprocessing: Mapping[str, Any]

    @property
    def is_one_bit(self) -> bool:
        """Whether its weights are 1-bit."""
        return bool(self.info["weight_bits"] == 1)


def open_model(spec: str) -> Model:
    """Look at a model; nothing is run.

    Raises
    ------
    UnknownNameError, CheckpointError
        If it cannot be opened.
    """
    if spec.startswith(ONNX):
        return _onnx(spec)
    if (Path(spec) / "config.json").is_file():
        return _run(spec)
    expected = "Expected a run folder such as runs/mine, or onnx:FILE."
    if spec.endswith(".bnn"):
        raise UnknownNameError(f"'{spec}' is a packed file; name the run it was made from, which is packed here.")
    raise UnknownNameError(f"'{spec}' is no run folder. {expected}")


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
    }
    preprocessing = Preprocessing(size_px=config.size_px, source="run").as_dict()
    return Model(spec=spec, kind="run", path=folder, info=info, preprocessing=preprocessing)


def _onnx(spec: str) -> Model:
    from bnas_face.models.backbones.onnx import OnnxNetwork

    network = OnnxNetwork(Path(spec.removeprefix(ONNX)))
    info = {
        "id": network.path.stem,
        "source": spec,
        "backbone": "onnx",
        "binarizer": "none",
        "weight_bits": network.weight_bits,
        "activation_bits": network.activation_bits,
        "n_parameters": network.n_parameters,
        "n_binary_parameters": 0,
        "n_binary_macs": None,
        "n_float_macs": None,
        "n_ops": None,
        "file_bytes": network.file_bytes,
        "size_px": network.preprocessing.size_px,
        "embedding_dim": network.embedding_dim,
        "weights_sha256": network.sha256,
    }
    return Model(spec=spec, kind="onnx", path=network.path, info=info, preprocessing=network.preprocessing.as_dict())
