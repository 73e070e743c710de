"""Each head against its paper's formula written out with numpy and Python floats, and against others' code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bnas_face import models
from bnas_face.models.heads import adaface, elasticface, magface
from bnas_face.models.heads._base import batch_moments

N, DIM, IDENTITIES = 8, 5, 4
TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-9}
BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def _case(dtype=torch.float64, seed=3):
    """Embeddings of lengths from 2 to 200 or a little more, and labels."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(N, DIM, generator=generator, dtype=torch.float64))
    lengths = 2 * torch.logspace(0, 2, N, dtype=torch.float64)[torch.randperm(N, generator=generator)]
    lengths = lengths * (1 + 0.2 * torch.rand(N, generator=generator, dtype=torch.float64))
    return (lengths[:, None] * embeddings).to(dtype), torch.randint(IDENTITIES, (N,), generator=generator)


def _build(name, dtype, **settings):
    torch.manual_seed(0)
    head = models.build_head(name, embedding_dim=DIM, n_identities=IDENTITIES, **settings)
    torch.nn.init.normal_(head.weight)
    return head.to(dtype)


def _cosines(head, embeddings):
    """float64 (N, rows of the weight)."""
    x, w = embeddings.double().numpy(), head.weight.detach().double().numpy()
    table = [[float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) for b in w] for a in x]
    return np.array(table)


def _mean_loss(logits, labels):
    """Mean of −log softmax, written out."""
    losses = []
    for row, label in zip(np.asarray(logits).tolist(), labels.tolist(), strict=True):
        top = max(row)
        losses.append(math.log(sum(math.exp(value - top) for value in row)) + top - row[label])
    return sum(losses) / len(losses)


def _with_own(cosines, labels, own):
    """Rows of cosines in which the label's is replaced by ``own(row number, its angle)``."""
    result = cosines.copy()
    for i, label in enumerate(labels.tolist()):
        result[i, label] = own(i, math.acos(cosines[i, label]))
    return result


def _arc(angle, margin):
    """cos(θ + m), and the line that takes over beyond π − m."""
    return math.cos(angle + margin) if angle + margin < math.pi else math.cos(angle) + math.cos(margin) - 1


def _agrees(head, embeddings, labels, logits, extra=0.0):
    tolerance = TOLERANCE[embeddings.dtype]
    loss = head(embeddings, labels).item()
    assert loss == pytest.approx(_mean_loss(logits, labels) + extra, rel=tolerance, abs=tolerance)


@BOTH
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.35), (30.0, 0.2), (1.0, 0.0)])
def test_cosface_is_equation_4(dtype, scale, margin):
    embeddings, labels = _case(dtype)
    head = _build("cosface", dtype, scale=scale, margin=margin)
    logits = scale * _with_own(_cosines(head, embeddings), labels, lambda i, angle: math.cos(angle) - margin)
    _agrees(head, embeddings, labels, logits)


@BOTH
@pytest.mark.parametrize(("scale", "margin"), [(64.0, 0.5), (30.0, 0.2), (1.0, 0.0), (64.0, 1.5)])
def test_arcface_is_equation_3(dtype, scale, margin):
    embeddings, labels = _case(dtype)
    head = _build("arcface", dtype, scale=scale, margin=margin)
    logits = scale * _with_own(_cosines(head, embeddings), labels, lambda i, angle: _arc(angle, margin))
    _agrees(head, embeddings, labels, logits)


@BOTH
@pytest.mark.parametrize("sub_centers", [2, 3])
def test_sub_centers_count_by_the_nearest_one(dtype, sub_centers):
    embeddings, labels = _case(dtype)
    head = _build("arcface", dtype, sub_centers=sub_centers)
    assert head.weight.shape == (IDENTITIES * sub_centers, DIM)
    every = _cosines(head, embeddings)
    nearest = np.array([[max(row[j : j + sub_centers]) for j in range(0, row.size, sub_centers)] for row in every])
    _agrees(head, embeddings, labels, 64 * _with_own(nearest, labels, lambda i, angle: _arc(angle, 0.5)))


def test_one_sub_center_is_plain_arcface():
    embeddings, labels = _case()
    one, plain = _build("arcface", torch.float64, sub_centers=1), _build("arcface", torch.float64)
    assert torch.equal(one(embeddings, labels), plain(embeddings, labels))


