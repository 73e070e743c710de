"""Inception-ResNet v1 of facenet-pytorch: as a backbone to train, and with its published weights.

The network sees 160 px whatever `size_px` says (bilinear resize inside). Stem (up to ``conv2d_4b``), embedding layer
and batch norms are always float; the convolutions of the Inception blocks are the binarizer's,
without bias.

``shortcuts="block"`` is the published network. Its convolutions follow a ReLU, so their inputs are never negative and
the sign of them says nothing: 1-bit activations need ``shortcuts="convolution"``. Parameter-free shortcuts around each
convolution do not fit Inception's channel counts (96 → 256); here ``"convolution"`` puts a batch norm, whose bias is
the learned threshold of the sign, before each convolution of the blocks. The residual of every block is real-valued.

References
----------
Szegedy et al., Inception-v4, Inception-ResNet, AAAI 2017 (arXiv 1602.07261), section 3.2.
Code and weights: github.com/timesler/facenet-pytorch.
"""

from __future__ import annotations

import http.client
import os
import pickle
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnas_face import files, tables
from bnas_face.config import ModelConfig
from bnas_face.errors import CheckpointError, ConfigError
from bnas_face.models.backbones._blocks import batch_norm
from bnas_face.models.backbones._preprocessing import Preprocessing
from bnas_face.models.binarizers import none
from bnas_face.models.binarizers._base import Binarizer
from bnas_face.torchvision_compat import ensure_torchvision

SIZES_PX: tuple[int, ...] = (64, 112, 160)
NATIVE_PX = 160
N_COLOURS = 3
CHANNELS_DIVISOR = 16
"""Divides every channel count of the published network."""
BLOCKS = ("repeat_1", "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8")
PREPROCESSING = Preprocessing(  # (x − 127.5) / 128
    mean=(0.5, 0.5, 0.5), std=(128 / 255,) * 3, size_px=NATIVE_PX, source="facenet-pytorch"
)
RELEASE = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"
WEIGHTS = {"vggface2": "20180402-114759-vggface2.pt", "casia-webface": "20180408-102900-casia-webface.pt"}
TIMEOUT_S = 30


class InceptionResnetV1(nn.Module):
    """The whole network; see the module's docstring."""

    def __init__(self, config: ModelConfig, binarizer: Binarizer) -> None:
        super().__init__()
        self.net = _published(dropout=config.dropout)
        for name, part in self.net.named_children():
            made_by = binarizer if name in BLOCKS else none.FullPrecision()
            norm_before = name in BLOCKS and config.shortcuts == "convolution"
            _rebuild(part, made_by, config.width, norm_before=norm_before)
        in_features = round(self.net.last_linear.in_features * config.width)
        self.net.last_linear = nn.Linear(in_features, config.embedding_dim, bias=False)
        self.net.last_bn = nn.BatchNorm1d(config.embedding_dim, eps=0.001)
        self.net.classify, self.net.logits = True, nn.Identity()  # else it normalises, which is the head's part

    def forward(self, images: Tensor) -> Tensor:
        """(batch_size, 3, size_px, size_px) in [-1, 1] → (batch_size, embedding_dim)."""
        if images.shape[-1] != NATIVE_PX:
            images = F.interpolate(images, size=(NATIVE_PX, NATIVE_PX), mode="bilinear", align_corners=False)
        result: Tensor = self.net(images)
        return result


def build(config: ModelConfig, binarizer: Binarizer) -> nn.Module:
    """Inception-ResNet v1 of `config`, with fresh weights; `width` 1 is the published 22.8 M parameters.

    Raises
    ------
    ConfigError
        If `config` asks for a width that is not a multiple of 1/16, for 1-bit activations with ``shortcuts="block"``,
        or for the input scale.
    """
    if (config.width * CHANNELS_DIVISOR) % 1:
        raise ConfigError(
            f"Backbone 'inception_resnet_v1' joins branches: its width must be a multiple of 1/16, not {config.width}."
        )
    if config.activation_bits == 1 and config.shortcuts == "block":
        raise ConfigError(
            "Backbone 'inception_resnet_v1' with shortcuts 'block' feeds its convolutions from a ReLU, so the signs of "
            "1-bit activations would all be +1. Use shortcuts 'convolution'."
        )
    if config.input_scale:
        raise ConfigError(
            "Backbone 'inception_resnet_v1' has 1×7 and 7×1 convolutions, for which the input scale is not defined. "
            "Drop --input-scale."
        )
    return InceptionResnetV1(config, binarizer)


def _published(dropout: float = 0.6) -> Any:
    """facenet-pytorch's module with fresh weights."""
    ensure_torchvision()
    from facenet_pytorch import InceptionResnetV1 as Published

    return Published(dropout_prob=dropout)


def _rebuild(module: nn.Module, binarizer: Binarizer, width: float, *, norm_before: bool) -> None:
    """Replace every convolution below `module` by the binarizer's of the same geometry, and scale all channels."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            made = _convolution(child, binarizer, width)
            setattr(module, name, nn.Sequential(batch_norm(made.in_channels), made) if norm_before else made)
        elif isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.BatchNorm2d(round(child.num_features * width), eps=child.eps))
        else:
            _rebuild(child, binarizer, width, norm_before=norm_before)


def _convolution(like: nn.Conv2d, binarizer: Binarizer, width: float) -> nn.Conv2d:
    """The binarizer makes square kernels with "same" padding; Inception also has 1×7 kernels and none."""
    in_channels = like.in_channels if like.in_channels == N_COLOURS else round(like.in_channels * width)
    out_channels = round(like.out_channels * width)
    made = binarizer.convolution(in_channels, out_channels, max(like.kernel_size), stride=like.stride[0])
    made.kernel_size, made.padding = like.kernel_size, like.padding
    made.weight = nn.Parameter(torch.empty(out_channels, in_channels, *like.kernel_size))
    made.reset_parameters()
    return made


def pretrained(name: str) -> tuple[nn.Module, Path]:
    """The network with its published weights (512-d, 160 px), and the file they lie in; downloaded on first use.

    Parameters
    ----------
    name : str
        ``"vggface2"`` or ``"casia-webface"``.

    Raises
    ------
    UnknownNameError
        For another name.
    CheckpointError
        If the weights are not here and cannot be downloaded, or are damaged; says where to put them.
    """
    tables.check_known("facenet network", name, WEIGHTS)
    path = weights_file(name)
    if not path.exists():
        _download(f"{RELEASE}/{WEIGHTS[name]}", path, name)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
        model = _published()
        model.load_state_dict({key: value for key, value in tensors.items() if not key.startswith("logits.")})
    except (RuntimeError, OSError, EOFError, AttributeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"Weights file '{path}' is damaged or of another network. Delete it; the next use downloads it again."
        ) from error
    module: nn.Module = model.eval()
    return module, path


def weights_file(name: str) -> Path:
    """Where facenet-pytorch keeps its weights: ``$TORCH_HOME/checkpoints``, by default under ``~/.cache/torch``."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()
    return home / "checkpoints" / WEIGHTS[name]


def _download(url: str, path: Path, name: str) -> None:
    with files.atomic_path(path) as part:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise CheckpointError(
                f"The weights of facenet:{name} (107 MB) are not on this machine and cannot be downloaded: {reason}. "
                f"Fetch {url} where there is a network and put it at '{path}'."
            ) from error
