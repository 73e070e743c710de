"""Settings as frozen dataclasses (a CLI option is a field with dashes), and where things lie on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bnas_face import genotype as genotypes
from bnas_face.errors import ConfigError
from bnas_face.genotype import Genotype


def data_root() -> Path:
    """Folder of imported datasets: ``$BNASFACE_DATA``, else ``data/`` under the working directory."""
    return Path(os.environ.get("BNASFACE_DATA", "data"))


def cache_root() -> Path:
    """Folder of things that can be made again (embeddings): ``$BNASFACE_CACHE``, else ``.cache/`` in the data root."""
    return Path(os.environ.get("BNASFACE_CACHE", data_root() / ".cache"))


RUNS = Path("runs")
REPORTS = Path("reports")
OBJECTS_SHIFT_PX = 14
"""Of 112: the 4 px of 32 that CIFAR-10 is shifted by everywhere."""


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
    task : str
        ``"embedding"`` (faces), or ``"classification"``: the output is one logit per class and `embedding_dim` is the
        number of classes.
    genotype : Genotype or None
        Cells of backbone ``searched``; None for every other backbone. A mapping is read with `genotype.from_json`.
    cells : int
        Number of cells of backbone ``searched``.
    channels : int
        Channels C of the first cells of backbone ``searched``; each reduction cell doubles them.
    drop_path : float
        Largest probability that an operation of backbone ``searched`` is dropped while training, in [0, 1).
    auxiliary : bool
        Whether backbone ``searched`` has an auxiliary classifier at two thirds of its depth (classification only).
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
    task: str = "embedding"
    genotype: Genotype | None = None
    cells: int = 8
    channels: int = 16
    drop_path: float = 0.0
    auxiliary: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.genotype, Mapping):
            object.__setattr__(self, "genotype", genotypes.from_json(self.genotype))
        self._check_searched()
        _one_of("task", self.task, ("embedding", "classification"))
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

    def _check_searched(self) -> None:
        if (self.backbone == "searched") != (self.genotype is not None):
            raise ConfigError(
                f"Backbone '{self.backbone}' and genotype '{'given' if self.genotype else 'none'}' do not fit: "
                "backbone 'searched' needs one and no other has one. Use --backbone searched --genotype FILE."
            )
        _in_range("number of cells", self.cells, 3, 200)
        _in_range("number of channels", self.channels, 1, 4096)
        _in_range("drop-path probability", self.drop_path, 0, 0.99)
        if self.auxiliary and self.task != "classification":
            raise ConfigError("The auxiliary classifier belongs to classification. Leave --auxiliary out for faces.")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search. Every field but `precision` is an option of ``bnasface search``; all are saved in ``config.json``.

    None means the default of the searcher (`bnas_face.search.presets.resolve`).

    Attributes
    ----------
    name : str
        The search is written to ``runs/<name>/``.
    dataset : str
        What `bnas_face.data.datasets.load` opens.
    exclude_names_of : tuple of str
        Datasets whose people must not be searched on.
    min_images : int
        Identities with fewer images are left out, >= 1.
    max_images : int
        Use at most so many images (whole identities for faces, a share of every class for objects); 0 for all.
    searcher : str
        Name in `bnas_face.search.searchers`.
    space : str
        Name in `bnas_face.models.spaces`: ``"paper"`` (W1A32) or ``"onebit"`` (W1A1). Binarizer ``"none"`` searches
        either in full precision.
    binarizer : str
        Name in `bnas_face.models.binarizers`.
    fitness : str
        ``"classification"``: accuracy on held-out images of the training identities (the paper's);
        ``"verification"``: accuracy on pairs of held-out training identities.
    ucb : float or None
        λ of the upper confidence bound; 0 samples without replacement. None: 1 in space ``onebit``, 0 in ``paper``.
    channel_sampling : int or None
        C: a 1/C share of the channels passes the operations. None: 2 for bnas, 4 for pc_darts.
    reduction : bool
        Operation-space reduction; False keeps every operation to the end of the search.
    edge_normalisation : bool
        Weigh the edges of a node by softmax(β).
    cells, channels : int
        Of the search network.
    size_px : int
        Height and width of its input.
    epochs : int or None
        Mixed epochs of pc_darts (50); epochs of each sample of random. Not used by bnas.
    frozen_epochs : int or None
        pc_darts: the first epochs train weights only (15).
    samples : int
        random: number of genotypes drawn.
    warmup_epochs, repeats, mixed_epochs : int
        L, T and V of BNAS (5, 3, 1).
    temperature : float
        The likelihood is a softmax of accuracy / temperature; 1 is the paper's.
    batch_size : int or None
        None: 128 for bnas and random, 256 for pc_darts.
    optimizer : str
        ``"sgd"``, ``"adam"`` or ``"auto"``: adam for W1A1, else sgd.
    lr, weight_decay : float or None
        Of the weights; None is the default of the optimizer and the searcher.
    alpha_lr, alpha_weight_decay : float
        Of the architecture parameters (Adam with β = (0.5, 0.999)).
    validation_share : float
        Share of the images of every identity (classification), or of the identities (verification), held out.
    pairs : int
        verification: at most so many held-out pairs.
    shift_px : int
        Random shift of training images, in pixels of a 112 px image.
    precision : str
        ``"fp32"``: a search knows no other.
    devices, threads, checkpoint_minutes, seed
        As in `TrainConfig`.
    """

    name: str
    dataset: str = "demo"
    exclude_names_of: tuple[str, ...] = ()
    min_images: int = 2
    max_images: int = 0
    searcher: str = "bnas"
    space: str = "paper"
    binarizer: str = "xnor"
    fitness: str = "classification"
    ucb: float | None = None
    channel_sampling: int | None = None
    reduction: bool = True
    edge_normalisation: bool = True
    cells: int = 6
    channels: int = 16
    size_px: int = 64
    epochs: int | None = None
    frozen_epochs: int | None = None
    samples: int = 10
    warmup_epochs: int = 5
    repeats: int = 3
    mixed_epochs: int = 1
    temperature: float = 1.0
    batch_size: int | None = None
    optimizer: str = "auto"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    alpha_lr: float = 6e-4
    alpha_weight_decay: float = 1e-3
    validation_share: float = 0.5
    pairs: int = 2000
    shift_px: int = 4
    precision: str = "fp32"
    devices: str = "auto"
    threads: int = 0
    checkpoint_minutes: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_name(self.name)
        _one_of("fitness", self.fitness, ("classification", "verification"))
        _one_of("optimizer", self.optimizer, ("auto", "sgd", "adam"))
        _one_of("precision", self.precision, ("fp32",))
        for word, value, low, high in self._ranges():
            if value is not None:
                _in_range(word, value, low, high)
        if self.channel_sampling and self.channels % self.channel_sampling:
            raise ConfigError(
                f"Channel sampling {self.channel_sampling} does not divide {self.channels} channels. "
                "Choose --channel-sampling and --channels so that it does."
            )

    def _ranges(self) -> list[tuple[str, float | None, float, float]]:
        return [
            ("minimum number of images", self.min_images, 1, 1_000_000),
            ("maximum number of images", self.max_images, 0, 1_000_000_000),
            ("UCB weight", self.ucb, 0, 1e6),
            ("channel sampling", self.channel_sampling, 1, 4096),
            ("number of cells", self.cells, 3, 200),
            ("number of channels", self.channels, 1, 4096),
            ("image size in pixels", self.size_px, 16, 1024),
            ("number of epochs", self.epochs, 1, 100_000),
            ("number of frozen epochs", self.frozen_epochs, 0, 100_000),
            ("number of samples", self.samples, 1, 100_000),
            ("number of warm-up epochs", self.warmup_epochs, 0, 100_000),
            ("number of repeats", self.repeats, 1, 10_000),
            ("number of mixed epochs", self.mixed_epochs, 0, 10_000),
            ("temperature", self.temperature, 1e-6, 1e6),
            ("batch size", self.batch_size, 2, 1_000_000),
            ("learning rate", self.lr, 0, 100),
            ("momentum", self.momentum, 0, 0.9999),
            ("weight decay", self.weight_decay, 0, 10),
            ("architecture learning rate", self.alpha_lr, 0, 100),
            ("architecture weight decay", self.alpha_weight_decay, 0, 10),
            ("validation share", self.validation_share, 0.05, 0.95),
            ("number of pairs", self.pairs, 2, 10_000_000),
            ("shift in pixels", self.shift_px, 0, 32),
            ("checkpoint minutes", self.checkpoint_minutes, 0, 1e6),
            ("number of threads", self.threads, 0, 1024),
            ("seed", self.seed, 0, 2**31 - 1),
        ]


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
    max_images : int
        Use at most so many images, drawn from the seed: whole identities of faces, an equal share of every class of
        objects; 0 for all.
    head : str
        Name in `bnas_face.models.heads`.
    scale, margin : float or None
        The head's own (None = the paper's default); `margin` is in radians for ``arcface``, a cosine for ``cosface``,
        a factor for ``sphereface``: docs/models.md has all.
    sub_centers : int
        Centers of each identity, of which the nearest counts; more than 1 for ``arcface`` alone.
    epochs : int
    batch_size : int
        Images per step over all devices together.
    optimizer : str
        ``"sgd"`` (Nesterov momentum), ``"adam"`` (decoupled weight decay) or ``"auto"``: Adam, whatever the bits, see
        `bnas_face.train.recipe`.
    lr, weight_decay : float or None
        Peak learning rate and decay; None is the default of the optimizer.
    momentum : float
        Of SGD.
    warmup_epochs : float
        Linear warm-up before the cosine to zero; at most half of the training.
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
    auxiliary_weight : float
        Weight of the auxiliary classifier's loss, where the model has one.
    cutout_px : int
        Side of the square that is blanked in every training image, in pixels of the network's input; 0 for none.
    gradient_clip : float
        The gradient of all weights together is shortened to this Euclidean length; 0 leaves it as it is.
    teacher : str
        A model whose embeddings are learned, see `bnas_face.train.distill`; empty for none.
    teacher_weight, relation_weight : float
        Of the losses against the teacher's embeddings and against its cosines within a batch.
    label_weight : float or None
        Of the head's loss; None: 0 with a teacher, 1 without. At 0 there is no head, and names are not used.
    """

    name: str
    model: ModelConfig
    dataset: str = "demo"
    exclude_names_of: tuple[str, ...] = ()
    min_images: int = 2
    max_images: int = 0
    head: str = "cosface"
    scale: float | None = None
    margin: float | None = None
    sub_centers: int = 1
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
    auxiliary_weight: float = 0.4
    cutout_px: int = 0
    gradient_clip: float = 0.0
    teacher: str = ""
    teacher_weight: float = 1.0
    relation_weight: float = 0.0
    label_weight: float | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        _one_of("optimizer", self.optimizer, ("auto", "sgd", "adam"))
        _one_of("precision", self.precision, ("fp32", "bf16"))
        for word, value, low, high in self._ranges():
            if value is not None:
                _in_range(word, value, low, high)
        self._check_teacher()

    def _check_teacher(self) -> None:
        if self.teacher and self.model.task != "embedding":
            raise ConfigError(
                f"Teacher '{self.teacher}' gives embeddings; a network that classifies cannot learn them."
            )
        if self.teacher and not self.teacher_weight + self.relation_weight + (self.label_weight or 0):
            raise ConfigError(
                "Every weight of the loss is 0. Raise --teacher-weight, --relation-weight or --label-weight."
            )
        if self.label_weight == 0 and not self.teacher:
            raise ConfigError(
                "--label-weight 0 leaves nothing to learn without a --teacher. Name one, or leave it out."
            )

    def _ranges(self) -> list[tuple[str, float | None, float, float]]:
        return [
            ("number of epochs", self.epochs, 1, 100_000),
            ("batch size", self.batch_size, 2, 1_000_000),
            ("weight of the teacher", self.teacher_weight, 0, 1e6),
            ("weight of relations", self.relation_weight, 0, 1e6),
            ("weight of labels", self.label_weight, 0, 1e6),
            ("auxiliary weight", self.auxiliary_weight, 0, 100),
            ("cutout in pixels", self.cutout_px, 0, 1024),
            ("gradient clip", self.gradient_clip, 0, 1e6),
            ("minimum number of images", self.min_images, 1, 1_000_000),
            ("maximum number of images", self.max_images, 0, 1_000_000_000),
            ("learning rate", self.lr, 0, 100),
            ("weight decay", self.weight_decay, 0, 10),
            ("scale", self.scale, 1e-3, 1e4),
            ("margin", self.margin, 0, 8),
            ("number of sub-centers", self.sub_centers, 1, 64),
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


def _check_name(name: str) -> None:
    if not name or name != Path(name).name or name.startswith("."):
        raise ConfigError(f"Run name '{name}' is not a plain folder name. Use letters, digits, - and _.")


def _one_of(word: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"The {word} '{value}' is not known. Choose {' or '.join(str(a) for a in allowed)}.")


def _in_range(word: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"The {word} is {value:g}; it must lie between {low:g} and {high:g}.")
