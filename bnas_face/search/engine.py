"""Trains and measures the search network, one unit after the other; knows nothing of why.

A unit is one epoch over the training images. A *mixed* epoch is PC-DARTS' first-order bilevel optimisation: on every
step one gradient step of α and β (Adam) on a validation batch and one of the weights on a training batch. A *path*
epoch trains the weights of one operation per edge; nothing else runs, gets a gradient, or changes.

Everything random follows from (seed, unit, step), so that weights, α, β and the optimizers' state (`Engine.tensors`)
are all there is to save. Several processes share every batch out (`shares`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bnas_face.config import SearchConfig
from bnas_face.data import loader
from bnas_face.errors import CheckpointError, TrainingError
from bnas_face.genotype import CELLS, EDGES, OPERATIONS
from bnas_face.models.pixels import normalised
from bnas_face.schedule import lr_at
from bnas_face.search import fitness, shares
from bnas_face.search.data import SearchData
from bnas_face.search.searchers._base import EpochLog, Path
from bnas_face.search.supernet import SearchNetwork

ALPHA_BETAS = (0.5, 0.999)
_NETWORK, _WEIGHTS, _ALPHAS, _REMAINING = "network.", "weights.", "architecture.", "remaining."
_VALIDATION_STREAM = 211
REFERENCE_PX = 112
"""`SearchConfig.shift_px` is meant for images of this size."""


class Share(NamedTuple):
    """What this process takes of a batch.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (n, size_px, size_px, 3)
    labels : ndarray of int64, shape (n,)
    weight : float
        n over the size of the batch.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    weight: float


