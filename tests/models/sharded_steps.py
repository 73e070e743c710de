"""Run by torchrun: every head with its identities shared out against itself in one piece. Prints what was compared."""

from __future__ import annotations

import copy
import os
from unittest import mock

import torch
import torch.distributed as distributed

from bnas_face import models, tables
from bnas_face.models import partial

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
N, DIM, IDENTITIES = 3, 5, 7


def batch():
    """Images of all processes, lengths around 4 to 60; and which are this process's."""
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(N * WORLD, DIM, generator=generator, dtype=torch.float64) * 12
    labels = torch.randint(IDENTITIES, (N * WORLD,), generator=generator)
    return embeddings, labels, slice(RANK * N, (RANK + 1) * N)


def pair(name, **settings):
    """The same head in one piece, and this process's part of it."""
    settings = {"embedding_dim": DIM, "n_identities": IDENTITIES, "seed": 4} | settings
    whole = partial.build(name, **settings).double()
    part = partial.build(name, **settings, rank=RANK, world_size=WORLD).double()
    for head in (whole, part):
        if hasattr(head.head, "spread"):
            head.head.spread = 0.0  # margins that are drawn are drawn anew in every process
        with torch.no_grad():
            head.head.weight.mul_(100)
            for parameter, value in ((head.head.bias, 0.3),) if name == "softmax" else ():
                parameter.copy_(value * torch.arange(head.shard.first, head.shard.first + head.shard.n_here))
    return whole, part


def stepped(head, embeddings, labels):
    embeddings = embeddings.clone().requires_grad_()
    loss = head(embeddings, labels)
    loss.backward()
    gradients = {name: p.grad.to_dense() if p.grad.is_sparse else p.grad for name, p in head.head.named_parameters()}
    return loss.detach(), embeddings.grad, gradients


def compare(whole, part, whole_rows=None, own=None):
    """One step of both; `own` are this process's images, None an equal share."""
    embeddings, labels, equal = batch()
    own = equal if own is None else own
    if whole_rows is not None:
        whole.draw = lambda present: whole_rows
        whole.sample_rate = 0.5
    with mock.patch.object(distributed, "is_initialized", return_value=False):  # as in a training of one process
        loss, gradient, of_weights = stepped(whole, embeddings, labels)
    part_loss, part_gradient, part_of_weights = stepped(part, embeddings[own], labels[own])
    distributed.all_reduce(part_loss)
    torch.testing.assert_close(part_loss / WORLD, loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(part_gradient / WORLD, gradient[own], rtol=1e-9, atol=1e-12)
    for name, value in of_weights.items():
        rows = part.shard.rows(len(value))
        torch.testing.assert_close(part_of_weights[name], value[rows], rtol=1e-9, atol=1e-12)
    for name, value in whole.head.named_buffers():
        torch.testing.assert_close(dict(part.head.named_buffers())[name], value)


def drawn_by_all(part):
    """Let `part` always take every second of its identities and those of the step; those of all processes together."""
    _, labels, _ = batch()
    own = labels[(labels >= part.shard.first) & (labels < part.shard.first + part.shard.n_here)] - part.shard.first
    rows = torch.cat([own, torch.arange(0, part.shard.n_here, 2)]).unique()
    part.sample_rate, part.draw = 0.5, lambda present: rows
    everybody = [None] * WORLD
    distributed.all_gather_object(everybody, (rows + part.shard.first).tolist())
    return torch.tensor(sorted(row for rows in everybody for row in rows))


def main():
    distributed.init_process_group("gloo")
    compared = []
    for name in [name for name in tables.names(models.HEADS) if name != "cross_entropy"]:
        compare(*pair(name))
        whole, part = pair(name)
        compare(whole, part, drawn_by_all(part))
        compared.append(name)
    compare(*pair("curricularface"), own=slice(0, 1) if RANK == 0 else slice(1, N * WORLD))
    compare(*pair("arcface", sub_centers=3))
    whole, part = pair("arcface", sub_centers=3)
    compare(whole, part, drawn_by_all(part))
    gathered = part.shard.whole(part.head.weight)
    assert (gathered is None) if RANK else torch.equal(gathered, whole.head.weight)
    single, half = copy.deepcopy(whole).float(), copy.deepcopy(part).float()
    embeddings, labels, own = batch()
    loss = half(embeddings[own].float(), labels[own]).detach()
    torch.testing.assert_close(loss, single(embeddings.float(), labels).detach(), rtol=1e-6, atol=0)
    distributed.destroy_process_group()
    os.write(1, f"compared {' '.join(compared)}\n".encode())  # in one piece: both processes write to the same pipe


if __name__ == "__main__":
    main()
