"""The weights a training starts from: those of another run, for example of the full-precision twin.

Every tensor of the network is taken by its name and must have its shape. Only what the full-precision twin of the
network lacks, that is what the binarizer adds (RSign's shifts, PCNN's projections), may be absent and then starts
fresh; and only what another binarizer added may be left over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnas_face import files, models
from bnas_face.config import ModelConfig
from bnas_face.errors import CheckpointError, ConfigError
from bnas_face.models import saved


@dataclass(frozen=True, kw_only=True)
class Start:
    """Weights to start from.

    Attributes
    ----------
    source : str
        Folder of the run, as it was given.
    weights_sha256 : str
    tensors : mapping of str to Tensor
        All that is taken.
    fresh : tuple of str
        Tensors of the network that the source lacks.
    unused : tuple of str
        Tensors of the source that the network lacks.
    """

    source: str
    weights_sha256: str
    tensors: Mapping[str, Tensor]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]

    def apply(self, network: nn.Module) -> None:
        """Copy the weights into `network`."""
        with torch.no_grad():
            network.load_state_dict(dict(self.tensors), strict=False)

    @property
    def info(self) -> dict[str, Any]:
        """JSON values for ``config.json``."""
        return {
            "source": self.source,
            "weights_sha256": self.weights_sha256,
            "n_taken": len(self.tensors),
            "fresh": list(self.fresh),
            "unused": list(self.unused),
        }

    def __str__(self) -> str:
        text = f"Starts from {len(self.tensors)} tensors of {self.source}."
        if self.fresh:
            text += f" Not in there, they start fresh: {_few(self.fresh)}."
        if self.unused:
            text += f" Not used of it: {_few(self.unused)}."
        return text


def read(source: str, config: ModelConfig, run_dir: Path) -> Start:
    """The weights of run `source` for the network of `config`.

    Raises
    ------
    ConfigError
        If the run is the one that is to be trained.
    CheckpointError
        If the run is not finished or damaged, or its network is another one: names the first tensor that does not fit.
    """
    folder = Path(source)
    if folder.resolve() == run_dir.resolve():
        raise ConfigError(f"Run '{source}' cannot start from itself. Choose another --name, or go on with --resume.")
    network, before, _ = saved.load(folder)
    theirs = network.state_dict()
    ours = models.build(config).state_dict()
    fresh, unused = sorted(ours.keys() - theirs.keys()), sorted(theirs.keys() - ours.keys())
    _check_names("lacks", fresh, config, source)
    _check_names("has a surplus", unused, before, source)
    for name in (name for name in ours if name in theirs):
        if ours[name].shape != theirs[name].shape:
            raise CheckpointError(
                f"--init '{source}' holds '{name}' of shape {tuple(theirs[name].shape)}; this network has "
                f"{tuple(ours[name].shape)}. Give both the same --width, --size-px, --embedding-dim, --genotype …"
            )
    return Start(
        source=source,
        weights_sha256=files.sha256_file(folder / saved.WEIGHTS),
        tensors={name: theirs[name] for name in theirs if name in ours},
        fresh=tuple(fresh),
        unused=tuple(unused),
    )


def provenance(begun: Start | None, run_dir: Path) -> dict[str, Any]:
    """``{"init": …}`` for ``config.json``: of `begun`, else as the folder's run, which is resumed, has it; or empty."""
    if begun is not None:
        return {"init": begun.info}
    before = saved.load_config(run_dir).get("training_data") or {} if (run_dir / saved.CONFIG).exists() else {}
    return {"init": before["init"]} if "init" in before else {}


def _check_names(kind: str, names: Collection[str], config: ModelConfig, source: str) -> None:
    """Only what the binarizer of `config` adds may be without a partner."""
    if not names:
        return
    twin = models.build(replace(config, binarizer="none", activation_bits=32, input_scale=False)).state_dict()
    odd = [name for name in names if name in twin]
    if odd:
        raise CheckpointError(
            f"--init '{source}' {kind} tensor '{odd[0]}' ({len(odd)} such): it is another network. Give both the same "
            "--backbone, --shortcuts, --genotype …"
        )


def _few(names: Collection[str], most: int = 3) -> str:
    shown = ", ".join(list(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
