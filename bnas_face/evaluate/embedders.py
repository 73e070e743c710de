"""Whatever turns images into embeddings, by name: a run folder, ``FILE.bnn``, ``onnx:FILE`` or ``facenet:NAME``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face import files, tables
from bnas_face import genotype as genotypes
from bnas_face.config import RUNS, ModelConfig
from bnas_face.errors import CheckpointError, UnknownNameError
from bnas_face.models.backbones._preprocessing import Preprocessing

KINDS = ("onnx", "facenet")
PACKED = ".bnn"
GENOTYPE = "genotype.json"
LOG = "log.csv"
COUNTS = (
    *("weight_bits", "activation_bits", "n_parameters", "n_binary_parameters", "n_float_parameters", "packed_bytes"),
)
CURVES = ("epoch", "loss", "development_accuracy")
MOST_EPOCHS = 200
"""Points of a training curve that a result keeps."""
PART = 8
"""Images that go through an ONNX network at once on one thread."""


@dataclass(frozen=True, kw_only=True)
class Embedder:
    """A network that is ready to embed.

    Attributes
    ----------
    spec : str
        The name it was opened by.
    info : mapping
        Its entry of ``models`` in result.json.
    preprocessing : Preprocessing
        Applied inside `network`; images must come in its size.
    network : callable
        RGB uint8 (n, size_px, size_px, 3) → float32 (n, embedding_dim), not normalised.
    task : str
        ``"embedding"``, or ``"classification"``: the numbers it puts out are logits.
    class_names : tuple of str
        Of the logits in order; empty for embeddings.
    """

    spec: str
    info: Mapping[str, Any]
    preprocessing: Preprocessing
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    task: str = "embedding"
    class_names: tuple[str, ...] = ()

    @property
    def flip(self) -> bool:
        """Whether an image and its mirror image are added: faces are, objects are seen once."""
        return self.task == "embedding"

    def forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings, float32 (n, embedding_dim), of RGB uint8 images (n, size_px, size_px, 3); no flip, no norm."""
        return self.network(images)


def open_embedder(
    spec: str,
    *,
    onnx_mean: tuple[float, float, float] | None = None,
    onnx_std: tuple[float, float, float] | None = None,
    onnx_colour_order: str | None = None,
    device: str = "auto",
    threads: int = 2,
) -> Embedder:
    """Open a model by its name.

    Parameters
    ----------
    spec : str
        ``"runs/mine"`` (a run folder), ``"runs/mine/model.bnn"`` (a packed model), ``"onnx:FILE"``,
        ``"facenet:vggface2"`` or ``"facenet:casia-webface"``.
    onnx_mean, onnx_std, onnx_colour_order : optional
        Preprocessing of an ONNX file, scale 0 to 1; None leaves it to the side-car, the table of known files or the
        default. Without effect on other kinds, whose preprocessing is part of the model.
    device : str
        ``"auto"`` (CUDA if there is one), ``"cpu"`` or ``"cuda"``, for networks in torch.
    threads : int
        Parts of a batch that go through an ONNX network side by side; threads of a packed model.

    Raises
    ------
    UnknownNameError
        If no run folder and no kind of model has this name; suggests the nearest.
    CheckpointError, MissingDependencyError, FormatError, ConfigError
        If the model is damaged, absent, or needs a package that is not installed.
    """
    kind, colon, argument = spec.partition(":")
    if colon and kind == "onnx":
        options = {"mean": onnx_mean, "std": onnx_std, "colour_order": onnx_colour_order}
        return _open_onnx(spec, Path(argument), options, threads)
    if colon and kind == "facenet":
        return _open_facenet(spec, argument, _device(device))
    if (Path(spec) / "config.json").is_file():
        return _open_run(spec, _device(device))
    if Path(spec).suffix == PACKED and Path(spec).is_file():
        return _open_packed(spec, threads)
    raise UnknownNameError(_unknown(spec))


