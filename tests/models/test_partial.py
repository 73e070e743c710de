"""Partial FC: what is drawn, what it costs, and that parts of a head in several processes are the whole head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import two_processes

from bnas_face import models, tables
from bnas_face.errors import ConfigError, TrainingError
from bnas_face.models import partial

HEADS = [name for name in tables.names(models.HEADS) if name != "cross_entropy"]
N, DIM, IDENTITIES = 6, 5, 40


def _batch():
    generator = torch.Generator().manual_seed(3)
    embeddings = 12 * torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    return embeddings, torch.tensor([3, 39, 3, 0, 17, 17])


def _build(name, **settings):
    head = partial.build(name, embedding_dim=DIM, n_identities=IDENTITIES, seed=1, **settings).double()
    with torch.no_grad():
        head.head.weight.mul_(100)
    return head


def _plain(head, name, **settings):
    """The head without parts, with the same weights."""
    found = models.build_head(name, embedding_dim=DIM, n_identities=IDENTITIES, **settings).double()
    found.load_state_dict(head.head.state_dict())
    return found


def _gradients(head, parameters):
    """Loss, and gradients of embeddings and of class weights, made dense."""
    embeddings, labels = _batch()
    embeddings.requires_grad_()
    torch.manual_seed(11)
    loss = head(embeddings, labels)
    loss.backward()
    return [loss.detach(), embeddings.grad, *(p.grad.to_dense() if p.grad.is_sparse else p.grad for p in parameters)]


@pytest.mark.parametrize("name", HEADS)
def test_with_every_identity_it_is_the_plain_head(name):
    head = _build(name)
    plain = _plain(head, name)
    for a, b in zip(_gradients(head, head.head.parameters()), _gradients(plain, plain.parameters()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", [*HEADS, "arcface with 3 sub-centers"])
def test_sampled_it_is_the_plain_head_of_the_drawn_identities(name):
    name, _, centers = name.partition(" with ")
    more = {"sub_centers": 3} if centers else {}
    each = more.get("sub_centers", 1)
    head = _build(name, sample_rate=0.3, **more)
    if hasattr(head.head, "spread"):
        head.head.spread = 0.0
    rows = torch.tensor([0, 3, 5, 6, 17, 20, 39])
    head.draw = lambda present: rows
    plain = models.build_head(name, embedding_dim=DIM, n_identities=len(rows), **more).double()
    if hasattr(plain, "spread"):
        plain.spread = 0.0
    of_rows = (rows[:, None] * each + torch.arange(each)).flatten()
    for parameter, whole in zip(plain.parameters(), head.head.parameters(), strict=True):
        parameter.data.copy_(whole.data[of_rows])
    embeddings, labels = _batch()
    loss = head(embeddings, labels)
    loss.backward()
    expected = plain(embeddings, torch.searchsorted(rows, labels))
    expected.backward()
    assert torch.equal(loss, expected)
    for parameter, whole in zip(plain.parameters(), head.head.parameters(), strict=True):
        assert whole.grad.is_sparse and torch.equal(whole.grad.coalesce().indices()[0], of_rows)
        torch.testing.assert_close(whole.grad.coalesce().values(), parameter.grad)


def test_present_identities_are_always_drawn_and_others_fill_the_rate():
    head = _build("cosface", sample_rate=0.25)
    present = torch.tensor([3, 39, 3, 0])
    counts = torch.zeros(IDENTITIES)
    for seed in range(300):
        torch.manual_seed(seed)
        rows = head.draw(present)
        assert len(rows) == 10 and torch.equal(rows, rows.unique()) and {0, 3, 39} <= set(rows.tolist())
        counts[rows] += 1
    others = counts[[i for i in range(IDENTITIES) if i not in (0, 3, 39)]] / 300
    assert others.min() > 0.09 and others.max() < 0.31, "each of the 37 others with probability 7/37 = 0.19"


def test_more_present_identities_than_the_rate_allows_are_all_drawn():
    head = _build("cosface", sample_rate=0.05)
    assert torch.equal(head.draw(torch.tensor([9, 1, 5, 7, 9])), torch.tensor([1, 5, 7, 9]))
    assert len(head.draw(torch.tensor([], dtype=torch.int64))) == 2


def test_the_same_seed_draws_the_same_identities():
    head, drawn = _build("cosface", sample_rate=0.25), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(head.draw(torch.tensor([1])).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_in_evaluation_mode_every_identity_takes_part():
    head = _build("cosface", sample_rate=0.25).eval()
    embeddings, labels = _batch()
    assert torch.equal(head(embeddings, labels), _plain(head, "cosface")(embeddings, labels))


def test_gradients_of_several_batches_add_up_though_each_draws_others():
    head = _build("cosface", sample_rate=0.25)
    embeddings, labels = _batch()
    drawn = [torch.tensor([0, 3, 5, 17, 39]), torch.tensor([0, 3, 6, 17, 39])]
    dense = torch.zeros(IDENTITIES, DIM, dtype=torch.float64)
    for rows in drawn:
        head.draw = lambda present, rows=rows: rows
        head(embeddings, labels).backward()
        weight = head.head.weight.detach()[rows].requires_grad_()
        logits = 64 * (F.normalize(embeddings) @ F.normalize(weight).T)
        columns = torch.searchsorted(rows, labels)
        logits = logits - 64 * 0.35 * F.one_hot(columns, len(rows))
        F.cross_entropy(logits, columns).backward()
        dense[rows] += weight.grad
    found = head.head.weight.grad.coalesce()
    assert found.indices()[0].tolist() == [0, 3, 5, 6, 17, 39]
    torch.testing.assert_close(found.to_dense(), dense)


def test_the_random_state_is_left_as_it_is():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    _build("cosface")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("world_size", [2, 3, 5])
@pytest.mark.parametrize("sub_centers", [1, 3])
def test_first_weights_do_not_depend_on_the_number_of_processes(world_size, sub_centers, monkeypatch):
    monkeypatch.setattr(partial, "BLOCK", 16)
    settings = {"embedding_dim": DIM, "n_identities": IDENTITIES, "sub_centers": sub_centers, "seed": 1}
    whole = partial.build("arcface", **settings).head.weight
    parts = [partial.build("arcface", **settings, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert torch.equal(torch.cat([part.head.weight for part in parts]), whole)
    assert {part.shard.n_here for part in parts} <= {IDENTITIES // world_size, -(-IDENTITIES // world_size)}
    assert all(torch.equal(whole[part.shard.rows(len(whole))], part.head.weight) for part in parts)
    assert 0.008 < whole.std() < 0.012


@pytest.mark.parametrize("settings", [{"sample_rate": 0.1}, {"world_size": 2}])
def test_a_head_without_class_weights_is_refused(settings):
    with pytest.raises(ConfigError, match=r"'cross_entropy' has no weights of identities.*Leave --sample-rate"):
        partial.build("cross_entropy", embedding_dim=DIM, n_identities=DIM, **settings)


def test_fewer_identities_than_processes_are_refused():
    with pytest.raises(ConfigError, match="2 identities cannot be shared by 3 processes"):
        partial.build("cosface", embedding_dim=DIM, n_identities=2, world_size=3)


def test_labels_are_checked_against_all_identities():
    embeddings, labels = _batch()
    with pytest.raises(TrainingError, match="do not fit a head of 40 identities"):
        _build("cosface", sample_rate=0.1)(embeddings, labels + 1)


def test_two_processes_compute_what_one_does():
    done = two_processes.run(2, Path(__file__).parent / "sharded_steps.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [f"compared {' '.join(HEADS)}"] * 2
    assert "Warning" not in done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", HEADS)
def test_a_sampled_step_on_a_gpu_is_that_of_the_cpu(name):
    rows = torch.tensor([0, 3, 5, 6, 17, 20, 39])
    found = []
    for device in ("cpu", "cuda"):
        head = _build(name, sample_rate=0.3).to(device)
        if hasattr(head.head, "spread"):
            head.head.spread = 0.0
        head.draw = lambda present, device=device: rows.to(device)
        embeddings, labels = (value.to(device) for value in _batch())
        embeddings.requires_grad_()
        loss = head(embeddings, labels)
        loss.backward()
        found.append([loss, embeddings.grad, *(p.grad.to_dense() for p in head.head.parameters())])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda.cpu(), cpu)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_identities_are_drawn_on_a_gpu_too():
    rows = _build("cosface", sample_rate=0.25).to("cuda").draw(torch.tensor([3, 39, 3], device="cuda"))
    assert rows.is_cuda and len(rows.unique()) == 10 and {3, 39} <= set(rows.tolist())
