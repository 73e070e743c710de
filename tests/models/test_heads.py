"""The contract of every head: shapes, types, finite and right gradients, margins that only ever take, state."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from bnas_face import models, tables
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import ConfigError, TrainingError, UnknownNameError
from bnas_face.models import saved
from bnas_face.models.heads import adaface, arcface, cosface, elasticface, elasticface_cos, magface

ALL = tables.names(models.HEADS)
HEADS = [name for name in ALL if name != "cross_entropy"]  # which has no weights
MARGIN_HEADS = [name for name in HEADS if name != "softmax"]
LENGTH_HEADS = ["adaface", "magface"]  # whose margin depends on the embedding's length
N, DIM, IDENTITIES = 6, 5, 4
BARE = {
    # A head whose margin does nothing.
    "adaface": lambda: adaface.AdaFace(DIM, IDENTITIES, margin=0),
    "arcface": lambda: arcface.ArcFace(DIM, IDENTITIES, margin_rad=0),
    "cosface": lambda: cosface.CosFace(DIM, IDENTITIES, margin=0),
    "elasticface": lambda: elasticface.ElasticFaceArc(DIM, IDENTITIES, margin_rad=0, spread=0),
    "elasticface_cos": lambda: elasticface_cos.ElasticFaceCos(DIM, IDENTITIES, margin=0, spread=0),
    "magface": lambda: magface.MagFace(DIM, IDENTITIES, margins_rad=(0, 0), reward=0),
    "sphereface": lambda: models.build_head("sphereface", embedding_dim=DIM, n_identities=IDENTITIES, margin=1),
    "curricularface": lambda: models.build_head("curricularface", embedding_dim=DIM, n_identities=IDENTITIES, margin=0),
}


def _case(dtype=torch.float64):
    """Embeddings of lengths around 4 to 60, and labels."""
    generator = torch.Generator().manual_seed(3)
    embeddings = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    embeddings = embeddings * torch.tensor([2, 4, 8, 12, 20, 30])[:, None]
    return embeddings.to(dtype), torch.randint(IDENTITIES, (N,), generator=generator)


def _build(name, dtype=torch.float64, **settings):
    """A head with the same weights every time; cross_entropy takes embeddings as logits of as many identities."""
    torch.manual_seed(0)
    n_identities = DIM if name == "cross_entropy" else IDENTITIES
    head = models.build_head(name, embedding_dim=DIM, n_identities=n_identities, **settings)
    if name != "cross_entropy":
        torch.nn.init.normal_(head.weight)
    return head.to(dtype)


def _loss(head, embeddings, labels):
    """One step's loss; what is random in it is drawn from the step's seed, as in training."""
    torch.manual_seed(11)
    return head(embeddings, labels)


def _gradients(head, embeddings, labels, *, bf16=False):
    embeddings = embeddings.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = _loss(head, embeddings, labels)
    loss.backward()
    return [loss.detach(), embeddings.grad, *(parameter.grad for parameter in head.parameters())]


def _own(head, embeddings, labels):
    """The labels' logits."""
    torch.manual_seed(11)
    return head.logits(embeddings, labels).gather(1, labels[:, None])[:, 0]


def _fan(n=2001, length=25.0):
    """Embeddings at all angles in [0, π] to identity 0, and a function that turns a head's identities there."""
    angle = torch.linspace(0, math.pi, n, dtype=torch.float64)
    embeddings = torch.zeros(n, DIM, dtype=torch.float64)
    embeddings[:, 0], embeddings[:, 1] = angle.cos(), angle.sin()
    return angle, length * embeddings, torch.zeros(n, dtype=torch.int64)


def _aligned(head):
    """Identities at right angles; AdaFace has seen lengths of 20 ± 5, so that lengths from 5 to 35 span its margins."""
    head.weight.data[:] = torch.eye(IDENTITIES, DIM, dtype=head.weight.dtype)
    if isinstance(head, adaface.AdaFace):
        head.std.fill_(5)
    return head.eval()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_loss_is_a_float32_scalar_and_every_gradient_finite(name, dtype):
    head = _build(name, torch.float32)
    embeddings, labels = _case(dtype)
    loss, *gradients = _gradients(head, embeddings, labels)
    assert loss.dtype == torch.float32 and loss.shape == () and torch.isfinite(loss) and loss > 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    if name != "cross_entropy":
        assert head.logits(embeddings.float(), labels).shape == (N, IDENTITIES)


@pytest.mark.parametrize("name", ALL)
def test_autocast_changes_nothing_in_a_head(name):
    embeddings, labels = _case(torch.float32)
    plain = _gradients(_build(name, torch.float32), embeddings, labels)
    mixed = _gradients(_build(name, torch.float32), embeddings, labels, bf16=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))


@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("elasticface")])  # draw by type
def test_float32_gives_the_gradients_of_float64(name):
    embeddings, labels = _case(torch.float32)
    single = _gradients(_build(name, torch.float32), embeddings, labels)
    double = _gradients(_build(name, torch.float32).double(), embeddings.double(), labels)
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=2e-4, atol=2e-4 * float(b.abs().max()))