class Engine:
    """The search network, its optimizers and its data.

    Parameters
    ----------
    config : SearchConfig
        Resolved (`presets.resolve`).
    data : SearchData
    schedule_units : int
        Units over which the learning rate falls to zero.
    """

    def __init__(self, config: SearchConfig, data: SearchData, schedule_units: int) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.data, self.schedule_units = config, data, schedule_units
        self.device = _device(config)
        shares.check_batches(len(data.training_labels) // self.steps_per_epoch)
        self._build(unit=0)
        self._validation = torch.from_numpy(data.validation_pixels).to(self.device)
        self._held_out = torch.from_numpy(data.held_out_pixels).to(self.device)

    def _build(self, unit: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.config.seed, unit)) % 2**63)
            network = SearchNetwork(self.config, self.data.n_outputs, self.data.task)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights_optimizer = _weights_optimizer(self.config, self.network)
        self.alphas_optimizer = _alphas_optimizer(self.config, self.network)

    @property
    def remaining(self) -> Mapping[str, Sequence[Sequence[str]]]:
        """Cell name → for each of its 14 edges the operations that are left, in the order of the space."""
        remaining: Mapping[str, Sequence[Sequence[str]]] = self.network.remaining
        return remaining

    def mixed_epoch(self, unit: int, train_alphas: bool) -> EpochLog:
        """Train the weights of all remaining operations for one epoch, and α and β too if `train_alphas`.

        Raises
        ------
        TrainingError
            If the loss is no longer finite.
        """
        validation = self._validation_batches(unit) if train_alphas else None
        return self._epoch(unit, None, validation)

    def path_epoch(self, path: Path, unit: int) -> EpochLog:
        """Train the weights of one operation per edge for one epoch; no other operation runs or changes.

        Raises
        ------
        TrainingError
            If the loss is no longer finite.
        """
        return self._epoch(unit, path, None)

    def _epoch(self, unit: int, path: Path | None, validation: Iterator[Share] | None) -> EpochLog:
        self.network.train()
        started, losses = time.monotonic(), list[Tensor]()
        n_steps = self.steps_per_epoch
        n_all = n_steps * self.schedule_units
        for step, batch in enumerate(self._batches(unit)):
            lr = lr_at((unit % self.schedule_units) * n_steps + step, peak=self.config.lr or 0.0, n_steps=n_all)
            if validation is not None:
                self._alphas_step(next(validation))
            losses.append(self._weights_step(batch, path, lr))
        mean = torch.stack(losses).double().mean()
        shares.sum_up([mean])
        loss = float(mean)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} in epoch {unit + 1} of the search (learning rate {lr:.3g}). What was saved "
                "before it is kept. Search under a new name with a lower --lr."
            )
        return EpochLog(loss, len(self.data.training_labels) / (time.monotonic() - started))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch: all training images, in batches as equal as possible and none above the batch size."""
        return -(-len(self.data.training_labels) // (self.config.batch_size or 1))

    def _weights_step(self, batch: Share, path: Path | None, lr: float) -> Tensor:
        for group in self.weights_optimizer.param_groups:
            group["lr"] = lr
        pixels, labels, weight = self._to_device(batch)
        loss = weight * F.cross_entropy(self.network(pixels, path), labels)
        self.weights_optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        shares.sum_up([p.grad for p in self.network.parameters() if p.grad is not None])
        self.weights_optimizer.step()
        return loss.detach()

    def _alphas_step(self, batch: Share) -> None:
        pixels, labels, weight = self._to_device(batch)
        with _frozen(self.network.weights().values()):
            loss = weight * F.cross_entropy(self.network(pixels, fixed=False), labels)
        learned = list(self.network.architecture().values())
        for parameter, gradient in zip(learned, torch.autograd.grad(loss, learned, allow_unused=True), strict=True):
            parameter.grad = gradient
        shares.sum_up([p.grad for p in learned if p.grad is not None])
        self.alphas_optimizer.step()
        self.alphas_optimizer.zero_grad(set_to_none=True)

    def _to_device(self, batch: Share) -> tuple[Tensor, Tensor, float]:
        pixels = torch.from_numpy(batch.pixels).to(self.device, non_blocking=True)
        labels = torch.from_numpy(batch.labels).to(self.device, non_blocking=True)
        return normalised(pixels), labels, batch.weight

    def _batches(self, unit: int) -> Iterator[Share]:
        """The training images in random order, augmented."""
        pixels, labels = self.data.training_pixels, self.data.training_labels
        shift_px = round(self.config.shift_px * self.config.size_px / REFERENCE_PX)
        order = loader.epoch_order(len(pixels), seed=self.config.seed, epoch=unit)
        drawn = loader.Augmentation.draw(len(pixels), shift_px=shift_px, seed=self.config.seed, epoch=unit)

        def make(whole: NDArray[np.int64]) -> Share:
            indices, share = shares.own(whole)
            return Share(drawn.take(indices).apply(pixels[indices]), labels[indices], share)

        return loader.ahead(make, np.array_split(order, self.steps_per_epoch))

    def _validation_batches(self, unit: int) -> Iterator[Share]:
        """As many batches of validation images as an epoch has steps, not augmented; every image before any twice."""
        pixels, labels = self.data.validation_pixels, self.data.validation_labels
        size = min(len(labels), -(-len(self.data.training_labels) // self.steps_per_epoch))
        generator = np.random.default_rng((self.config.seed, unit, _VALIDATION_STREAM))
        n_rounds = -(-size * self.steps_per_epoch // len(labels))
        order = np.concatenate([generator.permutation(len(labels)) for _ in range(n_rounds)])
        for step in range(self.steps_per_epoch):
            indices, share = shares.own(order[step * size : (step + 1) * size])
            yield Share(pixels[indices], labels[indices], share)

    def fitness(self, path: Path | None) -> float:
        """Accuracy of a path (None: of the mixture of all remaining operations) on the held-out part, in [0, 1]."""
        self.network.train()
        data = self.data
        if data.pairs is None:
            return fitness.classification(
                lambda images: self.network(images, path), self._validation, data.validation_labels
            )
        return fitness.verification(lambda images: self.network.features(images, path), self._held_out, data.pairs)

    def abandon(self, cell: str, edge: int, operation: str) -> None:
        """Delete an operation from edge number `edge` of `genotype.EDGES`: modules, α, and optimizer state."""
        gone = set(self.network.operation_parameters(cell, edge, operation))
        old = self._alphas_of(cell)[edge]
        position = self.network.abandon(cell, edge, operation)
        _forget(self.weights_optimizer, gone)
        _replace(self.alphas_optimizer, old, self._alphas_of(cell)[edge], position)

    def alphas(self) -> dict[str, NDArray[np.float64]]:
        """Cell name → α of shape (14, 8), not normalised, in the order of the space; NaN where abandoned."""
        names = OPERATIONS[self.config.space]
        found = {kind: np.full((len(EDGES), len(names)), np.nan) for kind in CELLS}
        for kind in CELLS:
            for edge, (kept, values) in enumerate(
                zip(self.network.remaining[kind], self._alphas_of(kind), strict=True)
            ):
                found[kind][edge, [names.index(name) for name in kept]] = values.detach().cpu().double().numpy()
        return found

    def _alphas_of(self, kind: str) -> nn.ParameterList:
        return cast(nn.ParameterList, self.network.alphas[kind])

    def betas(self) -> dict[str, NDArray[np.float64]]:
        """Cell name → β of shape (14,), not normalised; all equal without edge normalisation."""
        if not self.config.edge_normalisation:
            return {kind: np.zeros(len(EDGES)) for kind in CELLS}
        return {kind: self.network.betas[kind].detach().cpu().double().numpy() for kind in CELLS}

    def reset(self, unit: int) -> None:
        """Begin again with fresh weights (from the seed and `unit`) and a fresh optimizer; α and β stay."""
        own = (f"{_NETWORK}alphas.", f"{_NETWORK}betas.", _ALPHAS, _REMAINING)
        kept = {name: value for name, value in self.tensors().items() if name.startswith(own)}
        self._build(unit)
        self._abandon_all_but(kept)
        self.load_tensors(self.tensors() | kept)

    def tensors(self) -> dict[str, Tensor]:
        """All there is to save, on the CPU: weights, α, β, optimizer states, and which operations remain."""
        found = {_NETWORK + name: value for name, value in self.network.state_dict().items()}
        found |= _optimizer_tensors(_WEIGHTS, self.weights_optimizer, self.network.weights())
        found |= _optimizer_tensors(_ALPHAS, self.alphas_optimizer, self.network.architecture())
        for kind in CELLS:
            mask = [[name in kept for name in OPERATIONS[self.config.space]] for kept in self.network.remaining[kind]]
            found[_REMAINING + kind] = torch.tensor(mask, dtype=torch.uint8)
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to what `tensors` gave.

        Raises
        ------
        CheckpointError
            If they belong to another search network.
        """
        try:
            self._build(unit=0)
            self._abandon_all_but(tensors)
            own = {name.removeprefix(_NETWORK): t for name, t in tensors.items() if name.startswith(_NETWORK)}
            self.network.load_state_dict(own)
            _load_optimizer(_WEIGHTS, self.weights_optimizer, self.network.weights(), tensors)
            _load_optimizer(_ALPHAS, self.alphas_optimizer, self.network.architecture(), tensors)
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(f"The saved state belongs to another search network: {reason[:300]}") from error

    def _abandon_all_but(self, tensors: Mapping[str, Tensor]) -> None:
        names = OPERATIONS[self.config.space]
        for kind in CELLS:
            for edge, mask in enumerate(tensors[_REMAINING + kind].tolist()):
                for name, remains in zip(names, mask, strict=True):
                    if not remains and name in self.network.remaining[kind][edge]:
                        self.abandon(kind, edge, name)


