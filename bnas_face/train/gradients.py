"""Between gradients and the optimizer: weights of which only some rows have a gradient, or each process some rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor, nn

LEAST_NORM = 1e-6


@contextmanager
def rows_only(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within this context a step of any optimizer changes the rows that have a gradient, and nothing of the others.

    A parameter with a sparse gradient (`bnas_face.models.partial`) gives way to a parameter of these rows, with their
    share of the optimizer's state; both are written back at the end. So neither momentum nor weight decay moves an
    identity that did not take part. A state that does not exist yet begins with zeros, as SGD's and Adam's do.
    """
    taken = []
    for group in optimizer.param_groups:
        for position, parameter in enumerate(group["params"]):
            if parameter.grad is not None and parameter.grad.is_sparse:
                taken.append(_Rows(optimizer, group["params"], position))
    try:
        yield
    finally:
        for rows in taken:
            rows.write_back()


class _Rows:
    """One parameter's rows in its place among `parameters`."""

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], position: int) -> None:
        self.optimizer, self.parameters, self.position = optimizer, parameters, position
        self.whole = parameters[position]
        gradient = self.whole.grad.coalesce()  # type: ignore[union-attr]
        self.at = gradient.indices()[0]
        self.part = nn.Parameter(self.whole.detach()[self.at])
        self.part.grad = gradient.values()
        state = optimizer.state.get(self.whole, {})
        if state:
            optimizer.state[self.part] = {name: self._rows_of(value) for name, value in state.items()}
        parameters[position] = self.part

    def _rows_of(self, value: Any) -> Any:
        return value[self.at] if self._is_by_row(value, self.whole) else value

    @staticmethod
    def _is_by_row(value: Any, parameter: Tensor) -> bool:
        return isinstance(value, Tensor) and value.shape == parameter.shape

    @torch.no_grad()
    def write_back(self) -> None:
        self.parameters[self.position] = self.whole
        self.whole.index_copy_(0, self.at, self.part)
        before = self.optimizer.state.get(self.whole, {})
        state = self.optimizer.state.pop(self.part, {})
        for name, value in state.items():
            if self._is_by_row(value, self.part):
                rows = value
                value = before[name] if name in before else torch.zeros_like(self.whole)
                value.index_copy_(0, self.at, rows)
            self.optimizer.state[self.whole][name] = value


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], max_norm: float, sharded: Iterable[nn.Parameter] = ()) -> Tensor:
    """Shorten the gradient of all parameters together to the Euclidean length `max_norm`, sparse gradients included.

    Parameters
    ----------
    parameters : iterable of Parameter
        All, the `sharded` among them.
    max_norm : float
        0 leaves the gradient as it is, and so does a length that is not finite.
    sharded : iterable of Parameter
        Of which every process has its own rows: their part of the length is summed over the processes. Collective if
        there are any.

    Returns
    -------
    Tensor of shape ()
        The length before.
    """
    apart = {id(parameter) for parameter in sharded}
    replicated, own = list[Tensor](), list[Tensor]()
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
        (own if id(parameter) in apart else replicated).append(values(parameter.grad))
    square = torch.nn.utils.get_total_norm(replicated).square()
    if apart:
        of_own = torch.nn.utils.get_total_norm(own).square().to(square.device)
        distributed.all_reduce(of_own)
        square = square + of_own
    norm = square.sqrt()
    if max_norm:
        factor = torch.where(norm.isfinite(), (max_norm / (norm + LEAST_NORM)).clamp(max=1.0), 1.0)
        for gradient in replicated + own:
            gradient.mul_(factor.to(gradient.device))
    return norm


def values(gradient: Tensor) -> Tensor:
    """The elements of a gradient; of a sparse one those that it has (its own memory where it is coalesced)."""
    return gradient.coalesce().values() if gradient.is_sparse else gradient