@pytest.mark.parametrize("name", [name for name in HEADS if name != "sphereface"])  # see test_heads_formulas
def test_gradients_are_the_differences_of_the_loss(name):
    head = _build(name).eval()
    embeddings, labels = _case()
    lengths = embeddings.norm(dim=1, keepdim=True)

    def loss(embeddings, weight):
        if name == "adaface":  # no gradient passes the length
            embeddings = lengths * F.normalize(embeddings)
        return functional_call(head, {"weight": weight}, (embeddings, labels))

    assert torch.autograd.gradcheck(loss, (embeddings.requires_grad_(), head.weight.detach().requires_grad_()))


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


@pytest.mark.parametrize("name", [name for name in MARGIN_HEADS if name not in LENGTH_HEADS])
def test_margins_that_do_not_depend_on_the_length_ignore_it(name):
    embeddings, labels = _case()
    torch.testing.assert_close(_loss(_build(name), embeddings, labels), _loss(_build(name), 17 * embeddings, labels))


@pytest.mark.parametrize("name", LENGTH_HEADS)
def test_a_longer_embedding_has_the_larger_margin(name):
    head = _aligned(_build(name))
    _, embeddings, labels = _fan(n=9, length=1.0)
    at_22_degrees, label = embeddings[1:2], labels[:1]
    logits = [_own(head, length * at_22_degrees, label).item() for length in (12.0, 20.0, 30.0, 90.0)]
    assert logits == sorted(logits, reverse=True) and logits[0] - logits[-1] > 1


@pytest.mark.parametrize("name", MARGIN_HEADS)
def test_without_a_margin_it_is_the_normalised_softmax(name):
    torch.manual_seed(0)
    head = BARE[name]().double()
    embeddings, labels = _case()
    if name == "curricularface":  # hard others weigh differently also without a margin: there must be none
        embeddings = (
            head.weight.detach()[labels] + 0.1 * F.normalize(embeddings) * head.weight.detach().norm(dim=1).min()
        )
    expected = head.scale * F.normalize(embeddings) @ F.normalize(head.weight).T
    torch.testing.assert_close(_loss(head, embeddings, labels), F.cross_entropy(expected, labels))


def test_every_margin_head_has_a_bare_one():
    assert sorted(BARE) == MARGIN_HEADS


@pytest.mark.parametrize("name", MARGIN_HEADS)
@pytest.mark.parametrize("length", [0.5, 5.0, 25.0, 200.0])
@pytest.mark.parametrize("training", [True, False])
def test_the_labels_logit_is_never_above_the_plain_one(name, length, training):
    head = _aligned(_build(name)).train(training)
    angle, embeddings, labels = _fan(length=length)
    plain = head.scale * angle.cos()
    assert (_own(head, embeddings, labels) <= plain + 1e-9).all()


@pytest.mark.parametrize("name", MARGIN_HEADS)
@pytest.mark.parametrize("length", [0.5, 25.0, 200.0])
def test_the_labels_logit_falls_with_the_angle_without_a_jump(name, length):
    head = _aligned(_build(name))
    _, embeddings, labels = _fan(length=length)
    steps = _own(head, embeddings, labels).diff() / head.scale
    assert (steps < 1e-6).all()
    assert steps.abs().max() < 0.003


@pytest.mark.parametrize("name", [name for name in MARGIN_HEADS if name != "magface"])
def test_the_labels_logit_falls_with_the_margin(name):
    _, embeddings, labels = _fan(n=101)
    least = 1.0 if name == "sphereface" else 0.1
    logits = torch.stack(
        [_own(_aligned(_build(name, margin=least + extra)), embeddings, labels) for extra in (0, 0.1, 0.3, 0.6, 1.2)]
    )
    assert (logits.diff(dim=0) <= 1e-9).all()
    assert (logits.diff(dim=0)[:, 50] < 0).all(), "at a right angle it does fall"