def test_only_the_nearest_sub_center_learns():
    embeddings, labels = _case()
    head = _build("arcface", torch.float64, sub_centers=3)
    head(embeddings[:1], labels[:1]).backward()
    assert int((head.weight.grad.view(IDENTITIES, 3, DIM).abs().sum(2) > 0).sum()) == IDENTITIES


def _psi(angle, margin):
    """A-Softmax's (−1)^k cos(mθ) − 2k, k found by looking."""
    k = next(k for k in range(20) if k * math.pi / margin <= angle <= (k + 1) * math.pi / margin)
    return (-1) ** k * math.cos(margin * angle) - 2 * k


@BOTH
@pytest.mark.parametrize(("scale", "margin"), [(30.0, 1.5), (30.0, 4.0), (64.0, 1.0), (10.0, 2.3)])
def test_sphereface_is_equation_7(dtype, scale, margin):
    embeddings, labels = _case(dtype)
    head = _build("sphereface", dtype, scale=scale, margin=margin)
    logits = scale * _with_own(_cosines(head, embeddings), labels, lambda i, angle: _psi(angle, margin))
    _agrees(head, embeddings, labels, logits)


def test_the_gradient_of_sphereface_is_that_of_the_plain_cosine_weighed_with_margin():
    embeddings, labels = _case()
    head = _build("sphereface", torch.float64)
    embeddings.requires_grad_()
    actual = torch.autograd.grad(head(embeddings, labels), (embeddings, head.weight))
    shares = head.logits(embeddings, labels).softmax(1).detach()
    by_cosine = 30 * (shares - F.one_hot(labels, IDENTITIES)) / N  # s (p − 1) for the label, s p for the others
    cosines = F.normalize(embeddings) @ F.normalize(head.weight).T
    expected = torch.autograd.grad((by_cosine * cosines).sum(), (embeddings, head.weight))
    torch.testing.assert_close(actual, expected)


@BOTH
def test_curricularface_is_t_and_n_with_the_moving_average(dtype):
    head, t, n_hard = _build("curricularface", dtype), 0.0, 0
    for step in range(4):
        embeddings, labels = _case(dtype, seed=step)
        cosines = _cosines(head, embeddings)
        t = 0.99 * t + 0.01 * sum(cosines[i, label] for i, label in enumerate(labels.tolist())) / N
        changed = _with_own(cosines, labels, lambda i, angle: _arc(angle, 0.5))
        for i, label in enumerate(labels.tolist()):
            for j in set(range(IDENTITIES)) - {label}:
                if cosines[i, j] > changed[i, label]:
                    changed[i, j] = cosines[i, j] * (t + cosines[i, j])
                    n_hard += 1
        _agrees(head, embeddings, labels, 64 * changed)
        assert head.t.item() == pytest.approx(t, abs=1e-7)
    assert 0 < n_hard < 4 * N * (IDENTITIES - 1), "both kinds must be met"


@BOTH
def test_magface_is_equation_3(dtype):
    embeddings, labels = _case(dtype)
    head = _build("magface", dtype)
    lengths = [math.sqrt(sum(v * v for v in row)) for row in embeddings.double().tolist()]
    assert min(lengths) < 10 and max(lengths) > 110, "lengths below, in and above the range must be met"

    def margin(i):
        return 0.45 + (0.8 - 0.45) / (110 - 10) * (min(max(lengths[i], 10), 110) - 10)

    def reward(length):
        inside = min(max(length, 10), 110)
        tangent = (1 / 110**2 - 1 / 10**2) * min(length - 10, 0)
        return 1 / inside + inside / 110**2 + tangent

    logits = 64 * _with_own(_cosines(head, embeddings), labels, lambda i, angle: _arc(angle, margin(i)))
    _agrees(head, embeddings, labels, logits, extra=35 * sum(map(reward, lengths)) / N)


