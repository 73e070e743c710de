"""MobileFaceNet for faces of 112 or 64 px: inverted bottlenecks and a global depthwise convolution.

Stem 3×3 stride 2 → depthwise 3×3 → bottlenecks (expansion, channels, repeats, stride) = (2, 64, 5, 2), (4, 128, 1, 2),
(2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1) → 1×1 to 512 → global depthwise convolution → 1×1 to the embedding → BN.
Float always: stem, the first depthwise, everything from the 1×1 to 512 on, batch norms.

``shortcuts="block"`` is the published bottleneck. ``shortcuts="convolution"`` puts a parameter-free shortcut around
each convolution instead (`_blocks.ShortcutConvolution`), which a W1A1 network needs.

Depthwise convolutions are the binarizer's when activations are float (W1A32). With 1-bit activations they stay float:
nine bits per output leave a popcount nothing to do (our choice; the cost table counts them as float parameters).

References
----------
Chen et al., MobileFaceNets, CCBR 2018 (arXiv 1804.07573), table 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.backbones._blocks import ShortcutConvolution, batch_norm, channels, initialise
from bnas_face.models.binarizers import none
from bnas_face.models.binarizers._base import Binarizer

SIZES_PX: tuple[int, ...] = (64, 112)
BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
STRIDE = 16


class PublishedBottleneck(nn.Module):
    """1×1 → BN → PReLU → depthwise 3×3 → BN → PReLU → 1×1 → BN, + shortcut where the shape stays."""

    def __init__(
        self,
        pointwise: Binarizer,
        depthwise: Binarizer,
        in_channels: int,
        out_channels: int,
        expansion: int,
        stride: int,
    ) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.layers = nn.Sequential(
            pointwise.convolution(in_channels, inner, 1),
            batch_norm(inner),
            nn.PReLU(inner),
            depthwise.convolution(inner, inner, 3, stride=stride, groups=inner),
            batch_norm(inner),
            nn.PReLU(inner),
            pointwise.convolution(inner, out_channels, 1),
            batch_norm(out_channels),
        )
        self.keeps_shape = stride == 1 and in_channels == out_channels

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, ceil(h / stride), ceil(w / stride))."""
        result: Tensor = self.layers(values)
        return result + values if self.keeps_shape else result


class MobileFaceNet(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self, config: ModelConfig, binarizer: Binarizer) -> None:
        super().__init__()
        float_maker = none.FullPrecision()
        depthwise: Binarizer = float_maker if binarizer.activation_bits == 1 else binarizer
        n_channels = channels(64, config.width)
        self.stem = nn.Sequential(
            float_maker.convolution(3, n_channels, 3, stride=2),
            batch_norm(n_channels),
            nn.PReLU(n_channels),
            float_maker.convolution(n_channels, n_channels, 3, groups=n_channels),
            batch_norm(n_channels),
            nn.PReLU(n_channels),
        )
        blocks: list[nn.Module] = []
        for expansion, base, repeats, first_stride in BOTTLENECKS:
            out_channels = channels(64, config.width) * (base // 64)
            for repeat in range(repeats):
                stride = first_stride if repeat == 0 else 1
                blocks.append(
                    _bottleneck(config, (binarizer, depthwise), (n_channels, out_channels), expansion, stride)
                )
                n_channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        wide = channels(64, config.width) * 8
        self.widen = nn.Sequential(float_maker.convolution(n_channels, wide, 1), batch_norm(wide), nn.PReLU(wide))
        side_px = config.size_px // STRIDE
        self.pool = nn.Sequential(nn.Conv2d(wide, wide, side_px, groups=wide, bias=False), batch_norm(wide))
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(wide, config.embedding_dim, bias=False)
        self.features = nn.BatchNorm1d(config.embedding_dim)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """(batch_size, 3, size_px, size_px) in [-1, 1] → (batch_size, embedding_dim)."""
        values = self.pool(self.widen(self.blocks(self.stem(images))))
        result: Tensor = self.features(self.embedding(self.dropout(values.flatten(1))))
        return result


def _bottleneck(
    config: ModelConfig, makers: tuple[Binarizer, Binarizer], n_channels: tuple[int, int], expansion: int, stride: int
) -> nn.Module:
    (pointwise, depthwise), (n_in, n_out) = makers, n_channels
    if config.shortcuts == "block":
        return PublishedBottleneck(pointwise, depthwise, n_in, n_out, expansion, stride)
    inner = n_in * expansion
    return nn.Sequential(
        ShortcutConvolution(pointwise, n_in, inner, 1),
        ShortcutConvolution(depthwise, inner, inner, 3, stride=stride, groups=inner),
        ShortcutConvolution(pointwise, inner, n_out, 1, activate=False),
    )


def build(config: ModelConfig, binarizer: Binarizer) -> nn.Module:
    """MobileFaceNet of `config`; `width` 1 has 64 and 128 channels."""
    return MobileFaceNet(config, binarizer)
