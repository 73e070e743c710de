"""What to build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnas_face import genotype as genotypes
from bnas_face.config.checks import in_range, one_of
from bnas_face.errors import ConfigError
from bnas_face.genotype import Genotype


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
        one_of("task", self.task, ("embedding", "classification"))
        one_of("activation bits", self.activation_bits, (1, 32))
        one_of("shortcuts", self.shortcuts, ("convolution", "block"))
        one_of("weight scale", self.weight_scale, ("filter", "layer"))
        in_range("embedding dimension", self.embedding_dim, 1, 8192)
        in_range("width", self.width, 0.01, 16)
        in_range("dropout", self.dropout, 0, 0.99)
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
        in_range("number of cells", self.cells, 3, 200)
        in_range("number of channels", self.channels, 1, 4096)
        in_range("drop-path probability", self.drop_path, 0, 0.99)
        if self.auxiliary and self.task != "classification":
            raise ConfigError("The auxiliary classifier belongs to classification. Leave --auxiliary out for faces.")
