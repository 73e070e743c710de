"""BNAS: shrinks the space by one operation per edge and round, the least likely by sampled accuracy.

    L mixed epochs with α (warm-up); then, while an edge has K > 1 operations:
      O_small = on every edge the ceil(K/2) operations with the smallest α
      T times: draw one operation per edge from O_small without replacement, ceil(K/2) times; each time train this
        single path for one epoch and credit its accuracy to every operation in it
      update the likelihood, abandon the least likely operation of every edge, K ← K - 1, V mixed epochs with α

With L = 5, T = 3, V = 1 these are 57 single-path epochs and 12 mixed ones. An edge here is one of the 14 of a cell
type: all cells of a type share their decisions. `_formulas` has the likelihood and the upper bound.

References
----------
Chen et al., Binarized Neural Architecture Search, AAAI 2020, arXiv 1911.10862; IJCV 2021, arXiv 2009.04247.

Notes
-----
What is ours, where the papers are silent or could not be read again:

- Ties of the likelihood (operations outside O_small share one s_large) are broken by the smaller α.
- With λ > 0 (`SearchConfig.ucb`) a round's T·ceil(K/2) draws are from all remaining operations by their upper bounds,
  and the operation with the smallest bound at equal counts is abandoned (`_formulas.by_upper_bound`,
  `_formulas.fair_upper_bounds`). N, n_k and ȳ_k are of the whole search; since the network learns all the time, an
  accuracy counts relative to the mean of its round. α then only breaks ties.
- An edge left with ``none`` is used only where a node lacks two others, with the operation it abandoned last.
- `SearchConfig.reduction` False (an ablation) abandons nothing until the end. It trains as many single paths (57) as
  the default, drawn from all 8 operations of every edge in passes without replacement (or by upper bounds); the
  likelihood is updated after every complete pass (or round); mixed epochs stand where they stand with reduction; each
  edge ends with its likeliest operation. The budget is the same: what differs is the reduction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnas_face.config import SearchConfig
from bnas_face.genotype import CELLS, EDGES, OPERATIONS, Genotype
from bnas_face.search.log import Row
from bnas_face.search.searchers import _formulas
from bnas_face.search.searchers._base import Engine, by_edge, path_text

N_EDGES = len(EDGES)
Credits = dict[str, list[dict[str, list[float]]]]
"""Cell → 14 × {operation: accuracies of the samples it was in}."""
Alphas = dict[str, list[dict[str, float]]]
"""Cell → 14 × {operation: α}."""


def build(config: SearchConfig) -> Bnas:
    """The searcher of a resolved config (`presets.resolve`)."""
    return Bnas(config)


class Bnas:
    """State machine of BNAS; see the module and `_base.Searcher`.

    Parameters
    ----------
    config : SearchConfig
        Resolved.
    """

    def __init__(self, config: SearchConfig) -> None:
        self.config = config
        self.space = OPERATIONS[config.space]
        self.ucb = config.ucb or 0.0
        self.plan = _plan(config, len(self.space))
        self.schedule_units = max(1, len(self.plan))
        self.n_done = 0
        self._round = 1
        self._drawn = 0  # samples of this round
        self._n_passes = 0  # complete ones, of this round (without reduction: of the search)
        self._order: dict[str, list[list[str]]] = {}  # what the draws of the present pass take, cell → 14 × size
        self._pass: list[float] = []  # accuracies of the present pass
        self._round_sum = 0.0
        self._likelihood = {cell: [dict.fromkeys(self.space, 0.0) for _ in EDGES] for cell in CELLS}
        self._credits: Credits = {}
        self._abandoned_last: dict[str, list[list[Any]]] = {cell: [["", 0.0] for _ in EDGES] for cell in CELLS}
        self._history: list[dict[str, Any]] = []
        self._margins: list[float] = []

    @property
    def k(self) -> int:
        """K of the present round: operations an edge has, or would have with reduction."""
        return len(self.space) - self._round + 1

    def step(self, engine: Engine) -> list[Row]:
        """Do the next unit: a mixed epoch, or a sample and what follows from it."""
        phase = self.plan[self.n_done]
        rows = self._sample(engine) if phase == "sample" else [self._mixed(engine, phase)]
        self.n_done += 1
        return rows

    def _mixed(self, engine: Engine, phase: str) -> Row:
        epoch = engine.mixed_epoch(self.n_done, True)
        number = None if phase == "warm_up" else self._round - 1
        k = len(engine.remaining[CELLS[0]][0])
        return Row(unit=self.n_done, phase=phase, round=number, k=k, loss=epoch.loss, images_per_s=epoch.images_per_s)

    def _sample(self, engine: Engine) -> list[Row]:
        if not self._pass:
            self._begin_pass(self._alphas(engine))
        draw = len(self._pass)
        path = {cell: [order[draw] for order in self._order[cell]] for cell in CELLS}
        epoch = engine.path_epoch(path, self.n_done)
        accuracy = engine.fitness(path)
        row = Row(
            unit=self.n_done,
            phase="sample",
            round=self._round,
            k=len(engine.remaining[CELLS[0]][0]),
            repeat=self._n_passes + 1,
            draw=draw + 1,
            accuracy=accuracy,
            loss=epoch.loss,
            images_per_s=epoch.images_per_s,
            path=path_text(path),
        )
        self._pass.append(accuracy)
        self._round_sum += accuracy
        self._drawn += 1
        if len(self._pass) == self._pass_size:
            self._end_pass()
        return [row, *(self._end_round(engine) if self._drawn == self._round_size else [])]

    @property
    def _round_size(self) -> int:
        """Samples of the present round."""
        return self.config.repeats * math.ceil(self.k / 2)

    @property
    def _pass_size(self) -> int:
        """Samples that are drawn at once: all candidates of an edge, or with UCB the whole round."""
        if self.ucb:
            return self._round_size
        return math.ceil(self.k / 2) if self.config.reduction else len(self.space)

    def _alphas(self, engine: Engine) -> Alphas:
        """α of every remaining operation, by name."""
        found = engine.alphas()
        index = {operation: i for i, operation in enumerate(self.space)}
        return {
            cell: [
                {name: float(found[cell][n, index[name]]) for name in self._likelihood[cell][n]} for n in range(N_EDGES)
            ]
            for cell in CELLS
        }

    def _begin_pass(self, alphas: Alphas) -> None:
        if self._begins_anew:
            n = len(self.space) if self.ucb or not self.config.reduction else self._pass_size
            self._credits = {
                cell: [{name: [] for name in _formulas.smallest(edge, n)} for edge in alphas[cell]] for cell in CELLS
            }
        generator = np.random.default_rng((self.config.seed, 201, self.n_done))
        self._order = {cell: [self._draws(edge, generator) for edge in self._credits[cell]] for cell in CELLS}

    @property
    def _begins_anew(self) -> bool:
        """Whether earlier accuracies are forgotten: never with UCB, else with a round (without reduction: a pass)."""
        return not self._credits if self.ucb else self._drawn == 0 or not self.config.reduction

    def _draws(self, credits: dict[str, list[float]], generator: np.random.Generator) -> list[str]:
        if self.ucb:
            return _formulas.by_upper_bound(credits, self.ucb, self._pass_size, generator)
        return _formulas.without_replacement(list(credits), generator)

    def _end_pass(self) -> None:
        """Credit the accuracies; without reduction a pass over all operations updates the likelihood."""
        usual = sum(self._pass) / len(self._pass) if self.ucb else 0.0
        for cell in CELLS:
            for edge, order in zip(self._credits[cell], self._order[cell], strict=True):
                for operation, accuracy in zip(order, self._pass, strict=True):
                    edge[operation].append(accuracy - usual)
        self._pass = []
        self._n_passes += 1
        if not self.ucb and not self.config.reduction:
            self._update()

    def _update(self) -> None:
        for cell in CELLS:
            self._likelihood[cell] = [
                _formulas.updated(s, _formulas.mean_accuracies(credits), self.config.temperature)
                for s, credits in zip(self._likelihood[cell], self._credits[cell], strict=True)
            ]

    def _end_round(self, engine: Engine) -> list[Row]:
        if self.ucb or self.config.reduction:
            self._update()
        rows = self._likelihood_rows()
        entry = self._entry(self._round_sum / self._drawn)
        if self.config.reduction:
            rows += self._abandon(engine, self._alphas(engine), entry)
        self._history.append(entry)
        self._next_round()
        return rows

    def _abandon(self, engine: Engine, alphas: dict[str, list[dict[str, float]]], entry: dict[str, Any]) -> list[Row]:
        rows = []
        for cell in CELLS:
            for n, (source, target) in enumerate(EDGES):
                score = self._scores(cell, n)
                worst, *others = sorted(score, key=lambda name, s=score, a=alphas[cell][n]: (s[name], a[name]))  # type: ignore[misc]
                margin = score[others[0]] - score[worst]
                s = self._likelihood[cell][n].pop(worst)
                self._credits[cell][n].pop(worst, None)
                if worst != "none":
                    self._abandoned_last[cell][n] = [worst, s]
                engine.abandon(cell, n, worst)
                self._margins.append(margin)
                entry["abandoned"].append(
                    {"cell": cell, "source": source, "target": target, "operation": worst, "margin": margin}
                )
                rows.append(
                    Row(
                        unit=self.n_done,
                        phase="abandon",
                        round=self._round,
                        k=self.k,
                        cell=cell,
                        edge_source=source,
                        edge_target=target,
                        operation=worst,
                        likelihood=s,
                        upper_bound=score[worst] if self.ucb else None,
                        margin=margin,
                    )
                )
        return rows

    def _scores(self, cell: str, n: int) -> dict[str, float]:
        """By what the operations of an edge are compared, higher is better."""
        if self.ucb:
            return _formulas.fair_upper_bounds(self._credits[cell][n], self.ucb)
        return self._likelihood[cell][n]

    def _likelihood_rows(self) -> list[Row]:
        rows = []
        for cell in CELLS:
            for n, (source, target) in enumerate(EDGES):
                credits = self._credits[cell][n]
                means = {} if self.ucb else _formulas.mean_accuracies(credits)
                bounds = _formulas.upper_bounds(credits, self.ucb) if self.ucb else {}
                rows += [
                    Row(
                        unit=self.n_done,
                        phase="likelihood",
                        round=self._round,
                        k=len(self._likelihood[cell][n]),
                        cell=cell,
                        edge_source=source,
                        edge_target=target,
                        operation=operation,
                        accuracy=means.get(operation),
                        likelihood=s,
                        upper_bound=bounds.get(operation),
                    )
                    for operation, s in self._likelihood[cell][n].items()
                ]
        return rows

    def _entry(self, mean_accuracy: float | None) -> dict[str, Any]:
        """Present state of the space, for the history."""
        remaining = {cell: [list(edge) for edge in self._likelihood[cell]] for cell in CELLS}
        return {
            "round": self._round,
            "k": len(remaining[CELLS[0]][0]),
            "remaining": remaining,
            "likelihood": by_edge(self._likelihood),
            "abandoned": [],
            "mean_accuracy": mean_accuracy,
        }

    def _next_round(self) -> None:
        self._round += 1
        self._drawn, self._round_sum = 0, 0.0
        if self.config.reduction or self.ucb:
            self._n_passes = 0
        if self.k > 1:
            return
        if not self.config.reduction:
            self._keep_likeliest()
        self._history.append(self._entry(None))

    def _keep_likeliest(self) -> None:
        """The end of a search without reduction: every edge keeps its likeliest operation."""
        for cell in CELLS:
            for n, likelihood in enumerate(self._likelihood[cell]):
                best = max(likelihood, key=lambda name, s=likelihood: s[name])  # type: ignore[misc]
                others = [name for name in likelihood if name not in (best, "none")]
                second = max(others, key=lambda name, s=likelihood: s[name])  # type: ignore[misc]
                self._abandoned_last[cell][n] = [second, likelihood[second]]
                self._margins.append(likelihood[best] - max(s for name, s in likelihood.items() if name != best))
                self._likelihood[cell][n] = {best: likelihood[best]}

    def genotype(self) -> Genotype:
        """The two likeliest edges of every node."""
        cells = {}
        for cell in CELLS:
            operations = [next(iter(edge)) for edge in self._likelihood[cell]]
            strengths = [edge[name] for edge, name in zip(self._likelihood[cell], operations, strict=True)]
            substitutes = [(str(name), float(s)) for name, s in self._abandoned_last[cell]]
            cells[cell] = _formulas.two_best_edges(operations, strengths, substitutes)
        return Genotype(space=self.config.space, normal=cells["normal"], reduction=cells["reduction"])

    def history(self) -> list[dict[str, Any]]:
        """One entry a round with what was left at its beginning, and one for the end."""
        return self._history

    def summary(self) -> dict[str, Any]:
        """Numbers of epochs, accuracy of the rounds, and how clear the decisions were."""
        return {
            "single_path_epochs": self.plan.count("sample"),
            "mixed_epochs": len(self.plan) - self.plan.count("sample"),
            "mean_accuracies": [
                entry["mean_accuracy"] for entry in self._history if entry["mean_accuracy"] is not None
            ],
            "smallest_margin": min(self._margins, default=None),
            "median_margin": float(np.median(self._margins)) if self._margins else None,
        }

    _STATE = (
        "n_done", "_round", "_drawn", "_n_passes", "_order", "_pass", "_round_sum", "_likelihood", "_credits",
        "_abandoned_last", "_history", "_margins",
    )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Everything that changes, as JSON values."""
        return {name.lstrip("_"): getattr(self, name) for name in self._STATE}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a `state`; raises KeyError if a value is missing."""
        for name in self._STATE:
            setattr(self, name, state[name.lstrip("_")])


def _plan(config: SearchConfig, n_operations: int) -> list[str]:
    plan = ["warm_up"] * config.warmup_epochs
    for k in range(n_operations, 1, -1):
        plan += ["sample"] * (config.repeats * math.ceil(k / 2)) + ["mixed"] * config.mixed_epochs
    return plan
