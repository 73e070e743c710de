"""Protocols of identification: every probe is searched in a gallery, counted as ranks and in the open set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bnas_face.data.formats.template_files import TemplateRows, TemplateSearches
from bnas_face.data.images import FaceImages
from bnas_face.errors import FormatError, MetricError, ProtocolError
from bnas_face.evaluate import entries, templates
from bnas_face.evaluate.cards import SearchCard
from bnas_face.evaluate.template_pairs import sha256_arrays
from bnas_face.evaluate.templates import Pooling, TemplateSet
from bnas_face.metrics import identification, paired, uncertainty

if TYPE_CHECKING:
    from bnas_face.evaluate.embed import Embeddings

TASK = "identification"
CMC_RANKS = 1000
WILSON = "Wilson 95 %, probes taken as independent"
STAMP = (
    "right at rank k if fewer than k other subjects of the gallery score at least as high as the probe's own (scores "
    "nearer than 1e-6 are equal), the best template speaks for a subject; a mated probe that failed, or whose own "
    "templates all did, is a miss; FPIR is over the non-mated probes that were searched and never exceeds its target; "
    "TPIR counts own subjects at rank 1 and at or above the threshold"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchProtocol:
    """A card with its images, templates, gallery and probes.

    Attributes
    ----------
    card : SearchCard
    images : FaceImages
    templates : TemplateSet
    gallery, probe : ndarray of int32, shapes (n_gallery,) and (n_probes,)
        Positions of templates.
    gallery_subject, probe_subject : ndarray of int32, of the same shapes
        Numbers of people; −1 in the gallery: a distractor, a person of their own.
    is_mated : ndarray of bool, shape (n_probes,)
    """

    card: SearchCard
    images: FaceImages
    templates: TemplateSet
    gallery: NDArray[np.int32]
    gallery_subject: NDArray[np.int32]
    probe: NDArray[np.int32]
    probe_subject: NDArray[np.int32]
    is_mated: NDArray[np.bool_]

    @property
    def n_subjects(self) -> int:
        """People in the gallery."""
        is_known = self.gallery_subject >= 0
        return len(np.unique(self.gallery_subject[is_known])) + int(np.count_nonzero(~is_known))


def load(card: SearchCard) -> SearchProtocol:
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
        searches = TemplateSearches.load(templates.list_path(card.dataset, card.name))
    except FormatError as error:
        raise ProtocolError(str(error)) from None
    return assemble(card, images, rows, searches)


def assemble(card: SearchCard, images: FaceImages, rows: TemplateRows, searches: TemplateSearches) -> SearchProtocol:
    """Join a card, images, templates and searches; errors as in `load`."""
    templates.check_counts(
        card,
        ("gallery templates", len(searches.gallery), card.n_gallery),
        ("probes", len(searches.probe), card.n_probes),
    )
    is_mated = searches.is_mated
    if not is_mated.any():
        raise ProtocolError(f"No probe of protocol '{card.name}' has its subject in the gallery; nobody can be found.")
    found = templates.template_set(rows, images, np.concatenate((searches.gallery, searches.probe)))
    return SearchProtocol(
        card=card,
        images=images,
        templates=found,
        gallery=found.positions(searches.gallery),
        gallery_subject=searches.gallery_subject,
        probe=found.positions(searches.probe),
        probe_subject=searches.probe_subject,
        is_mated=is_mated,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class MeasuredSearches:
    """What became of every search, with the entry of ``results``.

    Attributes
    ----------
    model : str
    protocol : SearchProtocol
    rank : ndarray of int64, shape (n_probes,)
        Of the own subject; 0 where the probe is not mated, or its subject was missed.
    own, best_other : ndarray of float64, shape (n_probes,)
        Scores of the own subject and of the best other one; NaN where there is none.
    entry : dict
    """

    model: str
    protocol: SearchProtocol
    rank: NDArray[np.int64]
    own: NDArray[np.float64]
    best_other: NDArray[np.float64]
    entry: dict[str, Any]


def measure(model: str, protocol: SearchProtocol, embeddings: Embeddings, pooling: Pooling) -> MeasuredSearches:
    """Ranks, CMC and the open set.

    Parameters
    ----------
    model : str
    protocol : SearchProtocol
    embeddings : Embeddings
        Of ``protocol.templates.used``, in that order.
    pooling : Pooling

    Raises
    ------
    MetricError
        If no probe or no template of the gallery has an embedding; names model and protocol.
    """
    values, failed = templates.pool(protocol.templates, embeddings, pooling)
    rank, own, best_other = _searched(model, protocol, values, failed)
    mated, nonmated = protocol.is_mated, ~protocol.is_mated & ~failed[protocol.probe]
    n_subjects = protocol.n_subjects
    n_ranks = min(n_subjects, CMC_RANKS)
    open_set = [_open(rank[mated], own[mated], best_other[nonmated], t) for t in protocol.card.fpir_targets]
    entry = {
        "model": model,
        "protocol": protocol.card.name,
        "task": TASK,
        "convention": f"1:N {pooling.name}",
        "convention_stamp": f"{STAMP}; {pooling.stamp}",
        "n_gallery": len(protocol.gallery),
        "n_subjects": n_subjects,
        "n_mated": int(np.count_nonzero(mated)),
        "n_nonmated": int(np.count_nonzero(~mated)),
        "n_failed": int(np.count_nonzero(failed[protocol.probe])),
        "n_gallery_failed": int(np.count_nonzero(failed[protocol.gallery])),
        "pooling": pooling.name,
        "ranks": [_ranked(rank[mated], k, n_subjects) for k in protocol.card.ranks],
        "cmc": {"rank": list(range(1, n_ranks + 1)), "value": identification.cmc(rank[mated], n_ranks).tolist()},
        "open_set": open_set,
        "failures": [],
    }
    return MeasuredSearches(
        model=model, protocol=protocol, rank=rank, own=own, best_other=best_other, entry=entry
    )  # fmt: skip


def _searched(
    model: str, protocol: SearchProtocol, values: NDArray[np.float32], failed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Rank, own score and best other score of every probe, failed ones included."""
    gallery, probe = ~failed[protocol.gallery], np.flatnonzero(~failed[protocol.probe])
    if not gallery.any() or not len(probe):
        what = "gallery template" if len(probe) else "probe"
        raise MetricError(
            f"Model '{model}' on protocol '{protocol.card.name}': no {what} has an embedding. Check the model's "
            "weights and the images."
        )
    found = identification.search(
        values[protocol.probe[probe]],
        values[protocol.gallery[gallery]],
        protocol.probe_subject[probe],
        protocol.gallery_subject[gallery],
    )
    n_probes = len(protocol.probe)
    rank = np.full(n_probes, identification.MISSED, np.int64)
    own, best_other = np.full(n_probes, np.nan), np.full(n_probes, np.nan)
    rank[probe], own[probe], best_other[probe] = found.rank, found.own, found.best_other
    return rank, own, best_other


