"""The searchers as state machines, on an engine whose best genotype is planted."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter

import numpy as np
import planted
import pytest

from bnas_face.config import SearchConfig
from bnas_face.genotype import CELLS, EDGES, OPERATIONS
from bnas_face.search import presets
from bnas_face.search.searchers import _formulas, bnas, pc_darts, random

BUILD = {"bnas": bnas.build, "pc_darts": pc_darts.build, "random": random.build}
NONE = "none"


def make(searcher="bnas", **more):
    return BUILD[searcher](presets.resolve(SearchConfig(name="x", searcher=searcher, **more)))


def searched(engine=None, **more):
    """Searcher, engine and log of a whole search."""
    engine = engine or planted.PlantedEngine(more.get("space", "paper"))
    searcher = make(**more)
    return searcher, engine, planted.run(searcher, engine)


def paths(engine):
    return [call[2] for call in engine.calls if call[0] == "path"]


def survivors(searcher):
    """Cell → the operation of every edge at the end."""
    last = searcher.history()[-1]["remaining"]
    assert all(len(edge) == 1 for cell in CELLS for edge in last[cell])
    return {cell: [edge[0] for edge in last[cell]] for cell in CELLS}


def test_the_default_schedule_has_57_single_path_epochs_and_12_mixed_ones():
    searcher, engine, _ = searched()
    assert Counter(searcher.plan) == {"sample": 57, "mixed": 7, "warm_up": 5}
    assert Counter(call[0] for call in engine.calls) == {"path": 57, "mixed": 12, "abandon": 7 * 2 * len(EDGES)}
    assert searcher.summary()["single_path_epochs"] == 57


@pytest.mark.parametrize("more", [{"reduction": False}, {"ucb": 1.0}, {"reduction": False, "ucb": 1.0}])
def test_every_ablation_has_the_same_budget_at_the_same_places(more):
    searcher, engine, _ = searched(**more)
    assert searcher.plan == make().plan
    assert Counter(call[0] for call in engine.calls)["path"] == 57


@pytest.mark.parametrize(("repeats", "warmup", "mixed"), [(1, 0, 0), (2, 1, 3)])
def test_the_schedule_follows_its_settings(repeats, warmup, mixed):
    searcher, engine, _ = searched(repeats=repeats, warmup_epochs=warmup, mixed_epochs=mixed)
    assert Counter(call[0] for call in engine.calls)["path"] == 19 * repeats
    assert len(searcher.plan) == warmup + 19 * repeats + 7 * mixed
    assert [call[1] for call in engine.calls if call[0] != "abandon"] == list(range(len(searcher.plan)))


def test_without_reduction_nothing_is_abandoned_and_every_pass_has_all_eight_operations():
    _, engine, rows = searched(reduction=False)
    assert not [call for call in engine.calls if call[0] == "abandon"]
    drawn = paths(engine)
    for start in range(0, 56, 8):
        for cell in CELLS:
            for edge in range(len(EDGES)):
                assert sorted(p[cell][edge] for p in drawn[start : start + 8]) == sorted(OPERATIONS["paper"])
    assert not [row for row in rows if row.phase == "abandon"]


def test_each_repeat_draws_every_operation_of_smallest_alpha_once():
    engine = planted.PlantedEngine()
    alphas = engine.alphas()
    searched(engine, warmup_epochs=0)
    drawn = paths(engine)[:12]
    for cell in CELLS:
        for edge in range(len(EDGES)):
            smallest = {OPERATIONS["paper"][i] for i in np.argsort(alphas[cell][edge])[:4]}
            for repeat in range(3):
                part = [p[cell][edge] for p in drawn[4 * repeat : 4 * repeat + 4]]
                assert set(part) == smallest


def test_operations_meet_in_other_paths_in_every_repeat():
    for more in ({}, {"ucb": 1.0}):
        _, engine, _ = searched(**more)
        assert len({json.dumps(path) for path in paths(engine)[:12]}) == 12


def test_each_round_abandons_one_operation_of_every_edge():
    searcher, engine, rows = searched()
    history = searcher.history()
    assert [(entry["round"], entry["k"]) for entry in history] == [(9 - k, k) for k in range(8, 0, -1)]
    for before, after in itertools.pairwise(history):
        for gone in before["abandoned"]:
            edge = EDGES.index((gone["source"], gone["target"]))
            left = before["remaining"][gone["cell"]][edge]
            assert [name for name in left if name != gone["operation"]] == after["remaining"][gone["cell"]][edge]
        assert len(before["abandoned"]) == 2 * len(EDGES)
    assert history[0]["remaining"]["normal"][0] == list(OPERATIONS["paper"]) and history[-1]["abandoned"] == []
    assert [row.operation for row in rows if row.phase == "abandon"] == [
        c[3] for c in engine.calls if c[0] == "abandon"
    ]


def test_the_least_likely_operation_is_abandoned_and_its_margin_logged():
    for more in ({}, {"temperature": 0.01}):
        searcher, _, rows = searched(**more)
        for entry in searcher.history()[:-1]:
            for gone in entry["abandoned"]:
                s = dict(entry["likelihood"][gone["cell"]][EDGES.index((gone["source"], gone["target"]))])
                lost = s.pop(gone["operation"])
                assert lost <= min(s.values()) + 1e-6
                assert gone["margin"] == pytest.approx(min(s.values()) - lost, abs=2e-6)
        assert all(row.margin >= 0 and row.likelihood is not None for row in rows if row.phase == "abandon")
        assert searcher.summary()["smallest_margin"] >= 0


def test_likelihood_by_hand():
    mean = {"a": 0.2, "b": 0.6}
    total = math.exp(0.2) + math.exp(0.6)
    small = {"a": math.exp(0.2) / total, "b": math.exp(0.6) / total}
    large = 0.5 * (small["b"] + (small["a"] + small["b"]) / 2)
    expected = {"a": 0.5 * 0.4 + small["a"], "b": 0.5 * 0.8 + small["b"], "c": 0.5 * 1.0 + large, "d": large}
    assert _formulas.updated({"a": 0.4, "b": 0.8, "c": 1.0, "d": 0.0}, mean, 1.0) == pytest.approx(expected)


def test_a_low_temperature_makes_the_likelihood_decided_and_a_high_one_flat():
    for temperature, low, high in ((0.001, 0.0, 1.0), (1000.0, 0.5, 0.5)):
        s = _formulas.updated({"a": 0.0, "b": 0.0}, {"a": 0.2, "b": 0.6}, temperature)
        assert s == pytest.approx({"a": low, "b": high}, abs=1e-3)


def test_the_likelihood_of_the_search_is_the_formula_applied_to_its_log():
    searcher, _, rows = searched(repeats=2, temperature=0.1)
    samples = [row for row in rows if row.phase == "sample"]
    s = {cell: [dict.fromkeys(OPERATIONS["paper"], 0.0) for _ in EDGES] for cell in CELLS}
    for entry in searcher.history()[:-1]:
        of_round = [row for row in samples if row.round == entry["round"]]
        for number, cell in enumerate(CELLS):
            for edge in range(len(EDGES)):
                credits = {}
                for row in of_round:
                    operation = row.path.split("|")[number].split(",")[edge]
                    credits.setdefault(operation, []).append(row.accuracy)
                mean = {name: np.mean(found) for name, found in credits.items()}
                s[cell][edge] = _formulas.updated(s[cell][edge], mean, 0.1)
                assert s[cell][edge] == pytest.approx(entry["likelihood"][cell][edge], abs=1e-5)
        for gone in entry["abandoned"]:
            del s[gone["cell"]][EDGES.index((gone["source"], gone["target"]))][gone["operation"]]


def test_ties_of_the_likelihood_go_against_the_smaller_alpha():
    engine = planted.PlantedEngine(effect=0.0)
    engine.fitness = lambda path: 0.5
    alphas = engine.alphas()
    searcher, _, _ = searched(engine, warmup_epochs=0, mixed_epochs=0)
    for cell in CELLS:
        order = [OPERATIONS["paper"][i] for i in np.argsort(alphas[cell][0])]
        gone = [a["operation"] for e in searcher.history() for a in e["abandoned"] if a["cell"] == cell]
        assert gone[:: len(EDGES)] == order[:-1]


def test_upper_bound_by_hand():
    bounds = _formulas.upper_bounds({"a": [0.5, 0.7], "b": [0.2], "c": []}, 2.0)
    assert bounds["a"] == pytest.approx(0.6 + 2 * math.sqrt(2 * math.log(3) / 2))
    assert bounds["b"] == pytest.approx(0.2 + 2 * math.sqrt(2 * math.log(3) / 1))
    assert bounds["c"] == math.inf


def test_bounds_at_equal_counts_rank_as_accuracies_do():
    credits = {"often": [0.5] * 9, "rarely": [0.4]}
    assert _formulas.upper_bounds(credits, 1.0)["often"] < _formulas.upper_bounds(credits, 1.0)["rarely"]
    fair = _formulas.fair_upper_bounds(credits, 1.0)
    assert fair["often"] - fair["rarely"] == pytest.approx(0.1)


def test_an_operation_never_drawn_comes_first_then_the_largest_bound():
    generator = np.random.default_rng(0)
    drawn = _formulas.by_upper_bound({"a": [0.9], "b": [], "c": [0.1], "d": []}, 0.01, 5, generator)
    assert Counter(drawn) == {"a": 3, "b": 1, "d": 1}
    drawn = _formulas.by_upper_bound({"a": [0.9], "b": [0.5], "c": [0.1]}, 100.0, 3, generator)
    assert Counter(drawn) == {"a": 1, "b": 1, "c": 1}, "a large weight explores evenly"


def test_ties_between_upper_bounds_follow_the_seed():
    pool = {name: [] for name in "abcdefgh"}
    drawn = [tuple(_formulas.by_upper_bound(pool, 1.0, 3, np.random.default_rng(seed))) for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3


def test_ucb_is_the_default_in_space_onebit_and_off_in_paper():
    assert (make(space="onebit").ucb, make(space="paper").ucb) == (1.0, 0.0)
    assert make(space="onebit", ucb=0.0).ucb == 0.0


def test_ucb_draws_from_every_operation_and_logs_its_bounds():
    _, engine, rows = searched(space="onebit")
    first = paths(engine)[:12]
    for edge in range(len(EDGES)):
        assert {path["normal"][edge] for path in first} == set(OPERATIONS["onebit"])
    assert all(row.upper_bound is not None for row in rows if row.phase in ("likelihood", "abandon"))
    _, _, rows = searched(ucb=0.0)
    assert all(row.upper_bound is None for row in rows)


@pytest.mark.parametrize(("more", "share"), [({}, 0.22), ({"ucb": 1.0}, 0.38), ({"reduction": False}, 0.22)])
def test_more_edges_than_by_chance_find_the_planted_operation(more, share):
    found = []
    for seed in range(6):
        engine = planted.PlantedEngine(seed=seed, noise=0.005)
        searcher, _, _ = searched(engine, seed=seed, **more)
        left = survivors(searcher)
        found += [left[cell][n] == engine.best[cell][n] for cell in CELLS for n in range(len(EDGES))]
    assert np.mean(found) > share, "by chance 0.125"


@pytest.mark.parametrize("searcher", sorted(BUILD))
@pytest.mark.parametrize("space", sorted(OPERATIONS))
def test_a_search_beats_a_random_genotype_on_average(searcher, space):
    def value(engine, genotype):
        path = random.as_path(genotype)
        amounts = [
            edge.get(op, 0) for c in CELLS for edge, op in zip(engine.amount[c], path[c], strict=True) if op != NONE
        ]
        return np.mean(amounts)

    gains = []
    for seed in range(6):
        engine = planted.PlantedEngine(space, seed=seed, informed=0.5 if searcher == "pc_darts" else 0.0)
        found, _, _ = searched(engine, seed=seed, searcher=searcher, space=space)
        floor, _, _ = searched(searcher="random", samples=1, seed=seed + 50, space=space)
        gains.append(value(engine, found.genotype()) - value(engine, floor.genotype()))
    assert np.mean(gains) > 2 * np.std(gains) / math.sqrt(len(gains))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ucb": 1.0},
        {"reduction": False},
        {"reduction": False, "ucb": 0.1},
        {"searcher": "pc_darts", "epochs": 12},
        {"searcher": "random", "samples": 4, "epochs": 3},
    ],
)
def test_a_searcher_goes_on_from_any_unit_to_the_same_end(more):
    whole, _, rows = searched(planted.PlantedEngine(noise=0.01), **more)
    for stop in (0, 1, len(whole.plan) // 3, len(whole.plan) // 2, len(whole.plan) - 1):
        first, engine = make(**more), planted.PlantedEngine(noise=0.01)
        before = [row for _ in range(stop) for row in first.step(engine)]
        second, other = make(**more), planted.PlantedEngine(noise=0.01)
        second.restore(json.loads(json.dumps(first.state())))
        other.load_tensors(engine.tensors())
        assert before + planted.run(second, other) == rows
        assert second.genotype() == whole.genotype() and second.history() == whole.history()
        assert second.summary() == whole.summary()


@pytest.mark.parametrize("searcher", sorted(BUILD))
def test_a_seed_decides_everything(searcher):
    runs = [searched(planted.PlantedEngine(noise=0.01), searcher=searcher, seed=seed)[2] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert (runs[0] != runs[2]) is (searcher != "pc_darts"), "pc_darts draws nothing itself"


def test_history_and_summary_are_json():
    for searcher in BUILD:
        found, _, _ = searched(searcher=searcher)
        json.dumps([found.history(), found.summary()], allow_nan=False)


def test_a_node_keeps_its_two_strongest_edges_in_order_of_source():
    strength = [1.0, 2.0, 3.0, 1.0, 2.0, 1.0, 4.0, 3.0, 2.0, 0.0, 0.0, 5.0, 6.0, 0.0]
    cell = _formulas.two_best_edges(["skip_connect"] * 14, strength, [("skip_connect", 0.0)] * 14)
    assert [[edge.source for edge in node] for node in cell] == [[0, 1], [0, 2], [1, 2], [2, 3]]


def test_an_edge_with_none_is_kept_only_if_needed_and_then_with_its_substitute():
    operations = ["none", "sep_conv_3x3", "none", "none", "none"] + ["none"] * 4 + ["dil_conv_3x3"] * 5
    strength = [9.0, 0.1] + [9.0] * 12
    substitutes = [("max_pool_3x3", float(n % 3)) for n in range(14)]
    cell = _formulas.two_best_edges(operations, strength, substitutes)
    assert [(edge.operation, edge.source) for edge in cell[0]] == [("max_pool_3x3", 0), ("sep_conv_3x3", 1)]
    assert [edge.source for edge in cell[1]] == [0, 2], "edges 2 and 4 have the strongest substitutes of 2, 3, 4"
    assert {edge.operation for edge in cell[3]} == {"dil_conv_3x3"}


def test_bnas_where_none_wins_everywhere_still_gives_a_network():
    engine = planted.PlantedEngine(best=NONE, effect=0.03)
    searcher, _, _ = searched(engine, ucb=1.0)
    left = survivors(searcher)
    assert left["normal"].count(NONE) > 3
    genotype = searcher.genotype()
    assert all(edge.operation != NONE for cell in CELLS for node in genotype.cell(cell) for edge in node)


def test_pc_darts_trains_alpha_only_after_the_frozen_epochs():
    searcher, engine, rows = searched(searcher="pc_darts")
    assert [call[2] for call in engine.calls] == [False] * 15 + [True] * 35
    assert [row.phase for row in rows] == ["warm_up"] * 15 + ["mixed"] * 35
    assert [row.accuracy is not None for row in rows] == [False] * 49 + [True]
    assert searcher.history()[0]["epoch"] == 0 and searcher.history()[-1]["epoch"] == 50
    assert sum(searcher.history()[-1]["alpha"]["normal"][0].values()) == pytest.approx(1, abs=1e-5)


def test_pc_darts_derives_by_alpha_times_beta_without_none():
    engine = planted.PlantedEngine()
    for cell in CELLS:
        engine._alphas[cell][:] = 0.0
        engine._alphas[cell][:, 0] = 5.0  # none
        engine._alphas[cell][:, 4] = 1.0  # sep_conv_3x3
        engine._alphas[cell][0, 4], engine._alphas[cell][0, 7] = 1.0, 2.0
    engine.betas = lambda: {cell: np.array([0, 0, 0, 5, 5, 1, 2, 3, 0, 0, 0, 0, 9, 9.0]) for cell in CELLS}
    searcher, _, _ = searched(engine, searcher="pc_darts", epochs=2)
    normal = searcher.genotype().normal
    assert [[edge.source for edge in node] for node in normal] == [[0, 1], [1, 2], [1, 2], [3, 4]]
    assert [edge.operation for edge in normal[0]] == ["dil_conv_5x5", "sep_conv_3x3"]


def test_random_trains_every_genotype_alone_from_fresh_weights():
    searcher, engine, rows = searched(searcher="random", samples=4, epochs=3)
    kinds = [call[0] for call in engine.calls]
    assert kinds == ["reset", "path", "path", "path"] * 4
    assert searcher.schedule_units == 3, "each has its own course of the learning rate"
    accuracies = [row.accuracy for row in rows if row.accuracy is not None]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == 4 and random.as_path(searcher.genotype()) == paths(engine)[3 * best]
    assert [sample["accuracy"] for sample in searcher.summary()["samples"]] == accuracies


def test_random_with_one_sample_trains_nothing():
    searcher, engine, rows = searched(searcher="random", samples=1)
    assert searcher.plan == [] and rows == [] and engine.calls == []
    assert searcher.genotype() == make("random", samples=1).genotype()
    assert searcher.summary()["samples"][0]["accuracy"] is None


def test_random_genotypes_are_valid_and_uniform():
    drawn = [random.draw("onebit", np.random.default_rng(seed)) for seed in range(400)]
    operations = Counter(edge.operation for g in drawn for c in CELLS for node in g.cell(c) for edge in node)
    assert set(operations) == set(OPERATIONS["onebit"]) - {NONE}
    assert max(operations.values()) < 1.2 * min(operations.values())
    sources = Counter(tuple(edge.source for edge in g.normal[3]) for g in drawn)
    assert len(sources) == 10 and all(a != b for a, b in sources)


def test_presets_resolve_to_the_defaults_of_searcher_space_and_binarizer():
    def values(**more):
        found = presets.resolve(SearchConfig(name="x", **more))
        return (found.channel_sampling, found.batch_size, found.optimizer, found.lr, found.weight_decay, found.ucb)

    assert values() == (2, 128, "sgd", 0.025, 5e-4, 0.0)
    assert values(searcher="pc_darts") == (4, 256, "sgd", 0.1, 5e-4, 0.0)
    assert values(searcher="random") == (1, 128, "sgd", 0.025, 5e-4, 0.0)
    assert values(space="onebit") == (2, 128, "adam", 1e-3, 0.0, 1.0)
    assert values(space="onebit", binarizer="none") == (2, 128, "sgd", 0.025, 5e-4, 1.0)
    assert values(lr=0.5, ucb=2.0, optimizer="adam") == (2, 128, "adam", 0.5, 0.0, 2.0)
    config = presets.resolve(SearchConfig(name="x", searcher="pc_darts", epochs=10))
    assert (config.epochs, config.frozen_epochs) == (10, 3)
    assert presets.resolve(config) == config
