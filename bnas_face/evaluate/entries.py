"""Parts that several entries of ``result.json`` share: plain values, undefined ones None with a reason beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.errors import MetricError
from bnas_face.evaluate.conventions import Verdicts
from bnas_face.metrics import distributions, folds, paired, slices, uncertainty
from bnas_face.metrics.rates import ErrorCurve, reduce_curve, tar_of
from bnas_face.metrics.uncertainty import Replicates

WILSON = "Wilson 95 %, pairs taken as independent"
CURVE_POINTS = 400
HISTOGRAM_BINS = 80
UNEQUAL = "folds of unequal size weighed alike"
Statistic = Callable[[Replicates], NDArray[np.float64]]


def accuracy(verdicts: Verdicts) -> dict[str, Any]:
    """Accuracy with both spreads, its Wilson interval and the thresholds."""
    measured = verdicts.accuracy
    weight = folds.weights(verdicts.fold)
    n = measured.n_pairs if weight is None else folds.effective_size(weight)
    low, high = uncertainty.wilson(measured.n_correct if weight is None else min(measured.value, 1.0) * n, n)
    one_fold = None if measured.std is not None else "one tested fold has no spread"
    return {
        "value": measured.value,
        "std": measured.std,
        "std_method": one_fold or "population standard deviation over folds (ddof 0)",
        "sem": measured.sem,
        "sem_method": one_fold or "sample standard deviation over folds (ddof 1) / sqrt(n_folds)",
        "ci_low": low,
        "ci_high": high,
        "ci_method": WILSON if weight is None else f"{WILSON}, {UNEQUAL}",
        "per_fold": measured.per_fold.tolist(),
        "thresholds": [None if np.isnan(threshold) else float(threshold) for threshold in verdicts.fold_threshold],
    }


def tar(curve: ErrorCurve, target: float, interval: Callable[[float], dict[str, Any]]) -> dict[str, Any]:
    """TAR at an FMR target with its interval, or why it is refused; `interval` is asked only where it is not."""
    try:
        found = tar_of(curve, target)
    except MetricError as error:
        keys = ("tar", "fmr_achieved", "fmr_upper", "n_false_matches", "threshold", "ci_low", "ci_high", "ci_method")
        return {"fmr_target": target, "refused": str(error), **dict.fromkeys(keys)}
    return {
        "fmr_target": target,
        "refused": None,
        "tar": found.tar,
        "fmr_achieved": found.fmr_achieved,
        "fmr_upper": found.fmr_upper,
        "n_false_matches": found.n_false_matches,
        "threshold": found.threshold,
        **interval(target),
    }


def drawn(curve: ErrorCurve, scores: NDArray[Any], genuine: NDArray[np.bool_]) -> dict[str, Any]:
    """What a report draws: the error curve at `CURVE_POINTS` observed thresholds at most, and a histogram."""
    keep = reduce_curve(curve, CURVE_POINTS)
    edges, of_genuine, of_impostors = distributions.histogram(scores, genuine, HISTOGRAM_BINS)
    points = {"threshold": curve.threshold[keep], "fmr": curve.fmr[keep], "fnmr": curve.fnmr[keep]}
    return {
        "curve": {name: values.tolist() for name, values in points.items()},
        "histogram": {"edges": edges.tolist(), "genuine": of_genuine.tolist(), "impostor": of_impostors.tolist()},
    }


def d_prime(scores: NDArray[Any], genuine: NDArray[np.bool_]) -> dict[str, Any]:
    """d′, or why it is undefined."""
    try:
        return {"value": distributions.d_prime(scores, genuine), "reason": None}
    except MetricError as error:
        return {"value": None, "reason": str(error)}


def mcnemar(right: NDArray[np.bool_], other: NDArray[np.bool_], cases: str, on: str = "") -> dict[str, Any]:
    """The test of a comparison: p, the discordant cases behind it, and the smallest gap it would have seen.

    `right` and `other` tell of the same cases whether model and twin decided them rightly; `cases` is what they are
    called ("pairs"), `on` what the test is about, where that needs saying.
    """
    n_only_model, n_only_twin = paired.discordant(right, other)
    return {
        "p_value": paired.mcnemar(right, other),
        "p_method": "exact McNemar, two-sided" + (f", {on}" if on else ""),
        "n_only_model_correct": n_only_model,
        "n_only_twin_correct": n_only_twin,
        "smallest_gap": paired.smallest_gap(n_only_model + n_only_twin, len(right)),
        "smallest_gap_method": f"exact McNemar, p < {paired.ALPHA:g} before correction, as many discordant {cases}",
    }


def rates(found: slices.Rates) -> dict[str, Any]:
    """Both error rates at one threshold, with counts and Wilson 95 % intervals."""
    fmr, fnmr = found.fmr_interval or (None, None), found.fnmr_interval or (None, None)
    return {
        "n_pairs": found.n_genuine + found.n_impostor,
        "n_genuine": found.n_genuine,
        "n_impostor": found.n_impostor,
        "fmr": found.fmr,
        "fmr_low": fmr[0],
        "fmr_high": fmr[1],
        "n_false_matches": found.n_false_matches,
        "fnmr": found.fnmr,
        "fnmr_low": fnmr[0],
        "fnmr_high": fnmr[1],
        "n_false_non_matches": found.n_false_non_matches,
    }


def interval(replicates: NDArray[np.float64]) -> dict[str, Any]:
    """Percentile interval of replicates, shape (n_replicates,)."""
    return _entry(uncertainty.percentile_interval(replicates))


def paired_interval(differences: NDArray[np.float64]) -> dict[str, Any]:
    """`interval` of the differences of two models, replicate by replicate."""
    return _paired(interval(differences))


def bootstrap_interval(drawn: Replicates, statistic: Statistic) -> dict[str, Any]:
    """Interval of a statistic of the subject-cluster bootstrap: ``lambda drawn: drawn.auc``."""
    alone = None if drawn.impostor is None else statistic(drawn.impostor)
    return _entry(uncertainty.percentile_interval(statistic(drawn), impostor=alone))


def paired_bootstrap_interval(first: Replicates, other: Replicates, statistic: Statistic) -> dict[str, Any]:
    """`bootstrap_interval` of the difference first − other; both must come from the same pairs and seed."""
    alone = None
    if first.impostor is not None and other.impostor is not None:
        alone = statistic(first.impostor) - statistic(other.impostor)
    return _paired(_entry(uncertainty.percentile_interval(statistic(first) - statistic(other), impostor=alone)))


def _entry(found: uncertainty.Interval) -> dict[str, Any]:
    return {"ci_low": found.low, "ci_high": found.high, "ci_method": found.method}


def _paired(entry: dict[str, Any]) -> dict[str, Any]:
    return entry | ({"ci_method": f"paired {entry['ci_method']}"} if entry["ci_low"] is not None else {})