def _ranked(rank: NDArray[np.int64], k: int, n_subjects: int) -> dict[str, Any]:
    if n_subjects <= k:
        undefined = dict.fromkeys(("value", "ci_low", "ci_high", "ci_method"))
        return {"rank": k, **undefined, "reason": f"rank {k} of {n_subjects} subjects is always right"}
    n_right = identification.n_found(rank, k)
    low, high = uncertainty.wilson(n_right, len(rank))
    value = n_right / len(rank)
    return {"rank": k, "value": value, "ci_low": low, "ci_high": high, "ci_method": WILSON, "reason": None}


def _open(
    rank: NDArray[np.int64], own: NDArray[np.float64], nonmated: NDArray[np.float64], target: float
) -> dict[str, Any]:
    try:
        found = identification.tpir_at_fpir(rank, own, nonmated, target)
    except MetricError as error:
        keys = ("fpir_achieved", "n_false_positives", "tpir", "fnir", "threshold", "ci_low", "ci_high", "ci_method")
        return {"fpir_target": target, "refused": str(error), **dict.fromkeys(keys)}
    low, high = uncertainty.wilson(found.n_true_positives, len(rank))
    return {
        "fpir_target": target,
        "refused": None,
        "fpir_achieved": found.fpir_achieved,
        "n_false_positives": found.n_false_positives,
        "tpir": found.tpir,
        "fnir": found.fnir,
        "threshold": found.threshold,
        "ci_low": low,
        "ci_high": high,
        "ci_method": WILSON,
    }


def compare(first: MeasuredSearches, twin: MeasuredSearches, *, n_replicates: int, seed: int) -> dict[str, Any]:
    """One entry of ``comparisons``: rank 1 of a model against its full-precision twin on the same mated probes."""
    mated = first.protocol.is_mated
    subject = first.protocol.probe_subject[mated]
    right, other = first.rank[mated] == 1, twin.rank[mated] == 1
    replicates = paired.difference_replicates(right, other, subject, subject, n_replicates, seed)
    return {
        "protocol": first.protocol.card.name,
        "model": first.model,
        "twin": twin.model,
        "quantity": "rank-1 identification rate of mated probes",
        "difference": paired.gain(right, other),
        **entries.paired_interval(replicates),
        **entries.mcnemar(right, other, "probes", "on mated probes at rank 1"),
    }


def protocol_entry(protocol: SearchProtocol) -> dict[str, Any]:
    """One entry of ``protocols``."""
    card, found = protocol.card, protocol.templates
    lists = (found.number, found.image, found.template, found.medium, found.detector_score)
    searches = (protocol.gallery, protocol.gallery_subject, protocol.probe, protocol.probe_subject)
    return {
        "name": card.name,
        "title": card.title,
        "version": card.version,
        "task": TASK,
        "dataset": card.dataset,
        "n_gallery": card.n_gallery,
        "n_subjects": protocol.n_subjects,
        "n_probes": card.n_probes,
        "n_mated": int(np.count_nonzero(protocol.is_mated)),
        "n_nonmated": int(np.count_nonzero(~protocol.is_mated)),
        **{"n_pairs": 0, "n_genuine": 0, "n_impostor": 0, "n_folds": 0},
        "scheme": "1:N",
        "alignment": card.alignment,
        "source": card.source,
        "licence": card.licence,
        "lists_sha256": sha256_arrays(*lists, *searches),
        "images_hash": protocol.images.content_hash,
        "n_images_used": len(found.used),
        "metadata_columns": [],
    }
