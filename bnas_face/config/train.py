"""One training run."""

from __future__ import annotations

from dataclasses import dataclass

from bnas_face.config.checks import check_name, in_range, one_of
from bnas_face.config.model import ModelConfig
from bnas_face.errors import ConfigError
from bnas_face.schedule import KINDS

OBJECTS_SHIFT_PX = 14
"""Of 112: the 4 px of 32 that CIFAR-10 is shifted by everywhere."""


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
    sample_rate : float
        Share of the identities that a step looks at, in (0, 1]: those of its images and others drawn at random
        (Partial FC, `bnas_face.models.partial`).
    shard_head : bool
        Every process keeps the head's weights of its part of the identities only; with several processes `sample_rate`
        below 1 does so, too.
    epochs : int
    batch_size : int
        Images per step over all devices together.
    optimizer : str
        ``"sgd"`` (Nesterov momentum), ``"adam"`` (decoupled weight decay) or ``"auto"``: Adam, whatever the bits, see
        `bnas_face.train.recipe`.
    lr, weight_decay : float or None
        Peak learning rate and decay; None is the default of the optimizer.
    latent_weight_decay : float or None
        Decay of the latent weights of 1-bit convolutions; None: none with Adam, `weight_decay` with SGD.
    latent_lr_factor, head_lr_factor : float
        The learning rate of these latent weights, and of the head, is so many times that of the others.
    momentum : float
        Of SGD.
    schedule : str
        How the learning rate falls after the warm-up: ``"cosine"``, ``"poly"`` or ``"step"``, see
        `bnas_face.schedule.Course`.
    poly_power : float
    step_at : tuple of float
        Shares of the training (of each stage) at which schedule ``"step"`` multiplies the rate by `step_factor`.
    step_factor : float
    warmup_epochs : float
        Linear warm-up; at most half of the training (of each stage).
    two_stage : float
        Share of the epochs in which the weights stay float and only the activations are 1-bit, in [0, 1); 0 trains
        in one go. See `bnas_face.train.stages`.
    accumulate : int
        Every batch is computed in so many parts, whose gradients are summed: less memory, the same step.
    ema : float
        Decay of the moving average of the weights, which the run then keeps; 0 keeps the last weights.
    on_nan : str
        Where loss or gradient are not finite: ``"stop"``, or ``"skip"``, which leaves the weights as they are, counts
        the step, and stops after too many in a row.
    init : str
        Folder of a run whose weights to start from; empty for fresh ones.
    precision : str
        ``"fp32"``, or mixed, so that weights and batch norm statistics stay float32: ``"bf16"``, or ``"fp16"`` with
        scaled gradients (GPU only).
    devices : str
        ``"auto"`` (every GPU, else the CPU), ``"cpu"``, ``"cpu:2"`` (processes), or a number of GPUs.
    wait_minutes : float
        The processes of one training wait so long for each other before they give up.
    seed : int
    development_share : float
        Share of identities held out for development accuracy, in [0, 0.5]; 0 switches it off.
    development_pairs : int
        At most this many pairs, half genuine and half impostor.
    development_epochs : int
        Measure every so many epochs, and after the last.
    shift_px : int
        Images are shifted by up to so many pixels (scaled from 112) each way.
    augment : str
        How images are changed besides flip and shift, anew in every epoch: a name in `bnas_face.data.augment.LEVELS`.
        With several `views` only these are changed so, once and for all epochs.
    views : int
        Versions of every image that are trained on, see `bnas_face.data.views`; an epoch is all of them. More than 1
        needs a teacher, which looks at each.
    checkpoint_minutes : float
        Save the training state at least this often, besides the end of every epoch.
    loading : str
        Where the pixels are while they are learned: ``"memory"``, ``"cache"`` (a file of decoded pixels), ``"stream"``
        (decoded in every epoch) or ``"auto"``: memory if they fit; see `bnas_face.data.decoding.open_source`. The
        training is the same.
    workers : int or None
        What makes batches: processes, or threads where the pixels are in memory; 0 for one thread. None: one thread
        for memory, else the cores but one, 8 at most.
    on_corrupt : str
        What an image that cannot be read does: ``"stop"`` the training, or ``"skip"`` that image.
    tensorboard : bool
        Write TensorBoard events, too.
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
    sample_rate: float = 1.0
    shard_head: bool = False
    epochs: int = 15
    batch_size: int = 64
    optimizer: str = "auto"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    latent_weight_decay: float | None = None
    latent_lr_factor: float = 1.0
    head_lr_factor: float = 1.0
    schedule: str = "cosine"
    poly_power: float = 2.0
    step_at: tuple[float, ...] = (0.625, 0.875)
    step_factor: float = 0.1
    warmup_epochs: float = 1.0
    two_stage: float = 0.0
    accumulate: int = 1
    ema: float = 0.0
    init: str = ""
    on_nan: str = "stop"
    precision: str = "bf16"
    devices: str = "auto"
    wait_minutes: float = 10.0
    seed: int = 0
    development_share: float = 0.05
    development_pairs: int = 2000
    development_epochs: int = 1
    shift_px: int = 4
    augment: str = "none"
    views: int = 1
    checkpoint_minutes: float = 2.0
    loading: str = "auto"
    workers: int | None = None
    on_corrupt: str = "stop"
    tensorboard: bool = False
    threads: int = 0
    auxiliary_weight: float = 0.4
    cutout_px: int = 0
    gradient_clip: float = 0.0
    teacher: str = ""
    teacher_weight: float = 1.0
    relation_weight: float = 0.0
    label_weight: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        one_of("optimizer", self.optimizer, ("auto", "sgd", "adam"))
        one_of("precision", self.precision, ("fp32", "bf16", "fp16"))
        one_of("schedule", self.schedule, KINDS)
        one_of("setting of --on-nan", self.on_nan, ("stop", "skip"))
        one_of("setting of --loading", self.loading, ("auto", "memory", "cache", "stream"))
        one_of("setting of --on-corrupt", self.on_corrupt, ("stop", "skip"))
        for word, value, low, high in self._ranges():
            if value is not None:
                in_range(word, value, low, high)
        self._check_course()
        self._check_parts()
        self._check_stages()
        self._check_teacher()
        self._check_views()
        self._check_partial()
        if self.model.auxiliary and not self.auxiliary_weight:
            raise ConfigError("--auxiliary-weight 0 leaves the auxiliary classifier nothing to learn. Leave one out.")

    def _check_views(self) -> None:
        if self.views > 1 and not self.teacher:
            raise ConfigError(
                f"{self.views} views of every image are for a teacher to look at. Name a --teacher, or leave --views "
                "out: without one, --augment draws anew in every epoch."
            )
        if self.views > 1 and self.augment == "none":
            raise ConfigError(
                f"{self.views} views of every image would be the same image. Say how they differ: --augment strong."
            )

    @property
    def is_partial(self) -> bool:
        """Whether a step looks at a part of the identities, or a process has the weights of a part."""
        return self.sample_rate < 1 or self.shard_head

    @property
    def first_stage_epochs(self) -> int:
        """Epochs with float weights and 1-bit activations; 0 for a training in one go."""
        return round(self.two_stage * self.epochs)

    def _check_course(self) -> None:
        object.__setattr__(self, "step_at", tuple(self.step_at))
        if not all(0 < share < 1 for share in self.step_at) or list(self.step_at) != sorted(set(self.step_at)):
            shown = ",".join(f"{share:g}" for share in self.step_at)
            raise ConfigError(f"The shares --step-at '{shown}' must rise and lie between 0 and 1, as 0.5,0.75.")

    def _check_parts(self) -> None:
        if self.batch_size < 2 * self.accumulate:
            raise ConfigError(
                f"A batch of {self.batch_size} in {self.accumulate} parts leaves fewer than the two images each that "
                "batch normalisation needs. Lower --accumulate, or raise --batch-size."
            )
        if self.accumulate > 1 and self.teacher and self.relation_weight:
            raise ConfigError(
                "--accumulate computes a batch in parts, and relations are those of a whole batch. "
                "Leave out --accumulate or --relation-weight."
            )

    def _check_stages(self) -> None:
        if not self.two_stage:
            return
        if self.model.activation_bits != 1:
            raise ConfigError(
                "Two stages are for 1-bit activations: the first trains them with float weights. Add --activation-bits "
                "1, or start from a trained twin with --init instead of --two-stage."
            )
        if not 0 < self.first_stage_epochs < self.epochs:
            raise ConfigError(
                f"--two-stage {self.two_stage:g} of {self.epochs} epochs leaves a stage without any. "
                "Choose a share that gives both at least one."
            )

    def _check_partial(self) -> None:
        if self.is_partial and self.precision == "fp16":
            raise ConfigError(
                "--sample-rate and --shard-head train in bf16 or fp32: fp16 skips a step where a gradient overflows, "
                "and the parts of a head would not agree on it. Use --precision bf16."
            )
        if self.is_partial and (self.label_weight == 0 or (self.teacher and self.label_weight is None)):
            raise ConfigError(
                "--sample-rate and --shard-head are of a head, and without --label-weight a teacher leaves none. Give "
                "it, or leave them out."
            )

    def _check_teacher(self) -> None:
        if self.teacher and self.model.task != "embedding":
            raise ConfigError(
                f"Teacher '{self.teacher}' gives embeddings; a network that classifies cannot learn them."
            )
        if self.teacher and not self.teacher_weight + self.relation_weight + (self.label_weight or 0):
            raise ConfigError(
                "Every weight of the loss is 0. Raise --teacher-weight, --relation-weight or --label-weight."
            )
        if self.relation_weight and not self.teacher:
            raise ConfigError("--relation-weight is of a teacher's embeddings. Name a --teacher, or leave it out.")
        if self.label_weight == 0 and not self.teacher:
            raise ConfigError(
                "--label-weight 0 leaves nothing to learn without a --teacher. Name one, or leave it out."
            )

    def _ranges(self) -> list[tuple[str, float | None, float, float]]:
        return [
            ("number of epochs", self.epochs, 1, 100_000),
            ("batch size", self.batch_size, 2, 1_000_000),
            ("number of parts of a batch", self.accumulate, 1, 10_000),
            ("decay of the average of weights", self.ema, 0, 0.999999),
            ("share of the first stage", self.two_stage, 0, 0.99),
            ("power of the schedule", self.poly_power, 0.1, 10),
            ("step factor", self.step_factor, 1e-4, 1),
            ("learning rate factor of latent weights", self.latent_lr_factor, 0, 1000),
            ("learning rate factor of the head", self.head_lr_factor, 0, 1000),
            ("weight decay of latent weights", self.latent_weight_decay, 0, 10),
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
            ("sample rate", self.sample_rate, 1e-6, 1),
            ("number of minutes to wait", self.wait_minutes, 0.01, 1e6),
            ("momentum", self.momentum, 0, 0.9999),
            ("number of warm-up epochs", self.warmup_epochs, 0, 100_000),
            ("development share", self.development_share, 0, 0.5),
            ("number of development pairs", self.development_pairs, 2, 10_000_000),
            ("development epochs", self.development_epochs, 1, 100_000),
            ("shift in pixels", self.shift_px, 0, 32),
            ("number of views", self.views, 1, 1000),
            ("checkpoint minutes", self.checkpoint_minutes, 0, 1e6),
            ("number of workers", self.workers, 0, 256),
            ("number of threads", self.threads, 0, 1024),
            ("seed", self.seed, 0, 2**31 - 1),
        ]
