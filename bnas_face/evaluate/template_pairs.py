"""1:1 protocols of templates (IJB): millions of pairs, no folds; the number is TAR at an FMR target."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from bnas_face.data.formats.template_files import TemplatePairs, TemplateRows
from bnas_face.data.images import FaceImages
from bnas_face.errors import FormatError, MetricError, ProtocolError
from bnas_face.evaluate import entries, templates
from bnas_face.evaluate.cards import TemplateCard
from bnas_face.evaluate.templates import Pooling, TemplateSet
from bnas_face.metrics import paired, rates, slices, tail

if TYPE_CHECKING:
    from bnas_face.evaluate.embed import Embeddings

LARGEST_RESAMPLED = 0.01
"""FMR targets above it have no interval: too many impostor pairs take part to weigh them a thousand times."""
MOST_COUNTED = 1 << 22
NO_FOLDS = "no folds: a threshold fitted on the pairs it is tested on would flatter"
TOO_MANY = "not computed: millions of pairs share people, and no bootstrap of all of them is done"


@dataclass(frozen=True, kw_only=True, eq=False)
class TemplateProtocol:
    """A card with its images, its templates and their pairs.

    Attributes
    ----------
    card : TemplateCard
    images : FaceImages
    templates : TemplateSet
    reference, probe : ndarray of int32, shape (n_pairs,)
        Positions of templates.
    is_genuine : ndarray of bool, shape (n_pairs,)
    """

    card: TemplateCard
    images: FaceImages
    templates: TemplateSet
    reference: NDArray[np.int32]
    probe: NDArray[np.int32]
    is_genuine: NDArray[np.bool_]

    @cached_property
    def subject(self) -> NDArray[np.int32]:
        """Number of each template's person, as far as the genuine pairs tell who is the same; shape (n_templates,)."""
        n = len(self.templates.number)
        ends = self.reference[self.is_genuine], self.probe[self.is_genuine]
        links = sparse.coo_array((np.ones(len(ends[0]), np.bool_), ends), shape=(n, n))
        return np.asarray(csgraph.connected_components(links, directed=False)[1], np.int32)

    @cached_property
    def lists_hash(self) -> str:
        """SHA-256 of templates and pairs as used."""
        return sha256_arrays(
            self.templates.number, self.templates.image, self.templates.template, self.templates.medium,
            self.templates.detector_score, self.reference, self.probe, self.is_genuine,
        )  # fmt: skip


def sha256_arrays(*arrays: NDArray[Any]) -> str:
    """SHA-256 over types, lengths and bytes of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {len(array)} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def load(card: TemplateCard) -> TemplateProtocol:
    """Open the images and lists of a card.

    Raises
    ------
    DatasetError
        If the images are not on this machine.
    ProtocolError
        If the lists are absent, damaged, or hold other counts than the card promises.
    """
    from bnas_face.data import datasets

    images = datasets.load(card.dataset)
    rows = templates.load_rows(card.dataset)
    try:
        pairs = TemplatePairs.load(templates.list_path(card.dataset, card.name))
    except FormatError as error:
        raise ProtocolError(str(error)) from None
    return assemble(card, images, rows, pairs)


def assemble(card: TemplateCard, images: FaceImages, rows: TemplateRows, pairs: TemplatePairs) -> TemplateProtocol:
    """Join a card, images, templates and pairs; errors as in `load`."""
    needed = np.concatenate([_different(side) for side in (pairs.reference, pairs.probe)])
    found = templates.template_set(rows, images, needed)
    n_genuine = int(np.count_nonzero(pairs.is_genuine))
    templates.check_counts(
        card,
        ("genuine pairs", n_genuine, card.n_genuine),
        ("impostor pairs", len(pairs.is_genuine) - n_genuine, card.n_impostor),
        ("templates", len(found.number), card.n_templates),
    )
    return TemplateProtocol(
        card=card,
        images=images,
        templates=found,
        reference=found.positions(pairs.reference),
        probe=found.positions(pairs.probe),
        is_genuine=pairs.is_genuine,
    )


def _different(numbers: NDArray[np.int32]) -> NDArray[np.int32]:
    """The different numbers, ascending; millions of small ones are counted, which is faster than a sort."""
    if len(numbers) and int(numbers.max()) < MOST_COUNTED:
        return np.flatnonzero(np.bincount(numbers)).astype(np.int32)
    return np.unique(numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredTemplates:
    """Scores of one model, with its entry of ``results``.

    Attributes
    ----------
    model : str
    protocol : TemplateProtocol
    failed : ndarray of bool, shape (n_templates,)
    scores : ndarray of float32, shape (n_pairs,)
        NaN where either template failed.
    threshold : float
        At the card's `decision_fmr`.
    entry : dict
    """

    model: str
    protocol: TemplateProtocol
    failed: NDArray[np.bool_]
    scores: NDArray[np.float32]
    threshold: float
    entry: dict[str, Any]

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """Whether each genuine pair matches, shape (n_genuine,); a failed one does not."""
        return _matches(self.scores[self.protocol.is_genuine], self.threshold)


def _matches(scores: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Compared in float64: in float32 a threshold just above the largest score would be that score."""
    return np.asarray(scores >= np.float64(threshold))


