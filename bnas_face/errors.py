"""Errors a user can cause. Each message says what was found, what was expected and what to do."""

from __future__ import annotations


class BnasFaceError(Exception):
    """Base of all errors a user can cause; the CLI prints the message and exits with `exit_code`."""

    exit_code = 1


class UnknownNameError(BnasFaceError):
    """A name that is not in its table; the message suggests the nearest known one."""

    exit_code = 2


class ConfigError(BnasFaceError):
    """Settings that contradict each other or leave their range."""

    exit_code = 2


class DatasetError(BnasFaceError):
    """A dataset that is absent, incomplete, of the wrong layout or too small."""


class FormatError(DatasetError):
    """A damaged or hostile file; the message names the file and the position."""


class BrokenImageError(DatasetError):
    """An image that cannot be decoded; `image_id` names it."""

    def __init__(self, image_id: str, reason: str) -> None:
        super().__init__(f"Image '{image_id}' cannot be decoded: {reason}.")
        self.image_id = image_id


class ProtocolError(BnasFaceError):
    """A protocol card or pair list that does not hold what it promises."""


class CheckpointError(BnasFaceError):
    """A run folder, weights file or training state that cannot be used."""


class ArtifactError(CheckpointError):
    """A packed model (``.bnn``) that is damaged, hostile or of another version."""


class PackingError(BnasFaceError):
    """A network that the packed engine cannot run; the message names the layer."""


class MetricError(BnasFaceError):
    """Scores for which a metric is undefined (one class only, not finite, wrong shape)."""


class TooFewImpostorsError(MetricError):
    """An FMR target below 1 / n_impostor: the data cannot support it."""


class TrainingError(BnasFaceError):
    """Training that cannot go on (loss not finite, head and data disagree)."""


class MissingDependencyError(BnasFaceError):
    """An optional package that is not installed; the message says how to install it."""


class ReportError(BnasFaceError):
    """A result folder the report cannot read."""
