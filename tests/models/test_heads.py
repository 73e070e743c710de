"""Heads: the loss rebuilt from each paper's formula, and the contract over every file."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from bnas_face import models, tables
from bnas_face.errors import ConfigError, UnknownNameError

HEADS = [name for name in tables.names(models.HEADS) if name != "cross_entropy"]  # which has no weights
TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-9}


def _case(dtype=torch.float64, n=6, dim=5, identities=4):
    """Embeddings and labels; a head built after this has the same weights every time."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(n, dim, generator=generator, dtype=dtype)
    labels = torch.randint(identities, (n,), generator=generator)
    return embeddings, labels


def _cosine(a, b):
    return (sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))) if any(a) else 0.0


def _by_hand(head, embeddings, labels, own_logit, logit):
    """Mean of −log softmax, written out; weights and embeddings as Python floats."""
    losses = []
    for embedding, label in zip(embeddings.tolist(), labels.tolist(), strict=True):
        logits = [
            own_logit(embedding, w) if j == label else logit(embedding, w) for j, w in enumerate(head.weight.tolist())
        ]
        top = max(logits)
        losses.append(math.log(sum(math.exp(v - top) for v in logits)) + top - logits[label])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.35), (30.0, 0.2), (1.0, 0.0)])
def test_cosface_is_equation_4(dtype, scale, margin):
    embeddings, labels = _case(dtype)
    head = models.build_head("cosface", embedding_dim=5, n_identities=4, scale=scale, margin=margin).to(dtype)
    expected = _by_hand(
        head, embeddings, labels, lambda x, w: scale * (_cosine(x, w) - margin), lambda x, w: scale * _cosine(x, w)
    )
    assert head(embeddings, labels).item() == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("scale", "margin_rad"), [(64.0, 0.5), (30.0, 0.2), (1.0, 0.0)])
def test_arcface_is_equation_3(dtype, scale, margin_rad):
    embeddings, labels = _case(dtype)
    head = models.build_head("arcface", embedding_dim=5, n_identities=4, scale=scale, margin=margin_rad).to(dtype)
    angles = [math.acos(_cosine(x, head.weight.tolist()[k])) for x, k in zip(embeddings.tolist(), labels, strict=True)]
    assert max(angles) < math.pi - margin_rad, "this case must not need the guard"
    expected = _by_hand(
        head,
        embeddings,
        labels,
        lambda x, w: scale * math.cos(math.acos(_cosine(x, w)) + margin_rad),
        lambda x, w: scale * _cosine(x, w),
    )
    assert head(embeddings, labels).item() == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


def test_softmax_is_a_linear_classifier():
    embeddings, labels = _case()
    head = models.build_head("softmax", embedding_dim=5, n_identities=4).double()
    torch.nn.init.normal_(head.bias)
    expected = F.cross_entropy(embeddings @ head.weight.T + head.bias, labels)
    torch.testing.assert_close(head(embeddings, labels), expected)


def test_arcface_falls_with_the_angle_beyond_pi_minus_the_margin():
    head = models.build_head("arcface", embedding_dim=2, n_identities=2)
    angle = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    values = head.with_margin(angle.cos())
    assert (values.diff() < 1e-6).all()
    assert values.diff().abs().max() < 0.003, "the guard meets the curve without a jump"


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_where_the_cosine_is_one_or_minus_one(name, direction, dtype):
    head = models.build_head(name, embedding_dim=8, n_identities=3)
    torch.nn.init.normal_(head.weight)
    embeddings = (direction * head.weight.detach()).to(dtype).requires_grad_()
    loss = head(embeddings, torch.arange(3))
    loss.backward()
    assert torch.isfinite(loss) and loss.dtype == torch.float32
    assert torch.isfinite(embeddings.grad).all() and torch.isfinite(head.weight.grad).all()


@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_for_an_embedding_of_length_zero(name):
    head = models.build_head(name, embedding_dim=4, n_identities=3)
    embeddings = torch.zeros(2, 4, requires_grad=True)
    head(embeddings, torch.tensor([0, 2])).backward()
    assert torch.isfinite(embeddings.grad).all()


@pytest.mark.parametrize("name", HEADS)
def test_loss_falls_when_embeddings_turn_to_their_identity(name):
    head = models.build_head(name, embedding_dim=8, n_identities=4)
    torch.nn.init.orthogonal_(head.weight)
    labels = torch.arange(4)
    right, wrong = 5 * head.weight.detach(), 5 * head.weight.detach().roll(1, 0)
    assert head(right, labels) < head(wrong, labels)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "softmax"])
def test_margin_heads_ignore_the_length_of_an_embedding(name):
    embeddings, labels = _case()
    head = models.build_head(name, embedding_dim=5, n_identities=4).double()
    torch.testing.assert_close(head(embeddings, labels), head(17 * embeddings, labels))


def test_softmax_refuses_a_margin():
    with pytest.raises(ConfigError, match=r"has no margin, but margin 0\.5 is given"):
        models.build_head("softmax", embedding_dim=5, n_identities=4, margin=0.5)


def test_cross_entropy_takes_outputs_as_logits_and_learns_nothing():
    embeddings, labels = _case(dim=4)
    head = models.build_head("cross_entropy", embedding_dim=4, n_identities=4)
    assert list(head.parameters()) == []
    torch.testing.assert_close(head(embeddings, labels), F.cross_entropy(embeddings, labels))
    half = head(embeddings.bfloat16(), labels)
    assert half.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0.5}, r"Head 'cross_entropy' has no margin, but margin 0\.5 is given"),
        ({"scale": 64.0}, "Head 'cross_entropy' has no scale, but scale 64 is given"),
        ({"n_identities": 10}, "takes the network's 5 outputs as the logits of 10 classes"),
    ],
)
def test_cross_entropy_refuses_what_it_cannot_use(settings, message):
    with pytest.raises(ConfigError, match=message):
        models.build_head("cross_entropy", **({"embedding_dim": 5, "n_identities": 5} | settings))


def test_a_mistyped_head_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'arcface'"):
        models.build_head("arcfce", embedding_dim=5, n_identities=4)
