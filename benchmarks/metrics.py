"""Time the metrics: 6,000 pairs (LFW), 15.6 million pairs (IJB-C), and 1,000 bootstrap replicates of 6,000 pairs.

Run: ``python benchmarks/metrics.py``. Medians of several runs, except for the 15.6 million pairs, which run once in a
process of their own for the peak of memory (resident set, the scores themselves and Python with its libraries included;
`pairs_15m_extra_mb` is what the metrics took on top of the scores). Two threads at most; the last line is one JSON
object.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bnas_face import machine
from bnas_face.metrics import distributions, folds, rates, thresholds, uncertainty

N_PAIRS, N_SUBJECTS, TARGETS = 6000, 4281, (0.1, 0.01, 0.001)
N_GENUINE_IJBC, N_IMPOSTOR_IJBC = 19_557, 15_638_932
TARGETS_IJBC = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def median_s(repeats: int, work: Callable[[], object]) -> float:
    """Median wall time in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def of_curve(scores: Any, genuine: Any, targets: tuple[float, ...]) -> None:
    """Everything that is read off one list of pairs."""
    curve = rates.error_curve(scores, genuine)
    rates.eer_of(curve)
    rates.reduce_curve(curve)
    rates.auc_of(curve)
    for target in targets:
        rates.tar_of(curve, target)
    distributions.d_prime(scores, genuine)
    distributions.histogram(scores, genuine)


def peak_mb() -> float:
    """Largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ijbc(answer: Any) -> None:
    """As many pairs as IJB-C has, in a process of its own."""
    rng = np.random.default_rng(0)
    scores = np.empty(N_GENUINE_IJBC + N_IMPOSTOR_IJBC, np.float32)
    scores[:N_GENUINE_IJBC] = rng.normal(0.55, 0.15, N_GENUINE_IJBC)
    scores[N_GENUINE_IJBC:] = rng.standard_normal(N_IMPOSTOR_IJBC, np.float32) * np.float32(0.1)
    genuine = np.arange(len(scores)) < N_GENUINE_IJBC
    before = peak_mb()
    seconds = median_s(1, lambda: of_curve(scores, genuine, TARGETS_IJBC))
    answer.put((seconds, peak_mb(), before))


def main() -> None:
    """Scores like those of LFW: as many pairs, folds and people; then as many pairs as IJB-C."""
    rng = np.random.default_rng(0)
    genuine = np.tile(np.arange(600) < 300, 10)
    scores, fold = rng.normal(genuine * 0.55, 0.12).clip(-1, 1), np.arange(N_PAIRS) // 600
    reference = rng.integers(0, N_SUBJECTS, N_PAIRS)
    probe = np.where(genuine, reference, (reference + rng.integers(1, N_SUBJECTS, N_PAIRS)) % N_SUBJECTS)

    def metrics() -> None:
        decisions = folds.cross_validated(scores, genuine, fold, thresholds.STRICT)
        folds.accuracy(decisions.is_match == genuine, fold)
        of_curve(scores, genuine, TARGETS)

    def bootstrap() -> None:
        uncertainty.bootstrap(scores, genuine, reference, probe, TARGETS)

    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=ijbc, args=(answer,))
    process.start()
    seconds, peak, before = answer.get()
    process.join()
    found = {
        "pairs_6000_ms": round(1e3 * median_s(21, metrics), 2),
        "pairs_15m_s": round(seconds, 2),
        "pairs_15m_peak_mb": round(peak),
        "pairs_15m_extra_mb": round(peak - before),
        "bootstrap_1000_s": round(median_s(3, bootstrap), 3),
        "cpu": machine.cpu_name(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
