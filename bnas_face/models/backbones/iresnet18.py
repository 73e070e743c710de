"""IResNet-18, the improved residual network of ArcFace, for faces of 112 or 64 px.

Stem 3×3 → BN → PReLU; four stages of two blocks, each stage halving the image and doubling the channels; then the
embedding head BN → dropout → FC → BN. Stem, shortcuts, batch norms and the embedding layer are always float; the
convolutions of the blocks are the binarizer's.

``shortcuts="block"`` is the published block, BN → conv → BN → PReLU → conv → BN → + shortcut (1×1 convolution and BN
where the shape changes). ``shortcuts="convolution"`` puts a parameter-free shortcut around each of the two convolutions
(`_blocks.ShortcutConvolution`), which a W1A1 network needs.

References
----------
Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), section 3.1; code: InsightFace, arcface_torch/backbones/iresnet.py.
Liu et al., Bi-Real Net, ECCV 2018 (arXiv 1808.00278).
"""

from __future__ import annotations

from torch import Tensor, nn

from bnas_face.config import ModelConfig
from bnas_face.models.backbones._blocks import ShortcutConvolution, batch_norm, channels, initialise
from bnas_face.models.binarizers._base import Binarizer

SIZES_PX: tuple[int, ...] = (64, 112)
BLOCKS_PER_STAGE = 2
N_STAGES = 4


class PublishedBlock(nn.Module):
    """BN → conv → BN → PReLU → strided conv → BN → + shortcut.

    The shortcut is a 1×1 convolution with the stride of the block. The pixels are picked before it: the same sums, but
    torch 2.13 corrupts memory in the backward pass of a 1×1 convolution with stride 2 (few channels, channels last).
    """

    def __init__(self, binarizer: Binarizer, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = batch_norm(in_channels)
        self.conv1 = binarizer.convolution(in_channels, out_channels, 3)
        self.norm2 = batch_norm(out_channels)
        self.activation = nn.PReLU(out_channels)
        self.conv2 = binarizer.convolution(out_channels, out_channels, 3, stride=stride)
        self.norm3 = batch_norm(out_channels)
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut = nn.Sequential(projection, batch_norm(out_channels))

    def forward(self, values: Tensor) -> Tensor:
        """(batch_size, in_channels, h, w) → (batch_size, out_channels, h / stride, w / stride)."""
        inner = self.activation(self.norm2(self.conv1(self.norm1(values))))
        picked = values[:, :, :: self.stride, :: self.stride]
        result: Tensor = self.norm3(self.conv2(inner)) + self.shortcut(picked)
        return result


class IResNet(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self, config: ModelConfig, binarizer: Binarizer) -> None:
        super().__init__()
        n_channels = channels(64, config.width)
        self.stem = nn.Sequential(
            nn.Conv2d(3, n_channels, 3, padding=1, bias=False), batch_norm(n_channels), nn.PReLU(n_channels)
        )
        blocks: list[nn.Module] = []
        for stage in range(N_STAGES):
            out_channels = channels(64, config.width) * 2**stage
            for block in range(BLOCKS_PER_STAGE):
                blocks.append(_block(config, binarizer, n_channels, out_channels, stride=2 if block == 0 else 1))
                n_channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        side_px = config.size_px // 2**N_STAGES
        self.norm = batch_norm(n_channels)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(n_channels * side_px**2, config.embedding_dim)
        self.features = nn.BatchNorm1d(config.embedding_dim, eps=1e-5)
        initialise(self)
        self.features.weight.requires_grad = False  # as in ArcFace: the head normalises, a gain would be idle

    def forward(self, images: Tensor) -> Tensor:
        """(batch_size, 3, size_px, size_px) in [-1, 1] → (batch_size, embedding_dim)."""
        values = self.norm(self.blocks(self.stem(images)))
        result: Tensor = self.features(self.embedding(self.dropout(values.flatten(1))))
        return result


def _block(config: ModelConfig, binarizer: Binarizer, n_in: int, n_out: int, *, stride: int) -> nn.Module:
    if config.shortcuts == "block":
        return PublishedBlock(binarizer, n_in, n_out, stride)
    return nn.Sequential(
        ShortcutConvolution(binarizer, n_in, n_out, 3),
        ShortcutConvolution(binarizer, n_out, n_out, 3, stride=stride),
    )


def build(config: ModelConfig, binarizer: Binarizer) -> nn.Module:
    """IResNet-18 of `config`; `width` 1 has 64 … 512 channels."""
    return IResNet(config, binarizer)
