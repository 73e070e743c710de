"""The training state: one safetensors file, written beside and renamed: a kill at any moment leaves a whole one.

``state/last.safetensors`` holds network, head, optimizer and moving average as flat tensors; its text metadata holds
the counters and the scale of fp16's gradients. Nothing in it is a pickle. No random state is needed: order,
augmentation and dropout follow from seed and step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bnas_face.errors import CheckpointError
from bnas_face.models import saved
from bnas_face.models.partial import Shard

STATE = Path("state", "last.safetensors")
SCHEMA = "bnas_face.state/1"
BY_ROW = ("momentum_buffer", "exp_avg", "exp_avg_sq")
"""What SGD and Adam remember of every row of a weight."""
_MODULE, _OPTIMIZER, _AVERAGE = "module.", "optimizer.", "average."


@dataclass
class Counters:
    """How far a training is.

    Attributes
    ----------
    step : int
        Optimizer steps done since the beginning.
    loss_sum, loss_count : float, int
        Of the steps since the last row of log.csv.
    seconds : float
        Time spent training, over all resumptions.
    skipped, skipped_in_a_row : int
        Steps passed over because their gradient was not finite: since the beginning, and last of all.
    session : int
        1 until the first interruption, one more after every resumption.
    left_out : int
        Images that could not be read, by all processes, since the last row of log.csv.
    """

    step: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    session: int = 1
    left_out: int = 0


def save(
    run_dir: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    counters: Counters,
    average: nn.Module | None = None,
    precision: Mapping[str, Any] | None = None,
    shards: Mapping[str, Shard] | None = None,
) -> None:
    """Write the training state, replacing the earlier one at once.

    Parameters
    ----------
    run_dir : Path
    module : nn.Module
    optimizer : Optimizer
    counters : Counters
    average : nn.Module or None
    precision : mapping
        fp16's scale, as JSON values.
    shards : mapping of str to Shard
        Parameters of `module` of which this process has its own rows. They are written whole, so that any number of
        processes may go on from the file: every process calls this then, and the first writes.
    """
    tensors = {_MODULE + name: value for name, value in module.state_dict().items()} | _flatten(optimizer)
    apart = _by_key(module, optimizer, shards or {})
    for key, shard in apart.items():
        if key in tensors and tensors[key].dim():
            tensors[key] = shard.whole(tensors[key])
    if any(shard.rank for shard in apart.values()):
        return
    tensors = {name: _plain(value) for name, value in tensors.items()}
    if average is not None:
        tensors.update({_AVERAGE + name: _plain(value) for name, value in average.state_dict().items()})
    metadata = {"schema": SCHEMA, "counters": json.dumps(asdict(counters)), "precision": json.dumps(precision or {})}
    saved.save_tensors(run_dir / STATE, tensors, metadata)


def exists(run_dir: Path) -> bool:
    """Whether a training state was saved."""
    return (run_dir / STATE).exists()


def restore(
    run_dir: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
    shards: Mapping[str, Shard] | None = None,
) -> None:
    """Bring network, head, optimizer and moving average back to the last saved state; parameters as in `save`.

    Raises
    ------
    CheckpointError
        If the state is damaged or of another network; names the file.
    """
    path = run_dir / STATE
    tensors = saved.load_tensors(path, _by_key(module, optimizer, shards or {}))
    saved.load_into(module, _under(_MODULE, tensors), path)
    if average is not None:
        saved.load_into(average, _under(_AVERAGE, tensors), path)
    _unflatten(optimizer, {k: v for k, v in tensors.items() if k.startswith(_OPTIMIZER)}, path)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _by_key(module: nn.Module, optimizer: torch.optim.Optimizer, shards: Mapping[str, Shard]) -> dict[str, Shard]:
    """Which tensors of the file a process has rows of: parameters, and what the optimizer knows of them."""
    found = {_MODULE + name: shard for name, shard in shards.items()}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(order):
        if (name := names[id(parameter)]) in shards:
            found |= {f"{_OPTIMIZER}{index}.{entry}": shards[name] for entry in BY_ROW}
    return found


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous().clone()


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{_OPTIMIZER}{index}.{name}": value
        for index, entries in state.items()
        for name, value in entries.items()
        if isinstance(value, Tensor)
    }


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], path: Path) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.removeprefix(_OPTIMIZER).partition(".")
        if not index.isdigit():
            raise CheckpointError(f"'{path}' holds an optimizer tensor '{key}' that fits no parameter.")
        state.setdefault(int(index), {})[name] = value
    current = optimizer.state_dict()
    n_parameters = sum(len(group["params"]) for group in current["param_groups"])
    if state and sorted(state) != list(range(n_parameters)):
        raise CheckpointError(f"'{path}' has optimizer state of {len(state)} parameters; expected {n_parameters}.")
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})


def read_counters(run_dir: Path) -> Counters:
    """How far the saved state is; raises `CheckpointError` if it is damaged or of another version."""
    path = run_dir / STATE
    try:
        return Counters(**_read_values(path, "counters"))
    except TypeError as error:
        raise CheckpointError(f"'{path}' was written by another version: {error}. Train under a new --name.") from error


def read_precision(run_dir: Path) -> dict[str, Any]:
    """The scale of fp16's gradients in the saved state, and its like; empty where there is none."""
    return _read_values(run_dir / STATE, "precision")


def _read_values(path: Path, key: str) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("schema") != SCHEMA:
            raise CheckpointError(f"'{path}' has schema '{metadata.get('schema')}'; expected '{SCHEMA}'.")
        return dict(json.loads(metadata.get(key, "{}")))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"'{path}' is damaged: {reason}. Start again with bnasface train --overwrite, or restore the file."
        ) from error
