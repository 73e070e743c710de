"""One search."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.config.checks import check_name, in_range, one_of
from bnas_face.errors import ConfigError


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
        check_name(self.name)
        one_of("fitness", self.fitness, ("classification", "verification"))
        one_of("optimizer", self.optimizer, ("auto", "sgd", "adam"))
        one_of("precision", self.precision, ("fp32",))
        for word, value, low, high in self._ranges():
            if value is not None:
                in_range(word, value, low, high)
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
