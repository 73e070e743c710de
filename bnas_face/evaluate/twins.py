"""Full-precision twins: which network a binarized one is to be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnas_face import tables
from bnas_face.config import ModelConfig, TrainConfig
from bnas_face.errors import ConfigError
from bnas_face.files import read_json

OPTIMISER_SETTINGS = (
    *("optimizer", "lr", "momentum", "weight_decay", "warmup_epochs", "gradient_clip", "on_nan"),
    *("latent_weight_decay", "latent_lr_factor", "head_lr_factor"),
    *("schedule", "poly_power", "step_at", "step_factor", "two_stage", "init"),
)
"""How a network is brought to its weights; `ema` and `accumulate` are not among them, since they serve any network."""
MACHINE_SETTINGS = (
    *("devices", "threads", "checkpoint_minutes", "development_epochs", "tensorboard", "wait_minutes"),
    *("loading", "workers", "on_corrupt"),
)
NOT_THE_NETWORK = ("schema", "name", "kept_weights", *OPTIMISER_SETTINGS, *MACHINE_SETTINGS)
DATA_NOT_SHARED = ("init", "n_views")
"""Of `training_data`: where a run started from, and what its settings say already."""
BITS = ("binarizer", "activation_bits", "weight_scale", "input_scale")
FULL_PRECISION = "none"
_MODEL_DEFAULTS = asdict(ModelConfig())
_DEFAULTS = json.loads(json.dumps({**asdict(TrainConfig(name="x", model=ModelConfig())), "model": None}))


def find(models: Sequence[Mapping[str, Any]], explicit: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Twins among the models at hand.

    Two runs are twins when their ``config.json`` agree in everything but name, the bits and how they are scaled,
    optimiser settings (what a binarized network needs to train well differs: its stages and the weights it starts from
    are among them) and the machine, and one of them has binarizer ``"none"``. Data, people left out, head, epochs,
    batch size, seed, width, size, shortcuts must agree, and the cells of genotypes, whatever search they come from.

    Parameters
    ----------
    models : sequence of mapping
        ``models`` entries of a result: ``id``, ``source``.
    explicit : sequence of str
        ``"A=B"``: B is the twin of A, whatever their settings. A and B are ids or sources.

    Returns
    -------
    twins : dict of str to str
        Model id → id of its full-precision twin.
    notes : list of str
        Why a binarized run got no twin, where more than one would do.

    Raises
    ------
    ConfigError
        If an explicit pair is malformed or names a model that is not evaluated.
    """
    named = dict(_explicit(pair, models) for pair in explicit)
    settings = {str(model["id"]): _settings(str(model["source"])) for model in models}
    found: dict[str, str] = {}
    notes = []
    for model_id, own in settings.items():
        if model_id in named or own is None or _binarizer(own) == FULL_PRECISION:
            continue
        same = [
            other_id
            for other_id, other in settings.items()
            if other is not None and _binarizer(other) == FULL_PRECISION and _network(other) == _network(own)
        ]
        if len(same) == 1:
            found[model_id] = same[0]
        elif same:
            notes.append(
                f"{model_id} has {len(same)} possible twins ({', '.join(same)}); "
                f"name one with --twin {model_id}={same[0]}"
            )
    return found | named, notes


def _explicit(pair: str, models: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    known = {str(model[key]).rstrip("/"): str(model["id"]) for key in ("source", "id") for model in models}
    sides = _split(pair, known)
    for side in sides:
        if side not in known:
            raise ConfigError(
                f"--twin names '{side}', which is not evaluated here.{tables.suggest(side, known)} "
                f"Known: {', '.join(sorted({str(model['id']) for model in models}))}."
            )
    first, second = (known[side] for side in sides)
    if first == second:
        raise ConfigError(f"--twin '{pair}' makes a model its own twin; expected MODEL=TWIN with two different models.")
    return first, second


def _split(pair: str, known: Mapping[str, str]) -> list[str]:
    """The two sides of ``A=B``; where a name holds a "=" itself, the cut that gives known names."""
    parts = pair.split("=")
    cuts = [[side.rstrip("/") for side in ("=".join(parts[:at]), "=".join(parts[at:]))] for at in range(1, len(parts))]
    if not cuts or not all(parts):
        raise ConfigError(f"--twin is '{pair}'; expected MODEL=TWIN, such as runs/mine-xnor=runs/mine.")
    return next((cut for cut in cuts if all(side in known for side in cut)), cuts[0])


def _settings(source: str) -> dict[str, Any] | None:
    """Content of a run's config.json, which a packed model has along; None for a model that is no run."""
    from bnas_face.packed import artifact, provenance

    path = Path(source) / "config.json"
    if path.parent.suffix == ".bnn" and path.parent.is_file():
        packed = provenance.origin(artifact.read(path.parent).provenance).settings
        return dict(packed) if isinstance(packed.get("model"), dict) else None
    if not path.is_file():
        return None
    content = provenance.portable(read_json(path))  # as a packed model has it
    return content if isinstance(content, dict) and isinstance(content.get("model"), dict) else None


def _binarizer(settings: Mapping[str, Any]) -> str:
    return str(settings["model"].get("binarizer", FULL_PRECISION))


def _network(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that twins share; one that an older run does not have yet is at its default."""
    kept = {key: value for key, value in (_DEFAULTS | dict(settings)).items() if key not in NOT_THE_NETWORK}
    if kept["label_weight"] is None:  # as older versions wrote it
        kept["label_weight"] = 0.0 if kept["teacher"] else 1.0
    if isinstance(data := kept.get("training_data"), Mapping):
        kept["training_data"] = {key: value for key, value in data.items() if key not in DATA_NOT_SHARED}
    model = {key: value for key, value in (_MODEL_DEFAULTS | settings["model"]).items() if key not in BITS}
    if isinstance(model["genotype"], Mapping):
        model["genotype"] = {key: value for key, value in model["genotype"].items() if key != "origin"}
    return {**kept, "model": model}