@pytest.mark.parametrize("name", [name for name in MARGIN_HEADS if name != "curricularface"])
def test_the_other_logits_are_the_plain_cosines(name):
    head = _build(name)
    embeddings, labels = _case()
    plain = head.scale * F.normalize(embeddings) @ F.normalize(head.weight).T
    others = torch.ones(N, IDENTITIES, dtype=torch.bool).scatter(1, labels[:, None], False)
    torch.testing.assert_close(head.logits(embeddings, labels)[others], plain[others])


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_loss_and_gradients(name):
    embeddings, labels = _case(torch.float32)
    first, second = (_gradients(_build(name, torch.float32), embeddings, labels) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", ALL)
def test_a_head_that_was_saved_and_loaded_goes_on_bitwise(name, tmp_path):
    embeddings, labels = _case(torch.float32)
    head = _build(name, torch.float32)
    for step in range(3):
        _loss(head, embeddings + step, labels)
    path = tmp_path / "head.safetensors"
    saved.save_weights(path, head)
    loaded = _build(name, torch.float32)
    saved.load_into(loaded, saved.load_tensors(path), path)
    for step in range(3, 6):
        assert torch.equal(_loss(head, embeddings + step, labels), _loss(loaded, embeddings + step, labels))


@pytest.mark.parametrize("name", ["adaface", "curricularface"])
def test_state_moves_in_training_mode_alone(name):
    embeddings, labels = _case()
    head = _build(name).eval()
    before = copy.deepcopy(head.state_dict())
    _loss(head, embeddings, labels)
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())
    _loss(head.train(), embeddings, labels)
    moved = {key for key, value in head.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"adaface": {"mean", "std"}, "curricularface": {"t"}}[name]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.ones(2, DIM + 1), torch.tensor([0, 1]), rf"embeddings of {DIM} numbers got shape \(2, {DIM + 1}\)"),
        (torch.ones(3, DIM), torch.tensor([0, 1]), r"got shape \(3, 5\) and labels of shape \(2,\)"),
        (torch.ones(2, DIM), torch.tensor([[0], [1]]), r"labels of shape \(2, 1\)"),
        (torch.ones(0, DIM), torch.tensor([], dtype=torch.int64), r"got shape \(0, 5\)"),
        (torch.ones(2, DIM, dtype=torch.int64), torch.tensor([0, 1]), "embeddings of torch.int64"),
        (torch.ones(2, DIM), torch.tensor([0.0, 1.0]), "labels of torch.float32"),
        (torch.ones(2, DIM), torch.tensor([-1, 1]), "Labels from -1 to 1 do not fit"),
        (torch.ones(2, DIM), torch.tensor([0, 5]), "Labels from 0 to 5 do not fit a head of [45] identities"),
    ],
)
def test_wrong_input_is_refused(name, embeddings, labels, message):
    with pytest.raises(TrainingError, match=message):
        _build(name, torch.float32)(embeddings, labels)


@pytest.mark.parametrize(
    ("name", "margin", "message"),
    [
        (
            "arcface",
            3.2,
            r"The margin of head 'arcface' is 3\.2; it is in radians and must lie from 0 to below 3\.14159",
        ),
        ("elasticface", 3.2, "must lie from 0 to below 3.14"),
        ("curricularface", -0.1, r"'curricularface' is -0\.1"),
        ("cosface", 2.0, "a difference of cosines and must lie from 0 to below 2"),
        ("elasticface_cos", 2.5, r"'elasticface_cos' is 2\.5"),
        ("adaface", 1.6, r"must lie from 0 to below 1\.5708"),
        ("sphereface", 0.5, r"a factor of the angle, 1 for none and must lie from 1 to below 8. The paper's is 1\.5"),
        ("softmax", 0.5, r"Head 'softmax' has no margin, but margin 0\.5 is given"),
        ("cross_entropy", 0.5, r"Head 'cross_entropy' has no margin, but margin 0\.5 is given"),
        ("magface", 0.5, r"Head 'magface' has no single margin, but single margin 0\.5 is given"),
    ],
)
def test_a_margin_that_a_head_cannot_have_is_refused(name, margin, message):
    with pytest.raises(ConfigError, match=message):
        models.build_head(name, embedding_dim=5, n_identities=5, margin=margin)


@pytest.mark.parametrize("name", ["softmax", "cross_entropy"])
def test_a_scale_that_a_head_cannot_have_is_refused(name):
    with pytest.raises(ConfigError, match=f"Head '{name}' has no scale, but scale 64 is given"):
        models.build_head(name, embedding_dim=5, n_identities=5, scale=64.0)


@pytest.mark.parametrize("name", [name for name in ALL if name != "arcface"])
def test_sub_centers_are_refused_where_there_are_none(name):
    with pytest.raises(ConfigError, match=f"Head '{name}' has one center per identity, but 3 sub-centers are given"):
        models.build_head(name, embedding_dim=5, n_identities=5, sub_centers=3)


def test_sub_centers_must_be_at_least_one():
    with pytest.raises(ConfigError, match="cannot have 0 sub-centers"):
        models.build_head("arcface", embedding_dim=5, n_identities=5, sub_centers=0)
    with pytest.raises(ConfigError, match="number of sub-centers is 0"):
        TrainConfig(name="x", model=ModelConfig(), sub_centers=0)


def test_cross_entropy_takes_outputs_as_logits_and_learns_nothing():
    embeddings, labels = _case()
    head = _build("cross_entropy")
    assert list(head.parameters()) == []
    torch.testing.assert_close(head(embeddings, labels), F.cross_entropy(embeddings, labels))


def test_cross_entropy_needs_one_output_per_class():
    with pytest.raises(ConfigError, match="takes the network's 5 outputs as the logits of 10 classes"):
        models.build_head("cross_entropy", embedding_dim=5, n_identities=10)


def test_a_mistyped_head_is_suggested():
    with pytest.raises(UnknownNameError, match="Did you mean 'arcface'"):
        models.build_head("arcfce", embedding_dim=5, n_identities=4)
