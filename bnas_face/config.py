"""Settings as frozen dataclasses (a CLI option is a field with dashes), and where things lie on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bnas_face.errors import ConfigError


def data_root() -> Path:
    """Folder of imported datasets: ``$BNASFACE_DATA``, else ``data/`` under the working directory."""
    return Path(os.environ.get("BNASFACE_DATA", "data"))


def cache_root() -> Path:
    """Folder of things that can be made again (embeddings): ``$BNASFACE_CACHE``, else ``.cache/`` in the data root."""
    return Path(os.environ.get("BNASFACE_CACHE", data_root() / ".cache"))


RUNS = Path("runs")
REPORTS = Path("reports")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What to build: backbone, its input and output sizes, and its bits.

    The defaults train in minutes on two CPU cores; the published networks are ``size_px=112, width=1,
    embedding_dim=512``.

    Attributes
    ----------
    backbone : str
        Name in `bnas_face.models.backbones`.
    binarizer : str
        Name in `bnas_face.models.binarizers`; ``"none"`` is the full-precision twin.
    activation_bits : int
        32, or 1 for a W1A1 network. Must be 32 when the binarizer is ``"none"``.
    shortcuts : str
        ``"convolution"``: a parameter-free real-valued shortcut around every convolution (a W1A1 network needs
        it); ``"block"``: the backbone's published one, around every block. A network and its full-precision twin
        have the same.
    weight_scale : str
        ``"filter"`` (XNOR-Net: one scale per output filter) or ``"layer"`` (BNAS: one per layer). Ignored when the
        binarizer is ``"none"``.
    input_scale : bool
        XNOR-Net's map K of input magnitudes; W1A1 only, off by default (costs float work in every layer).
    size_px : int
        Input height and width, 64 or 112.
    embedding_dim : int
        Length of the embedding, > 0.
    width : float
        Multiplier of the channel counts, > 0.
    dropout : float
        Share of features dropped before the embedding layer while training, in [0, 1).
    """

    backbone: str = "iresnet18"
    binarizer: str = "none"
    activation_bits: int = 32
    shortcuts: str = "convolution"
    weight_scale: str = "filter"
    input_scale: bool = False
    size_px: int = 64
    embedding_dim: int = 256
    width: float = 0.5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _one_of("activation bits", self.activation_bits, (1, 32))
        _one_of("shortcuts", self.shortcuts, ("convolution", "block"))
        _one_of("weight scale", self.weight_scale, ("filter", "layer"))
        _in_range("embedding dimension", self.embedding_dim, 1, 8192)
        _in_range("width", self.width, 0.01, 16)
        _in_range("dropout", self.dropout, 0, 0.99)
        if self.binarizer == "none" and self.activation_bits != 32:
            raise ConfigError(
                f"Activation bits {self.activation_bits} need a binarizer, and binarizer is 'none'. "
                "Choose --binarizer xnor, or leave --activation-bits at 32."
            )
        if self.input_scale and self.activation_bits != 1:
            raise ConfigError(
                "The input scale belongs to 1-bit activations. Add --activation-bits 1 or drop --input-scale."
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run. Every field is an option of ``bnasface train`` and is saved in ``config.json``.

    Attributes
    ----------
    name : str
        The run is written to ``runs/<name>/``.
    model : ModelConfig
    dataset : str
        What `bnas_face.data.datasets.load` opens ("lfw", "demo", "folder:PATH").
    exclude_names_of : tuple of str
        Datasets whose people must not be trained on (matched by normalised name).
    min_images : int
        Identities with fewer images are left out, >= 1.
    head : str
        Name in `bnas_face.models.heads`.
    scale, margin : float or None
        The head's own (None = the paper's default); `margin` is in radians for ``arcface``, a cosine for ``cosface``.
    epochs : int
    batch_size : int
        Images per step over all devices together.
    optimizer : str
        ``"sgd"`` (Nesterov momentum), ``"adam"`` (decoupled weight decay) or ``"auto"``: the default of the bits,
        see `bnas_face.train.recipe`.
    lr, weight_decay : float or None
        Peak learning rate and decay; None is the default of the optimizer and the bits.
    momentum : float
        Of SGD.
    warmup_epochs : float
        Linear warm-up before the cosine to zero.
    precision : str
        ``"fp32"`` or ``"bf16"`` (mixed: weights and batch norm statistics stay float32).
    devices : str
        ``"auto"`` (every GPU, else the CPU), ``"cpu"``, ``"cpu:2"`` (processes), or a number of GPUs.
    seed : int
    development_share : float
        Share of identities held out for development accuracy, in [0, 0.5]; 0 switches it off.
    development_pairs : int
        At most this many pairs, half genuine and half impostor.
    development_epochs : int
        Measure every so many epochs, and after the last.
    shift_px : int
        Images are shifted by up to so many pixels (scaled from 112) each way.
    checkpoint_minutes : float
        Save the training state at least this often, besides the end of every epoch.
    threads : int
        CPU threads of torch; 0 leaves torch's own choice.
    """

    name: str
    model: ModelConfig
    dataset: str = "demo"
    exclude_names_of: tuple[str, ...] = ()
    min_images: int = 2
    head: str = "cosface"
    scale: float | None = None
    margin: float | None = None
    epochs: int = 15
    batch_size: int = 64
    optimizer: str = "auto"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup_epochs: float = 1.0
    precision: str = "bf16"
    devices: str = "auto"
    seed: int = 0
    development_share: float = 0.05
    development_pairs: int = 2000
    development_epochs: int = 1
    shift_px: int = 4
    checkpoint_minutes: float = 2.0
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name or self.name.startswith("."):
            raise ConfigError(f"Run name '{self.name}' is not a plain folder name. Use letters, digits, - and _.")
        _one_of("optimizer", self.optimizer, ("auto", "sgd", "adam"))
        _one_of("precision", self.precision, ("fp32", "bf16"))
        for word, value, low, high in self._ranges():
            if value is not None:
                _in_range(word, value, low, high)

    def _ranges(self) -> list[tuple[str, float | None, float, float]]:
        return [
            ("number of epochs", self.epochs, 1, 100_000),
            ("batch size", self.batch_size, 2, 1_000_000),
            ("minimum number of images", self.min_images, 1, 1_000_000),
            ("learning rate", self.lr, 0, 100),
            ("weight decay", self.weight_decay, 0, 10),
            ("scale", self.scale, 1e-3, 1e4),
            ("margin", self.margin, 0, 3.1),
            ("momentum", self.momentum, 0, 0.9999),
            ("number of warm-up epochs", self.warmup_epochs, 0, 100_000),
            ("development share", self.development_share, 0, 0.5),
            ("number of development pairs", self.development_pairs, 2, 10_000_000),
            ("development epochs", self.development_epochs, 1, 100_000),
            ("shift in pixels", self.shift_px, 0, 32),
            ("checkpoint minutes", self.checkpoint_minutes, 0, 1e6),
            ("number of threads", self.threads, 0, 1024),
            ("seed", self.seed, 0, 2**31 - 1),
        ]


def _one_of(word: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"The {word} '{value}' is not known. Choose {' or '.join(str(a) for a in allowed)}.")


def _in_range(word: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"The {word} is {value:g}; it must lie between {low:g} and {high:g}.")
