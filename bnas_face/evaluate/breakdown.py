"""What lies below the averages: slices by metadata, the twin's threshold applied unchanged, known people left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bnas_face.data import overlap, selection
from bnas_face.errors import BnasFaceError, MetricError
from bnas_face.evaluate import entries
from bnas_face.evaluate.conventions import Convention, decide
from bnas_face.metrics import rates, slices, uncertainty

if TYPE_CHECKING:
    from bnas_face.evaluate.protocol import Protocol
    from bnas_face.evaluate.results import Measured

MIDDLE = "the median of the fold thresholds (of an even number, the lower middle)"
ONE = "the threshold fitted on the development pairs"
RENDERED = "demo"
LEFT_OUT = (
    "pairs that show a person of the training set are left out, thresholds fitted again; people by normalised name"
)


def global_threshold(fold_threshold: ArrayLike) -> float | None:
    """One threshold for all pairs: the median of the folds' (of an even number, the lower middle: an observed one)."""
    values = np.asarray(fold_threshold, np.float64)
    found = np.sort(values[np.isfinite(values)])
    return float(found[(len(found) - 1) // 2]) if len(found) else None


def by_slice(
    protocol: Protocol,
    scores: NDArray[np.float64],
    tested: NDArray[np.int64],
    fold_threshold: NDArray[np.float64],
    convention: Convention,
) -> list[dict[str, Any]]:
    """Entries of ``slices``: FMR and FNMR of the groups of every metadata column at one global threshold.

    Parameters
    ----------
    protocol : Protocol
    scores : ndarray of float64, shape (n_pairs,)
        NaN where a pair was not compared; such pairs are counted in ``n_failed`` and are in no rate.
    tested : ndarray of int64, shape (n_tested,)
    fold_threshold : ndarray of float64, shape (n_folds,)
    convention : Convention
    """
    threshold = global_threshold(fold_threshold)
    if threshold is None:
        return []
    genuine, values = protocol.is_genuine[tested], scores[tested]
    completed = ~np.isnan(values)
    match = _matches(convention, values, threshold)
    found = []
    for column, column_values in _columns(protocol).items():
        groups = slices.groups_of(column_values[tested])
        compared = slices.Groups(labels=groups.labels, index=groups.index[completed], note=groups.note)
        rows = slices.by_group(match[completed], genuine[completed], compared)
        failed = np.bincount(groups.index[~completed], minlength=len(groups.labels))
        found.append(
            {
                "column": column,
                "threshold": threshold,
                "threshold_method": MIDDLE if len(fold_threshold) > 1 else ONE,
                "note": groups.note,
                "groups": [
                    {"label": label, **entries.rates(row), "n_failed": int(n_failed), "small": _small(row)}
                    for label, row, n_failed in zip(groups.labels, rows, failed, strict=True)
                ],
            }
        )
    return found


def _columns(protocol: Protocol) -> dict[str, NDArray[Any]]:
    """Every metadata column, and ``X_difference`` = |probe_X − reference_X| of two columns of numbers: the age gap.

    A column of that name that the protocol has itself stays as it is.
    """
    found = {column: protocol.pairs[column].to_numpy() for column in protocol.metadata_columns}
    for column, values in list(found.items()):
        other = found.get(column.replace("reference_", "probe_", 1))
        if (
            column.startswith("reference_")
            and other is not None
            and {values.dtype.kind, other.dtype.kind} <= set("iuf")
        ):
            difference = np.abs(other.astype(np.float64) - values.astype(np.float64))  # unsigned numbers would wrap
            found.setdefault(f"{column.removeprefix('reference_')}_difference", difference)
    return found


def _small(found: slices.Rates) -> str | None:
    few = [
        f"{n} {kind} pair{'s' * (n != 1)}"
        for n, kind in ((found.n_genuine, "genuine"), (found.n_impostor, "impostor"))
        if n < slices.LEAST_PAIRS
    ]
    return f"{' and '.join(few)}, fewer than {slices.LEAST_PAIRS}" if few else None


def _matches(convention: Convention, scores: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    """Decisions at one threshold; False where there is no score."""
    completed = ~np.isnan(scores)
    match = np.zeros(len(scores), np.bool_)
    match[completed] = convention.rule.matches(scores[completed], np.full(int(completed.sum()), threshold))
    return match


def transfer(first: Measured, twin: Measured) -> dict[str, Any] | None:
    """The twin's threshold applied unchanged to the model: what a user gets who swaps the network and nothing else.

    Parameters
    ----------
    first, twin : Measured
        Of the same protocol and convention.

    Returns
    -------
    dict or None
        Entry ``transfer`` of ``comparisons``; None where either has no threshold.
    """
    own, moved = (global_threshold(one.verdicts.fold_threshold) for one in (first, twin))
    if own is None or moved is None:
        return None
    tested = first.verdicts.tested
    scores, genuine = first.scores[tested], first.protocol.is_genuine[tested]
    completed = ~np.isnan(scores)
    found = {}
    for name, threshold in (("own", own), ("moved", moved)):
        match = _matches(first.convention, scores, threshold)
        found[name] = entries.rates(slices.rates_of(match[completed], genuine[completed]))
    several = len(first.verdicts.fold_threshold) > 1
    return {"threshold": moved, "threshold_method": MIDDLE if several else ONE, "own_threshold": own, **found}


@dataclass(frozen=True, kw_only=True)
class Development:
    """A threshold fitted on all compared pairs of another protocol, once per model.

    `n_tested` tells how many pairs of that protocol were left out of it because they are tested.
    """

    protocol: str
    threshold: float
    n_pairs: int
    n_tested: int = 0

    @property
    def method(self) -> str:
        """How the threshold was made."""
        fitted = f"fitted on all {self.n_pairs:,} compared pairs of {self.protocol}"
        return fitted + (f" that are not tested here ({self.n_tested:,} are)" if self.n_tested else "")


def fit_threshold(protocol: Protocol, scores: NDArray[np.float64], convention: Convention) -> Development:
    """Fit one threshold on the pairs of a development protocol; `scores` has shape (n_pairs,), NaN: not compared."""
    completed = ~np.isnan(scores)
    try:
        threshold = convention.rule.fit(scores[completed], protocol.is_genuine[completed])
    except MetricError as error:
        raise MetricError(f"No threshold can be fitted on protocol '{protocol.card.name}': {error}") from None
    return Development(
        protocol=protocol.card.name,
        threshold=threshold,
        n_pairs=int(completed.sum()),
        n_tested=protocol.card.n_pairs - len(scores),
    )


def at_development_threshold(
    protocol: Protocol,
    scores: NDArray[np.float64],
    tested: NDArray[np.int64],
    development: Development | None,
    convention: Convention,
) -> dict[str, Any] | None:
    """Entry ``development``: accuracy, FMR and FNMR of the tested pairs at a threshold that saw none of them.

    A pair that was not compared counts as a wrong decision in the accuracy and is in no rate.
    """
    if development is None:
        return None
    values, genuine = scores[tested], protocol.is_genuine[tested]
    completed = ~np.isnan(values)
    match = _matches(convention, values, development.threshold)
    right = int(np.count_nonzero(completed & (match == genuine)))
    low, high = uncertainty.wilson(right, len(tested))
    return {
        "protocol": development.protocol,
        "threshold": development.threshold,
        "threshold_method": development.method,
        "accuracy": {"value": right / len(tested), "ci_low": low, "ci_high": high, "ci_method": entries.WILSON},
        **entries.rates(slices.rates_of(match[completed], genuine[completed])),
    }


@dataclass(frozen=True, kw_only=True)
class People:
    """The people a network was trained on, by normalised name; empty with a `reason` where that is not known.

    `n_same` tells how many pairs of names were given as one person, see `people_of`; `strangers` says why nobody of any
    protocol can be among them, where that is certain.
    """

    names: frozenset[str]
    reason: str | None = None
    n_same: int = 0
    strangers: str | None = None


def people_of(training: Mapping[str, Any] | None, same: Collection[tuple[str, str]] = ()) -> People:
    """Whom a run was trained on, from the ``training`` of its entry and the dataset on this machine.

    `same` holds pairs of names of one person; whoever has one of them counts as having both.
    """
    if not training:
        return People(names=frozenset(), reason="what the model was trained on is not known")
    spec = str(training.get("dataset", ""))
    if spec.partition(":")[0] == RENDERED:
        return People(names=frozenset(), strangers="people rendered for training are in no protocol")
    try:
        images = selection.select(
            spec,
            exclude_names_of=tuple(training.get("exclude_names_of") or ()),
            min_images=int(training.get("min_images") or 1),
        )
    except BnasFaceError as error:
        return People(names=frozenset(), reason=f"training set '{spec}' cannot be looked up: {error}")
    if not overlap.has_names(images):
        return People(names=frozenset(), reason=f"training set '{spec}' has no names of people")
    names = {overlap.normalised_name(name) for name in images.identity_names}
    for pair in same:
        both = {overlap.normalised_name(name) for name in pair} - {""}
        names |= both if names & both else set()
    return People(names=frozenset(names - {""}), n_same=len(same))


def people_of_all(
    trainings: Iterable[Mapping[str, Any] | None], same: Collection[tuple[str, str]] = ()
) -> list[People]:
    """`people_of` several models; a training set that they share, as twins do, is looked up once."""
    known: dict[str, People] = {}
    found = []
    for training in trainings:
        key = repr([(training or {}).get(name) for name in ("dataset", "exclude_names_of", "min_images")])
        if key not in known:
            known[key] = people_of(training, same)
        found.append(known[key])
    return found


def without_overlap(
    protocol: Protocol, scores: NDArray[np.float64], people: People, convention: Convention
) -> dict[str, Any]:
    """Accuracy and AUC on the pairs that show nobody of the training set.

    Parameters
    ----------
    protocol : Protocol
    scores : ndarray of float64, shape (n_pairs,)
    people : People
    convention : Convention

    Returns
    -------
    dict
        ``without_overlap``, None where it is not known who was seen in training; ``overlap_unknown`` says why then.
    """
    reason = people.reason
    if people.strangers is not None:
        return _overlap(0, len(scores), 0, people.strangers, LEFT_OUT)
    if reason is None and not overlap.has_names(protocol.images):
        reason = f"protocol '{protocol.card.name}' has no names of people"
    if reason is not None:
        return {"without_overlap": None, "overlap_unknown": reason}
    known = np.array([overlap.normalised_name(name) in people.names for name in protocol.images.identity_names])
    labels = protocol.images.labels
    shown = (labels >= 0) & known[labels]
    kept = np.flatnonzero(~(shown[protocol.reference] | shown[protocol.probe]))
    n_people = len(np.unique(labels[protocol.used][shown[protocol.used]]))
    nobody = None if n_people else "nobody of the training set is in the protocol"
    audited = f" and by an audit of {people.n_same:,} pairs of names" if people.n_same else ""
    found = _overlap(n_people, len(kept), len(scores) - len(kept), nobody, LEFT_OUT + audited)
    if n_people:
        found["without_overlap"] |= _measured_again(protocol, scores, kept, convention)
    return found


def _overlap(n_people: int, n_pairs: int, n_left_out: int, reason: str | None, method: str) -> dict[str, Any]:
    found = {"n_people": n_people, "n_pairs": n_pairs, "n_left_out": n_left_out, "accuracy": None, "auc": None}
    return {"without_overlap": {**found, "reason": reason, "method": method}, "overlap_unknown": None}


def _measured_again(
    protocol: Protocol, scores: NDArray[np.float64], kept: NDArray[np.int64], convention: Convention
) -> dict[str, Any]:
    genuine, fold = protocol.is_genuine[kept], protocol.fold[kept]
    try:
        verdicts = decide(convention, protocol.card.scheme, scores[kept], genuine, fold)
        compared = verdicts.tested[verdicts.completed]
        auc = rates.auc(scores[kept][compared], genuine[compared])
    except MetricError as error:
        return {"reason": f"too little is left: {error}"}
    return {"accuracy": entries.accuracy(verdicts), "auc": auc, "n_pairs": len(verdicts.tested)}
