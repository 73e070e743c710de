"""Settings as frozen dataclasses (a CLI option is a field with dashes), and where things lie on disk."""

from bnas_face.config.model import ModelConfig
from bnas_face.config.paths import REPORTS, RUNS, cache_root, data_root
from bnas_face.config.search import SearchConfig
from bnas_face.config.train import OBJECTS_SHIFT_PX, TrainConfig

__all__ = [
    "OBJECTS_SHIFT_PX",
    "REPORTS",
    "RUNS",
    "ModelConfig",
    "SearchConfig",
    "TrainConfig",
    "cache_root",
    "data_root",
]