@contextmanager
def _frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Without gradients: autograd functions in Python would compute them where nobody asks for them."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _device(config: SearchConfig) -> torch.device:
    return torch.device("cuda" if config.devices != "cpu" and torch.cuda.is_available() else "cpu")


def _weights_optimizer(config: SearchConfig, network: SearchNetwork) -> torch.optim.Optimizer:
    """Shifts, slopes and PCNN's projections in the cells do not decay, as in training: 0 is not neutral for them."""
    weights, decay = network.weights(), config.weight_decay or 0.0
    spared = [name for name, value in weights.items() if name.startswith("cells.") and value.dim() == 1]
    parameters: list[dict[str, Any]] = [{"params": [value for name, value in weights.items() if name not in spared]}]
    if spared:
        parameters.append({"params": [weights[name] for name in spared], "weight_decay": 0.0})
    if config.optimizer == "adam":
        return torch.optim.AdamW(parameters, lr=config.lr or 0.0, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=config.lr or 0.0, momentum=config.momentum, weight_decay=decay)


def _alphas_optimizer(config: SearchConfig, network: SearchNetwork) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        list(network.architecture().values()),
        lr=config.alpha_lr,
        betas=ALPHA_BETAS,
        weight_decay=config.alpha_weight_decay,
    )


def _forget(optimizer: torch.optim.Optimizer, gone: set[nn.Parameter]) -> None:
    for group in optimizer.param_groups:
        group["params"] = [p for p in group["params"] if p not in gone]
    for parameter in gone:
        optimizer.state.pop(parameter, None)


def _replace(optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter, position: int) -> None:
    """Put `new`, which lacks the element `position` of `old`, in its place, with what the optimizer knew of it."""
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        keep = [i for i in range(len(old)) if i != position]
        optimizer.state[new] = {name: v[keep] if v.shape == old.shape else v for name, v in state.items()}


def _optimizer_tensors(
    prefix: str, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    return {
        f"{prefix}{entry}.{name}": value
        for name, parameter in parameters.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(
    prefix: str,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    optimizer.state.clear()
    for key, value in tensors.items():
        if key.startswith(prefix):
            entry, _, name = key.removeprefix(prefix).partition(".")
            state: dict[str, Any] = optimizer.state[parameters[name]]
            on_device = value if entry == "step" else value.to(parameters[name].device)
            state[entry] = on_device.clone(memory_format=torch.preserve_format)
