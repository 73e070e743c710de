"""The records that ``result.json`` is read into. Every later field is optional, so that old files still load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnas_face.genotype import Genotype
from bnas_face.report.detail import Band, Development, Overlap, SliceColumn, TarDifference, Transfer
from bnas_face.report.estimate import Estimate
from bnas_face.report.identification import Identification
from bnas_face.report.layers import Layer, Training

OBJECTS = "classification"
IDENTIFICATION = "identification"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What ``bench.json`` says of a model.

    Attributes
    ----------
    file_bytes : int
        Of the smallest file that an engine runs it from, its numbers unchanged.
    engine : str
        Title of its fastest engine at the smallest batch size with the fewest threads.
    threads, batch : int
    p50_ms : float or None
        Of that engine; None where nothing was measured with so few threads.
    """

    file_bytes: int
    engine: str
    threads: int
    batch: int
    p50_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model of the report. Bits, counts and bytes are None where unknown; `raw` is its whole JSON object.

    `genotype` is that of a searched network, with its origin; None for every other. `layers` is empty and `history`
    None where the result does not say what they cost and how the training went.
    """

    id: str
    weight_bits: int | None
    activation_bits: int | None
    n_parameters: int | None
    file_bytes: int | None
    twin: str | None
    raw: Mapping[str, Any]
    genotype: Genotype | None = None
    layers: tuple[Layer, ...] = ()
    history: Training | None = None
    measured: Measured | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol of the report; `raw` is its whole JSON object.

    `n_images` and `n_classes` belong to object recognition and are 0 for protocols of pairs.
    """

    name: str
    title: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_folds: int
    raw: Mapping[str, Any]
    n_images: int = 0
    n_classes: int = 0

    @property
    def is_of_objects(self) -> bool:
        """Whether objects are recognised, instead of faces verified."""
        return self.raw.get("task") == OBJECTS

    @property
    def is_of_gallery(self) -> bool:
        """Whether people are identified in a gallery (1:N)."""
        return self.raw.get("task") == IDENTIFICATION

    @property
    def is_of_pairs(self) -> bool:
        """Whether pairs of faces are verified (1:1)."""
        return not self.is_of_objects and not self.is_of_gallery

    @property
    def n(self) -> int:
        """Images, pairs or mated probes that decisions are made on."""
        if self.is_of_gallery:
            found = self.raw.get("n_mated")
            return found if isinstance(found, int) else 0
        return self.n_images if self.is_of_objects else self.n_pairs


@dataclass(frozen=True, kw_only=True)
class Tar:
    """TAR at one FMR target, or the reason why the data cannot support it (`refused`)."""

    fmr_target: float
    refused: str | None
    tar: Estimate
    fmr_achieved: float | None
    n_false_matches: int | None
    threshold: float | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Error rates over thresholds: three sequences of equal length, rates as fractions in [0, 1]."""

    threshold: tuple[float, ...]
    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of genuine and impostor scores in the bins between `edges` (one more than counts)."""

    edges: tuple[float, ...]
    genuine: tuple[float, ...]
    impostor: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A wrongly decided pair; images are paths relative to the report folder, or None."""

    fold: int
    reference_id: str
    probe_id: str
    is_genuine: bool
    score: float
    threshold: float
    reference_image: str | None
    probe_image: str | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One model on one protocol."""

    model: str
    protocol: str
    convention: str
    convention_stamp: str
    n_pairs: int
    n_genuine: int
    n_impostor: int
    n_failed: int
    accuracy: Estimate
    accuracy_std: float | None
    accuracy_sem: float | None
    thresholds: tuple[float, ...]
    auc: Estimate
    eer: Estimate
    eer_threshold: float | None
    tar_at_fmr: tuple[Tar, ...]
    curve: Curve | None
    histogram: Histogram | None
    failures: tuple[Failure, ...]
    top1: Estimate | None = None
    top5: Estimate | None = None
    n_images: int = 0
    slices: tuple[SliceColumn, ...] = ()
    band: Band | None = None
    without_overlap: Overlap | None = None
    overlap_unknown: str = ""
    development: Development | None = None
    n_images_failed: int | None = None
    failed_images: tuple[str, ...] = ()

    @property
    def is_of_objects(self) -> bool:
        """Whether objects are recognised, instead of faces verified."""
        return self.top1 is not None

    @property
    def n(self) -> int:
        """Decisions the accuracy is counted over."""
        return self.n_images if self.is_of_objects else self.n_pairs

    @property
    def unit(self) -> str:
        """What is decided about: images or pairs."""
        return "images" if self.is_of_objects else "pairs"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A model against its full-precision twin; `difference` is model − twin accuracy, a signed fraction.

    `p_holm` is the p-value corrected over all comparisons of the file, None where the file has no correction;
    `smallest_gap` is the smallest gap the test would have called significant, None where none or where unknown.
    `quantity` names what differs where that is neither accuracy nor top-1; empty otherwise.
    """

    protocol: str
    model: str
    twin: str
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    p_method: str
    smallest_gap: float | None = None
    quantity: str = ""
    transfer: Transfer | None = None
    auc_difference: Estimate | None = None
    tar_differences: tuple[TarDifference, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything ``result.json`` holds; `raw` is the whole JSON object."""

    created: str
    command: str
    models: tuple[Model, ...]
    protocols: tuple[Protocol, ...]
    outcomes: tuple[Outcome, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    raw: Mapping[str, Any]
    identifications: tuple[Identification, ...] = ()

    def outcome(self, protocol: str, model: str) -> Outcome | None:
        """The first outcome of a model on a protocol, or None where it was not evaluated."""
        found = (entry for entry in self.outcomes if (entry.protocol, entry.model) == (protocol, model))
        return next(found, None)

    def entries(self, protocol: Protocol) -> list[tuple[int, Outcome]]:
        """Outcomes of a protocol with the place of their model, in the order of the models."""
        found = ((place, self.outcome(protocol.name, model.id)) for place, model in enumerate(self.models))
        return [(place, outcome) for place, outcome in found if outcome is not None]

    def result_of(self, protocol: str, model: str) -> Outcome | Identification | None:
        """The first result of a model on a protocol, of whatever task; None where it was not evaluated."""
        found = (entry for entry in self.everything if (entry.protocol, entry.model) == (protocol, model))
        return next(found, None)

    @property
    def everything(self) -> list[Outcome | Identification]:
        """The results of all tasks."""
        return [*self.outcomes, *self.identifications]

    @property
    def places(self) -> dict[str, int]:
        """The place of every model, by its id."""
        return {model.id: place for place, model in enumerate(self.models)}