def _unknown(spec: str) -> str:
    """The sentence for a name that is neither a run folder nor a known kind."""
    path = Path(spec)
    expected = (
        "Expected a run folder such as runs/mine, a packed FILE.bnn, onnx:FILE, facenet:vggface2 or "
        "facenet:casia-webface."
    )
    if path.is_dir():
        return f"'{spec}' is a folder without config.json, so it is not a run. {expected}"
    if path.is_file():
        hint = f" Did you mean 'onnx:{spec}'?" if path.suffix == ".onnx" else ""
        return f"'{spec}' is a file, not a run folder.{hint} {expected}"
    if path.suffix == PACKED:
        return f"Packed model '{spec}' does not exist. Make it with bnasface export RUN --to packed. {expected}"
    kind, colon, argument = spec.partition(":")
    if colon:
        near = tables.suggest(kind, KINDS).replace("'?", f":{argument}'?")
        return f"Unknown kind of model '{kind}' in '{spec}'.{near} {expected}"
    runs = [str(f.parent) for folder in {path.parent, RUNS} for f in folder.glob("*/config.json")]
    near = tables.suggest(spec, runs) or tables.suggest(str(RUNS / spec), runs)
    return f"Run folder '{spec}' does not exist.{near} {expected}"


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _torch_network(model: Any, preprocessing: Preprocessing, device: str) -> Callable[..., NDArray[np.float32]]:
    """Wrap a torch module (n, 3, size, size) → (n, embedding_dim) as a function of uint8 images."""
    import torch

    model.to(device, memory_format=torch.channels_last).eval()  # a quarter to a third less time on a CPU

    def network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = torch.from_numpy(preprocessing.apply(images))
        with torch.inference_mode():
            embeddings = model(values.to(device, memory_format=torch.channels_last))
        found: NDArray[np.float32] = embeddings.float().cpu().numpy()
        return found

    return network


