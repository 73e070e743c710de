"""Slow twins of the metrics, by definition and by counting, in plain Python."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def thresholds(scores):
    """Every threshold that changes a decision: the observed scores, and one that nobody reaches."""
    return [*sorted(set(scores)), float("inf")]


def fmr(scores, genuine, threshold):
    impostors = [s for s, g in zip(scores, genuine, strict=True) if not g]
    return Fraction(sum(s >= threshold for s in impostors), len(impostors))


def fnmr(scores, genuine, threshold):
    own = [s for s, g in zip(scores, genuine, strict=True) if g]
    return Fraction(sum(s < threshold for s in own), len(own))


def auc(scores, genuine):
    wins, n = Fraction(0), 0
    for a, a_genuine in zip(scores, genuine, strict=True):
        for b, b_genuine in zip(scores, genuine, strict=True):
            if a_genuine and not b_genuine:
                n += 1
                wins += Fraction(1) if a > b else Fraction(1, 2) if a == b else 0
    return wins / n


def eer(scores, genuine):
    """(low, high) as in Maio et al. 2002."""
    at = thresholds(scores)
    t1 = max(t for t in at if fnmr(scores, genuine, t) <= fmr(scores, genuine, t))
    t2 = min(t for t in at if fnmr(scores, genuine, t) >= fmr(scores, genuine, t))
    bounds = [sorted((fmr(scores, genuine, t), fnmr(scores, genuine, t))) for t in (t1, t2)]
    return min(bounds, key=sum)


def tar_at_fmr(scores, genuine, target):
    """(tar, achieved fmr) at the lowest threshold whose FMR does not exceed the target."""
    t = min(t for t in thresholds(scores) if float(fmr(scores, genuine, t)) <= target)  # 1 of 3 reaches the float 1/3
    return 1 - fnmr(scores, genuine, t), fmr(scores, genuine, t)


def n_errors(scores, genuine, threshold):
    return sum((s >= threshold) != bool(g) for s, g in zip(scores, genuine, strict=True))


def insightface_accuracies(scores, genuine, n_folds=10):
    """The reference's per-fold accuracies and thresholds: try every t on nine folds, apply the first best."""
    distances = [np.float32(2 - 2 * s) for s in scores]
    n = len(scores)
    sizes = [n // n_folds + (k < n % n_folds) for k in range(n_folds)]
    starts = [sum(sizes[:k]) for k in range(n_folds)]
    grid = [i * 0.01 for i in range(400)]
    accuracies, chosen = [], []
    for start, size in zip(starts, sizes, strict=True):
        test = range(start, start + size)
        train = [i for i in range(n) if i not in test]
        best, best_t = -1, None
        for t in grid:
            right = sum(bool(distances[i] < np.float32(t)) == bool(genuine[i]) for i in train)
            if right > best:
                best, best_t = right, t
        chosen.append(best_t)
        test_right = sum(bool(distances[i] < np.float32(best_t)) == bool(genuine[i]) for i in test)
        accuracies.append(test_right / size)
    return accuracies, chosen


def facex_accuracies(scores, genuine, n_folds=10, steps=1000):
    """FaceX-Zoo's per-fold accuracies: the first best of equal steps on nine folds; equal scores are always wrong."""
    single = [np.float32(s) for s in scores]
    n = len(scores)
    sizes = [n // n_folds + (k < n % n_folds) for k in range(n_folds)]
    starts = [sum(sizes[:k]) for k in range(n_folds)]
    accuracies = []
    for start, size in zip(starts, sizes, strict=True):
        test = range(start, start + size)
        train = [i for i in range(n) if i not in test]
        low, high = min(single[i] for i in train), max(single[i] for i in train)
        step = (high - low) / steps
        own = [float(single[i]) for i in train if genuine[i]]
        others = [float(single[i]) for i in train if not genuine[i]]
        best, best_t = -np.inf, None
        for k in range(1, steps + 1):
            t = float(low) + float(step) * k
            gain = sum(s > t for s in own) / len(own) - sum(s > t for s in others) / len(others)
            if gain > best:
                best, best_t = gain, t
        right = sum(float(single[i]) > best_t if genuine[i] else float(single[i]) < best_t for i in test)
        accuracies.append(right / size)
    return accuracies