def measure(
    model: str, protocol: TemplateProtocol, embeddings: Embeddings, pooling: Pooling, *, n_replicates: int, seed: int
) -> MeasuredTemplates:
    """Every number of one model.

    Parameters
    ----------
    model : str
    protocol : TemplateProtocol
    embeddings : Embeddings
        Of ``protocol.templates.used``, in that order.
    pooling : Pooling
    n_replicates, seed : int
        Of the subject-cluster bootstrap of TAR.

    Raises
    ------
    MetricError
        If no pair of a class could be compared; names model and protocol.
    """
    values, failed = templates.pool(protocol.templates, embeddings, pooling)
    scores = templates.pair_scores(values, failed, protocol.reference, protocol.probe)
    completed = np.flatnonzero(~np.isnan(scores)).astype(np.int32)
    own, genuine = scores[completed], protocol.is_genuine[completed]
    try:
        curve = rates.error_curve(own, genuine)
    except MetricError as error:
        raise MetricError(f"Model '{model}' on protocol '{protocol.card.name}': {error}") from None
    decision = rates.tar_of(curve, max(protocol.card.decision_fmr, 1 / curve.n_impostor))
    entry = {
        "model": model,
        "protocol": protocol.card.name,
        "convention": f"templates {pooling.name}",
        "convention_stamp": f"{pooling.stamp}; a pair with a failed template has no score: rates are over completed "
        "comparisons, FMR never exceeds its target, nothing is interpolated",
        "n_pairs": len(scores),
        "n_genuine": protocol.card.n_genuine,
        "n_impostor": protocol.card.n_impostor,
        "n_failed": len(scores) - len(completed),
        "n_templates": len(failed),
        "n_templates_failed": int(failed.sum()),
        "pooling": pooling.name,
        "accuracy": _no_accuracy(),
        "auc": {"value": rates.auc_of(curve), "ci_low": None, "ci_high": None, "ci_method": TOO_MANY},
        "eer": _eer(curve),
        "tar_at_fmr": _tars(curve, protocol, own, genuine, completed, n_replicates, seed),
        "d_prime": entries.d_prime(own, genuine),
        **entries.drawn(curve, own, genuine),
        "decision": {"fmr_target": decision.fmr_target, "threshold": decision.threshold, "tar": decision.tar},
        "failures": [],
    }
    return MeasuredTemplates(
        model=model, protocol=protocol, failed=failed, scores=scores, threshold=decision.threshold, entry=entry
    )


def _no_accuracy() -> dict[str, Any]:
    undefined = dict.fromkeys(("value", "std", "sem", "ci_low", "ci_high"))
    methods = dict.fromkeys(("std_method", "sem_method", "ci_method", "reason"), NO_FOLDS)
    return {**undefined, **methods, "per_fold": [], "thresholds": []}