def test_magface_rewards_length_up_to_its_bound_and_also_below_its_range():
    head = magface.MagFace(DIM, IDENTITIES)
    lengths = torch.tensor([0.0, 1.0, 9.0, 10.0, 11.0, 60.0, 109.0, 110.0, 150.0], dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(head.regulariser(lengths).sum(), lengths)
    assert (slope[:7] < 0).all() and torch.isfinite(slope).all()
    assert slope[7].abs() < 1e-12 and slope[8] == 0
    torch.testing.assert_close(slope[4:7], 1 / 110**2 - 1 / lengths[4:7].detach() ** 2)


def test_the_weight_of_magfaces_reward_is_above_the_papers_bound():
    slope = (magface.MARGINS_RAD[1] - magface.MARGINS_RAD[0]) / (magface.LENGTHS[1] - magface.LENGTHS[0])
    least, most = (length**2 for length in magface.LENGTHS)
    bound = magface.SCALE * slope * most * least / (most - least)
    assert bound == pytest.approx(22.6, abs=0.05) and bound < magface.REWARD


@BOTH
@pytest.mark.parametrize("first_std", [100.0, 10.0])
def test_adaface_is_its_two_margins_with_the_moving_averages(dtype, first_std):
    head, mean, std = _build("adaface", dtype), 20.0, first_std
    head.std.fill_(first_std)
    met = set()
    for step in range(4):
        embeddings, labels = _case(dtype, seed=step)
        lengths = [min(math.sqrt(sum(v * v for v in row)), 100.0) for row in embeddings.double().tolist()]
        mean = 0.99 * mean + 0.01 * np.mean(lengths)
        std = 0.99 * std + 0.01 * np.std(lengths, ddof=1)
        quality = [min(max((length - mean) / (std + 0.001) * 0.333, -1), 1) for length in lengths]
        met |= {value > 0 for value in quality} | {value for value in quality if abs(value) == 1}

        def own(i, angle, quality=quality):
            turn = -0.4 * quality[i]
            turned = _arc(angle, turn) if turn >= 0 else math.cos(max(angle + turn, 0))
            return turned - (0.4 * quality[i] + 0.4)

        _agrees(head, embeddings, labels, 64 * _with_own(_cosines(head, embeddings), labels, own))
        assert head.mean.item() == pytest.approx(mean, rel=1e-6) and head.std.item() == pytest.approx(std, rel=1e-6)
    assert {True, False} <= met and (first_std == 100.0 or 1 in met), "short, long and clipped lengths must be met"


@pytest.mark.parametrize(("quality", "angle"), [(1.0, 0.2), (1.0, 0.399), (-1.0, 2.9), (-1.0, 3.1)])
def test_adaface_at_the_ends_of_its_angles(quality, angle):
    head = adaface.AdaFace(DIM, IDENTITIES).double().eval()
    length = 20 + quality * 99  # clipped to 100 and to 0.001
    head.std.fill_(1.0)
    value = head.with_margin(torch.tensor([[math.cos(angle)]]).double(), torch.tensor([[length]]).double()).item()
    expected = 1 - 0.8 if quality > 0 else math.cos(angle) + math.cos(0.4) - 1
    assert value == pytest.approx(expected, abs=1e-6)


def test_no_gradient_of_adaface_passes_the_length():
    embeddings, labels = _case()
    embeddings.requires_grad_()
    _build("adaface", torch.float64)(embeddings, labels).backward()
    along = (embeddings.grad * embeddings.detach()).sum(1)
    assert along.abs().max() < 1e-9 < embeddings.grad.abs().max()


@BOTH
@pytest.mark.parametrize("name", ["elasticface", "elasticface_cos"])
def test_elasticface_has_margins_from_a_normal_distribution(dtype, name):
    mean = 0.5 if name == "elasticface" else 0.35
    embeddings, labels = _case(dtype)
    head = _build(name, dtype)
    torch.manual_seed(5)
    margins = (mean + 0.05 * torch.randn(N, 1, dtype=dtype)).double()[:, 0].tolist()
    assert len(set(margins)) == N, "every sample has its own"

    def own(i, angle):
        return _arc(angle, margins[i]) if name == "elasticface" else math.cos(angle) - margins[i]

    torch.manual_seed(5)
    _agrees(head, embeddings, labels, 64 * _with_own(_cosines(head, embeddings), labels, own))


@pytest.mark.parametrize(("name", "twin"), [("elasticface", "arcface"), ("elasticface_cos", "cosface")])
def test_elasticface_out_of_training_has_the_mean_margin(name, twin):
    embeddings, labels = _case()
    elastic, plain = _build(name, torch.float64).eval(), _build(twin, torch.float64)
    torch.testing.assert_close(elastic(embeddings, labels), plain(embeddings, labels))


def test_drawn_margins_have_the_mean_and_spread_asked_for_and_are_never_negative():
    torch.manual_seed(0)
    margins = elasticface.drawn(0.5, 0.05, torch.empty(100_000, 1))
    assert margins.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert margins.std().item() == pytest.approx(0.05, rel=0.02)
    assert elasticface.drawn(0.01, 0.05, torch.empty(1000, 1)).min() == 0


def test_softmax_is_a_linear_classifier():
    embeddings, labels = _case()
    head = _build("softmax", torch.float64)
    torch.nn.init.normal_(head.bias)
    expected = F.cross_entropy(embeddings @ head.weight.T + head.bias, labels)
    torch.testing.assert_close(head(embeddings, labels), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_moments_of_a_batch_are_numpys(dtype):
    values = 1e3 + torch.randn(50, 1, generator=torch.Generator().manual_seed(0), dtype=dtype)
    mean, std = batch_moments(values)
    assert mean.dtype == std.dtype == dtype
    assert mean.item() == pytest.approx(values.double().mean().item(), rel=1e-7)
    assert std.item() == pytest.approx(np.std(values.double().numpy(), ddof=1), rel=1e-6)
    assert batch_moments(values[:1])[1] == 0


def test_moments_of_a_batch_are_those_of_all_processes(monkeypatch):
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    here, there = values[:20], values[20:]

    def all_reduce(sums):
        sums += torch.stack([torch.tensor(30.0).double(), there.sum(), there.square().sum()])

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    mean, std = batch_moments(here)
    torch.testing.assert_close(mean, values.mean())
    torch.testing.assert_close(std, values.std())


# pytorch-metric-learning: the same losses by other hands, where it has them.


def _theirs(name, head, **settings):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    loss = getattr(losses, name)(num_classes=IDENTITIES, embedding_size=DIM, **settings)
    loss.W.data = head.weight.detach().T.clone()
    return loss


def _same_value_and_gradients(head, theirs, embeddings, labels):
    ours, their_input = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()
    actual, expected = head(ours, labels), theirs(their_input, labels)
    torch.testing.assert_close(actual, expected)
    actual.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, their_input.grad)
    torch.testing.assert_close(head.weight.grad, theirs.W.grad.T)


def _away_from_the_guard(head, embeddings, margin_rad):
    """Labels whose angle leaves room for the margin: beyond, ours and theirs differ on purpose."""
    cosines = F.normalize(embeddings) @ F.normalize(head.weight.detach()).T
    if len(head.weight) > IDENTITIES:
        cosines = cosines.view(N, IDENTITIES, -1).amax(2)
    labels = cosines.argsort(dim=1)[:, 1 + torch.arange(N) % (IDENTITIES - 1)].diagonal()
    assert (cosines.gather(1, labels[:, None]).acos() < math.pi - margin_rad).all()
    return labels


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_arcface_agrees_with_pytorch_metric_learning(sub_centers):
    embeddings, _ = _case()
    head = _build("arcface", torch.float64, sub_centers=sub_centers)
    settings = {"margin": math.degrees(0.5), "scale": 64}
    if sub_centers == 1:
        theirs = _theirs("ArcFaceLoss", head, **settings)
    else:
        theirs = _theirs("SubCenterArcFaceLoss", head, sub_centers=sub_centers, **settings)
    _same_value_and_gradients(head, theirs, embeddings, _away_from_the_guard(head, embeddings, 0.5))


def test_cosface_agrees_with_pytorch_metric_learning():
    embeddings, labels = _case()
    head = _build("cosface", torch.float64)
    _same_value_and_gradients(head, _theirs("CosFaceLoss", head, margin=0.35, scale=64), embeddings, labels)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # theirs: scipy on a tensor
@pytest.mark.parametrize("margin", [1, 2, 3, 4])
def test_sphereface_agrees_with_pytorch_metric_learning_in_value(margin):
    embeddings, labels = _case()
    head = _build("sphereface", torch.float64, margin=margin)
    theirs = _theirs("SphereFaceLoss", head, margin=margin, scale=30)
    # theirs takes the embedding's length as a further scale, so that its gradient is another
    torch.testing.assert_close(head(embeddings, labels), theirs(F.normalize(embeddings), labels))