def _side_by_side(
    network: Callable[[NDArray[np.uint8]], NDArray[np.float32]], threads: int, part: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Run parts of `part` images of a batch on `threads` threads, each part on one of them.

    onnxruntime's own threads wait for each other by spinning after every layer, and the layers of a large batch leave
    the processor's cache: see docs/embedding.md for what either costs.
    """

    def together(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        n_parts = max(1, -(-len(images) // part))
        with ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
            return np.concatenate(list(pool.map(network, np.array_split(images, n_parts))))

    return together


def _open_onnx(spec: str, path: Path, options: Mapping[str, Any], threads: int) -> Embedder:
    from bnas_face.models.backbones.onnx import OnnxNetwork

    network = OnnxNetwork(path, options=options, threads=1)
    info = {
        "id": path.stem,
        "source": spec,
        "backbone": "onnx",
        "binarizer": "none",
        "weight_bits": network.weight_bits,
        "activation_bits": network.activation_bits,
        "n_parameters": network.n_parameters,
        "n_binary_parameters": 0,
        "file_bytes": network.file_bytes,
        "size_px": network.preprocessing.size_px,
        "embedding_dim": network.embedding_dim,
        "weights_sha256": network.sha256,
        "twin": None,
        "preprocessing": network.preprocessing.as_dict(),
        "training": None,
        "genotype": None,
    }
    return Embedder(
        spec=spec,
        info=info,
        preprocessing=network.preprocessing,
        network=_side_by_side(network.forward, threads, network.fixed_batch or PART),
    )


def _open_facenet(spec: str, name: str, device: str) -> Embedder:
    from bnas_face.models.backbones import inception_resnet_v1

    model, weights = inception_resnet_v1.pretrained(name)
    preprocessing = inception_resnet_v1.PREPROCESSING
    info = {
        "id": f"facenet-{name}",
        "source": spec,
        "backbone": "inception_resnet_v1",
        "binarizer": "none",
        "weight_bits": 32,
        "activation_bits": 32,
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "n_binary_parameters": 0,
        "file_bytes": weights.stat().st_size,
        "size_px": preprocessing.size_px,
        "embedding_dim": 512,
        "weights_sha256": files.sha256_file(weights),
        "twin": None,
        "preprocessing": preprocessing.as_dict(),
        "training": None,
        "genotype": None,
    }
    network = _torch_network(model, preprocessing, device)
    return Embedder(spec=spec, info=info, preprocessing=preprocessing, network=network)


def _open_run(spec: str, device: str) -> Embedder:
    from bnas_face.models import cost, saved
    from bnas_face.models.reproducible import reproducible

    folder = Path(spec)
    model, config, settings = saved.load(folder)
    preprocessing = Preprocessing(size_px=config.size_px, source="run")
    weights = folder / saved.WEIGHTS
    costs = cost.summary(model, config, weights_file=weights)
    info = {
        "id": folder.resolve().name,
        "source": spec,
        "task": config.task,
        "backbone": config.backbone,
        "binarizer": config.binarizer,
        **costs,
        "layers": cost.by_kind(model, config.size_px),
        **({"arithmetic": "reproducible"} if costs["activation_bits"] == 1 else {}),
        "history": _history(folder / LOG),
        "size_px": config.size_px,
        "embedding_dim": config.embedding_dim,
        "weights_sha256": files.sha256_file(weights),
        "twin": None,
        "preprocessing": preprocessing.as_dict(),
        "training": _training(settings),
        "genotype": _genotype(folder, config),
    }
    network = _torch_network(reproducible(model), preprocessing, device)
    return Embedder(
        spec=spec,
        info=info,
        preprocessing=preprocessing,
        network=network,
        task=config.task,
        class_names=tuple((settings.get("training_data") or {}).get("class_names", ())),
    )


def _open_packed(spec: str, threads: int) -> Embedder:
    """A packed model, run by the packed engine; what it was trained as stands in its provenance."""
    from bnas_face.packed import load, provenance

    path = Path(spec)
    network = load(path, threads=threads)
    origin = provenance.origin(network.provenance)
    preprocessing = Preprocessing(
        **{name: tuple(network.preprocessing[name]) for name in ("mean", "std")},
        colour_order=network.preprocessing["colour_order"],
        size_px=network.size_px,
        source="packed model",
    )
    info = {
        "id": provenance.model_id(path),
        "source": spec,
        "task": origin.task,
        "backbone": origin.backbone,
        "binarizer": origin.binarizer,
        **{name: origin.counts[name] for name in COUNTS},
        "file_bytes": network.file_bytes,
        "file_format": "packed",
        "floats": origin.floats,
        "kernels": network.implementation,
        "layers": origin.layers,
        "size_px": network.size_px,
        "embedding_dim": network.embedding_dim,
        "weights_sha256": files.sha256_file(path),
        "packed_from_sha256": origin.weights_sha256,
        "twin": None,
        "preprocessing": preprocessing.as_dict(),
        "training": _training(origin.settings),
        "genotype": origin.genotype,
    }
    return Embedder(
        spec=spec,
        info=info,
        preprocessing=preprocessing,
        network=network,
        task=origin.task,
        class_names=origin.class_names,
    )


def _history(log: Path) -> dict[str, list[float | None]] | None:
    """Training curves of a run's log: the last loss of every epoch, development accuracy (None: not measured)."""
    if not log.is_file():
        return None
    try:
        with log.open(encoding="utf-8", newline="") as file:
            last = {row["epoch"]: row for row in csv.DictReader(file)}
        rows = list(last.values())
        every = max(1, -(-len(rows) // MOST_EPOCHS))
        keep = [row for k, row in enumerate(rows) if k % every == 0 or k == len(rows) - 1 or row[CURVES[2]]]
        return {name: [_finite(row[name]) for row in keep] for name in CURVES}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"'{log}' is no training log ({error}). Restore it, or delete it.") from None


def _finite(text: str) -> float | None:
    """A number of a log; None where it was not measured, or is no number any more."""
    value = float(text) if text else np.nan
    return value if np.isfinite(value) else None


def _genotype(folder: Path, config: ModelConfig) -> dict[str, Any] | None:
    """The searched cells as JSON: from ``genotype.json`` of the run with its whole origin, else from the settings."""
    if config.genotype is None:
        return None
    file = folder / GENOTYPE
    if not file.is_file():
        return config.genotype.to_json()
    found = genotypes.load(file)
    if found != config.genotype:
        raise CheckpointError(
            f"'{file}' describes other cells than '{folder / 'config.json'}', from which the network was built. "
            "Restore the run's own genotype.json, or delete it to go by config.json."
        )
    return found.to_json()


def _training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What config.json says of the training: its settings without the model, and counts of the set it used."""
    data = settings.get("training_data") or {}
    counts = {name: data.get(name) for name in ("n_images", "n_identities")}
    return {name: value for name, value in settings.items() if name not in ("schema", "model")} | counts
