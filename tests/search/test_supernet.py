"""The search network against its formula, and what runs in a path."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from small_search import N_OUTPUTS, SIZE_PX, make_config, random_path
from torch import nn

from bnas_face import models, tables
from bnas_face.errors import ConfigError
from bnas_face.genotype import CELLS, EDGES, OPERATIONS
from bnas_face.search import supernet


def make_network(task="classification", **more):
    torch.manual_seed(0)
    return supernet.SearchNetwork(make_config(**more), N_OUTPUTS, task).to(memory_format=torch.channels_last)


def draw_images(n=6):
    return torch.randn(n, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1)).to(
        memory_format=torch.channels_last
    )


def shuffle_by_definition(values, groups):
    n = values.shape[1]
    source = [g * (n // groups) + i for i in range(n // groups) for g in range(groups)]
    return values[:, source]


def cell_by_definition(network, cell, before, previous, path):
    """PC-DARTS edge by edge: concatenate, shuffle, weigh, sum."""
    nodes = [cell.before(before), cell.previous(previous)]
    for node in range(2, 6):
        edges = [e for e, (_, target) in enumerate(EDGES) if target == node]
        if path is not None:
            edges = [e for e in edges if path[cell.kind][e] != "none"]
        beta = network.betas[cell.kind][edges]
        weights = torch.softmax(beta, 0) if network.edge_normalisation else torch.ones(len(edges))
        total = 0
        for weight, e in zip(weights, edges, strict=True):
            source = nodes[EDGES[e][0]]
            n, stride = source.shape[1] // cell.groups, cell.strides[e]
            if path is None:
                names = network.remaining[cell.kind][e]
                alpha = torch.softmax(network.alphas[cell.kind][e], 0)
                mixed = sum(
                    a * cell.edges[e][o](source[:, :n]) for a, o in zip(alpha, names, strict=True) if o != "none"
                )
            else:
                mixed = cell.edges[e][path[cell.kind][e]](source[:, :n])
            rest = source[:, n:]
            rest = F.max_pool2d(rest, 2, 2) if stride == 2 and cell.groups > 1 else rest[:, :, ::stride, ::stride]
            total = total + weight * shuffle_by_definition(torch.cat([mixed, rest], 1), cell.groups)
        nodes.append(total)
    return torch.cat(nodes[2:], 1)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("edge_normalisation", [True, False])
@pytest.mark.parametrize("in_path", [True, False])
@pytest.mark.parametrize("space", ["paper", "onebit"])
def test_network_computes_the_formula_edge_by_edge(groups, edge_normalisation, in_path, space):
    network = make_network(channel_sampling=groups, edge_normalisation=edge_normalisation, space=space)
    nn.init.normal_(network.betas["normal"])
    for alpha in network.alphas["reduction"]:
        nn.init.normal_(alpha)
    path = random_path(3, names=OPERATIONS[space][1:]) if in_path else None
    before, previous = network.stem(draw_images())
    for cell in network.cells:
        expected = cell_by_definition(network, cell, before, previous, path)
        terms = network._terms(cell.kind, path, fixed=True)
        found = cell(supernet.Source(before), supernet.Source(previous), terms).values
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        before, previous = previous, expected


def test_gradients_of_alpha_and_beta_are_those_of_the_formula():
    network = make_network(cells=3)
    cell, terms = network.cells[0], network._terms("normal", None, fixed=False)
    before, previous = network.stem(draw_images())
    learned = [network.betas["normal"], *network.alphas["normal"]]
    output = cell(supernet.Source(before), supernet.Source(previous), terms).values
    found = torch.autograd.grad(output.square().sum(), learned)
    expected = torch.autograd.grad(cell_by_definition(network, cell, before, previous, None).square().sum(), learned)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-2)


def test_weighted_sum_has_the_gradients_of_a_sum_of_products():
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    weights = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w, *v: supernet.weighted_sum(w, v), (weights, *values))


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_shuffle_is_that_of_shufflenet(groups):
    values = torch.arange(2 * 12 * 3 * 3.0).reshape(2, 12, 3, 3)
    n = 12 // groups
    found = supernet.shuffled(values[:, :n], values[:, n:])
    assert torch.equal(found, shuffle_by_definition(values, groups))
    assert found.is_contiguous(memory_format=torch.channels_last)


def run_of(network, number, edge, name):
    """What runs once: an operation of an edge, or a pool of a source and stride."""
    if name.endswith("pool_3x3"):
        return number, "source", EDGES[edge][0], network.cells[number].strides[edge], name
    return number, edge, name


def count_calls(network):
    """Calls of every operation of every edge as they happen, of pools those of their source and stride."""
    calls = Counter()

    def count(*key):
        return lambda *_: calls.update([run_of(network, *key)])

    for number, cell in enumerate(network.cells):
        for edge, operations in enumerate(cell.edges):
            for name, module in operations.items():
                module.register_forward_hook(count(number, edge, name))
    return calls


def test_exactly_one_operation_of_an_edge_runs_in_a_path_and_none_costs_nothing():
    network, path = make_network(), random_path(5)
    calls = count_calls(network)
    network(draw_images(), path)
    expected = {
        run_of(network, number, edge, name)
        for number, cell in enumerate(network.cells)
        for edge, name in enumerate(path[cell.kind])
        if name != "none"
    }
    assert {"none"} < set(path["normal"]) and set(calls) == expected and set(calls.values()) == {1}


def test_every_remaining_operation_runs_in_the_mixture():
    network = make_network()
    network.abandon("normal", 0, "sep_conv_5x5")
    calls = count_calls(network)
    network(draw_images())
    kinds = Counter(cell.kind for cell in network.cells)
    n_pools = 2 * (5 * kinds["normal"] + 5 * kinds["reduction"])  # nodes 0 to 4 are sources, each of one stride
    assert len(calls) == 5 * 14 * 3 + n_pools - kinds["normal"] and set(calls.values()) == {1}


def test_edges_of_one_source_share_a_pool_and_its_gradient():
    network = make_network(cells=3, binarizer="none").double()
    path = random_path(2, names=("max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3"))
    images = draw_images().double()
    stem = network.stem.first[0].weight
    found = torch.autograd.grad(network(images, path).square().sum(), [stem])
    before, previous = network.stem(images)
    for cell in network.cells:
        before, previous = previous, cell_by_definition(network, cell, before, previous, path)
    expected = torch.autograd.grad(network.classifier(previous.mean((2, 3))).square().sum(), [stem])
    torch.testing.assert_close(found, expected)


def test_a_path_of_nothing_but_none_tells_no_image_from_another():
    network = make_network()
    logits = network(draw_images(), {kind: ["none"] * 14 for kind in CELLS})
    assert torch.equal(logits, network.classifier.bias.expand_as(logits))


def test_an_edge_left_with_none_alone_is_absent_from_the_mixture():
    network = make_network()
    for name in OPERATIONS["paper"][1:]:
        network.abandon("normal", 0, name)
    terms = network._terms("normal", None, fixed=True)[0]
    assert terms.edges == [1] and terms.edge_weights.tolist() == [1.0]


def test_an_abandoned_operation_is_gone_with_its_weights_and_its_alpha():
    network = make_network()
    before = {name for name, _ in network.named_parameters()}
    kept = network.alphas["normal"][4].detach().clone()
    position = network.abandon("normal", 4, "dil_conv_3x3")
    gone = before - {name for name, _ in network.named_parameters()}
    normal = [str(i) for i, cell in enumerate(network.cells) if cell.kind == "normal"]
    assert gone and all(name.split(".")[1] in normal and ".edges.4.dil_conv_3x3." in name for name in gone)
    assert torch.equal(network.alphas["normal"][4], torch.cat([kept[:position], kept[position + 1 :]]))
    assert "dil_conv_3x3" not in network.remaining["normal"][4] and "dil_conv_3x3" in network.remaining["reduction"][4]


def test_nothing_depends_on_earlier_batches():
    assert not list(make_network().buffers())


@pytest.mark.parametrize("task", ["classification", "embedding"])
@pytest.mark.parametrize("binarizer", tables.names(models.BINARIZERS))
@pytest.mark.parametrize("space", tables.names(models.SPACES))
def test_every_space_and_binarizer_learns_in_either_task(space, binarizer, task):
    if (space, binarizer) == ("paper", "react"):
        with pytest.raises(ConfigError, match="'react' needs 1-bit activations"):
            make_network(task, space=space, binarizer=binarizer)
        return
    network = make_network(task, space=space, binarizer=binarizer)
    network(draw_images()).square().sum().backward()
    gradients = [p.grad for p in network.weights().values()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert all(p.grad is None for p in network.architecture().values())


@pytest.mark.parametrize("size_px", [17, 33, 50])
def test_odd_sides_are_halved_alike_on_both_ways(size_px):
    network = make_network("embedding", size_px=size_px, cells=6)
    assert network(torch.randn(2, 3, size_px, size_px)).shape == (2, N_OUTPUTS)
