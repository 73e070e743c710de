"""Time all metrics of 6,000 pairs, and 1,000 bootstrap replicates; prints one JSON object as its last line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from bnas_face.metrics import distributions, folds, rates, thresholds, uncertainty

N_PAIRS, N_SUBJECTS, TARGETS = 6000, 4281, (0.1, 0.01, 0.001)


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Shortest wall time in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Scores like those of LFW: as many pairs, folds and people."""
    rng = np.random.default_rng(0)
    genuine = np.tile(np.arange(600) < 300, 10)
    scores, fold = rng.normal(genuine * 0.55, 0.12).clip(-1, 1), np.arange(N_PAIRS) // 600
    reference = rng.integers(0, N_SUBJECTS, N_PAIRS)
    probe = np.where(genuine, reference, (reference + rng.integers(1, N_SUBJECTS, N_PAIRS)) % N_SUBJECTS)

    def metrics() -> None:
        for rule in (thresholds.STRICT, thresholds.INSIGHTFACE):
            decisions = folds.cross_validated(scores, genuine, fold, rule)
            folds.accuracy(decisions.is_match == genuine, fold)
        curve = rates.error_curve(scores, genuine)
        rates.eer_of(curve)
        rates.reduce_curve(curve)
        rates.auc(scores, genuine)
        for target in TARGETS:
            rates.tar_of(curve, target)
        distributions.d_prime(scores, genuine)
        distributions.histogram(scores, genuine)

    print(
        json.dumps(
            {
                "n_pairs": N_PAIRS,
                "all_metrics_ms": round(1e3 * best_of(20, metrics), 2),
                "bootstrap_1000_s": round(
                    best_of(3, lambda: uncertainty.bootstrap(scores, genuine, reference, probe, TARGETS)), 3
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