def _eer(curve: rates.ErrorCurve) -> dict[str, Any]:
    found = rates.eer_of(curve)
    bounds = {"value": found.value, "low": found.low, "high": found.high, "threshold": found.threshold}
    return {**bounds, "ci_low": None, "ci_high": None, "ci_method": TOO_MANY}


def _tars(
    curve: rates.ErrorCurve,
    protocol: TemplateProtocol,
    scores: NDArray[np.float32],
    genuine: NDArray[np.bool_],
    completed: NDArray[np.int32],
    n_replicates: int,
    seed: int,
) -> list[dict[str, Any]]:
    """TAR at every target of the card, with intervals from a bootstrap of subjects where the target is small."""
    targets = protocol.card.fmr_targets
    resampled = tuple(t for t in targets if 1 / curve.n_impostor <= t <= LARGEST_RESAMPLED)
    intervals: dict[float, dict[str, Any]] = {}
    if resampled:
        reference, probe = (protocol.subject[side[completed]] for side in (protocol.reference, protocol.probe))
        kept = tail.tail_of(scores, genuine, reference, probe, max(resampled))
        replicates = tail.tar_replicates(kept, resampled, n_replicates, seed)
        intervals = {t: entries.interval(replicates[:, column]) for column, t in enumerate(resampled)}
    none = {"ci_low": None, "ci_high": None, "ci_method": TOO_MANY}
    return [entries.tar(curve, target, lambda t: intervals.get(t, none)) for target in targets]


def compare(first: MeasuredTemplates, twin: MeasuredTemplates, *, n_replicates: int, seed: int) -> dict[str, Any]:
    """One entry of ``comparisons``: genuine pairs matched by a model against its twin, each at its own threshold."""
    protocol = first.protocol
    subject = protocol.subject[protocol.reference[protocol.is_genuine]]
    right, other = first.is_found, twin.is_found
    replicates = paired.difference_replicates(right, other, subject, subject, n_replicates, seed)
    return {
        "protocol": protocol.card.name,
        "model": first.model,
        "twin": twin.model,
        "quantity": f"TAR at FMR {first.entry['decision']['fmr_target']:g}, failed pairs as misses",
        "difference": paired.gain(right, other),
        **entries.paired_interval(replicates),
        **entries.mcnemar(right, other, "pairs", "on genuine pairs, each model at its own threshold"),
        "transfer": transfer(first, twin),
    }


def transfer(first: MeasuredTemplates, twin: MeasuredTemplates) -> dict[str, Any]:
    """The twin's threshold applied unchanged to the model, as in `breakdown.transfer`."""
    completed = ~np.isnan(first.scores)
    scores, genuine = first.scores[completed], first.protocol.is_genuine[completed]
    return {
        "threshold": twin.threshold,
        "threshold_method": f"the lowest at which FMR does not exceed {twin.entry['decision']['fmr_target']:g}",
        "own_threshold": first.threshold,
        "own": entries.rates(slices.rates_of(_matches(scores, first.threshold), genuine)),
        "moved": entries.rates(slices.rates_of(_matches(scores, twin.threshold), genuine)),
    }


def protocol_entry(protocol: TemplateProtocol) -> dict[str, Any]:
    """One entry of ``protocols``."""
    card = protocol.card
    return {
        "name": card.name,
        "title": card.title,
        "version": card.version,
        "dataset": card.dataset,
        "n_templates": card.n_templates,
        "n_pairs": card.n_pairs,
        "n_genuine": card.n_genuine,
        "n_impostor": card.n_impostor,
        "n_folds": 0,
        "scheme": "one set of template pairs",
        "alignment": card.alignment,
        "source": card.source,
        "licence": card.licence,
        "pairs_sha256": protocol.lists_hash,
        "original_pairs_sha256": None,
        "images_hash": protocol.images.content_hash,
        "n_images_used": len(protocol.templates.used),
        "metadata_columns": [],
    }
