"""The demo protocols: which rendered images are compared, and what is known of each.

Every fold has its own identities, which no other fold and no training set has. Each identity has two kinds of images
(for `demo_lfw` both kinds are alike); a pair always compares kind A (reference) with kind B (probe), for genuine and
impostor pairs alike, so that conditions say nothing about the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bnas_face.data.images import FaceImages
from bnas_face.data.synthetic.conditions import GLASSES, LIGHTS, Conditions, Drawn
from bnas_face.data.synthetic.faces import Group, RenderedReader, rendered
from bnas_face.errors import UnknownNameError
from bnas_face.tables import suggest

SEED = 20
N_FOLDS, N_GENUINE, N_IMPOSTOR = 10, 300, 300
"""Per fold: `N_GENUINE` pairs of one identity and `N_IMPOSTOR` pairs of two."""

FIRST_IDENTITY = 1_000_000
IDENTITIES_PER_FOLD, IMAGES_PER_KIND = 34, 3

MIXED = Conditions(
    yaw_deg=(0.0, 22.0), pitch_sd_deg=5.0, roll_sd_deg=5.0, jitter_px=0.7, expression=0.7, sunglasses=0.03, hat=0.05,
    occluder=0.04, light=0.65, camera=0.65,
)  # fmt: skip
FRONTAL = replace(MIXED, yaw_deg=(0.0, 10.0))
PROFILE = replace(MIXED, yaw_deg=(60.0, 90.0))
YOUNG = replace(MIXED, yaw_deg=(0.0, 20.0), age_years=(20.0, 35.0))
OLD = replace(MIXED, yaw_deg=(0.0, 20.0), age_years=(65.0, 80.0))
TRAINING = replace(MIXED, wide_yaw_share=0.3, wide_yaw_deg=(22.0, 90.0), age_years=(20.0, 80.0))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A protocol: the place of its identities, and the conditions of references and probes."""

    first_identity: int
    reference: Conditions
    probe: Conditions


def plans() -> dict[str, Plan]:
    """The demo protocols by name."""
    step = N_FOLDS * IDENTITIES_PER_FOLD
    return {
        "demo_lfw": Plan(first_identity=FIRST_IDENTITY, reference=MIXED, probe=MIXED),
        "demo_cfp": Plan(first_identity=FIRST_IDENTITY + step, reference=FRONTAL, probe=PROFILE),
        "demo_agedb": Plan(first_identity=FIRST_IDENTITY + 2 * step, reference=YOUNG, probe=OLD),
    }


def training_groups(n_images: int) -> tuple[Group, ...]:
    """Conditions of the training images."""
    return (Group(conditions=TRAINING, count=n_images),)


def build(name: str) -> tuple[FaceImages, pd.DataFrame]:
    """Images and pairs of a demo protocol.

    Parameters
    ----------
    name : str
        ``"demo_lfw"``, ``"demo_cfp"`` or ``"demo_agedb"``.

    Returns
    -------
    images : FaceImages, 112×112
    pairs : DataFrame of 6,000 rows
        fold, reference_id, probe_id, is_genuine (0/1), and for each side (``reference_``, ``probe_``) yaw_deg,
        age_years, light, occluder, glasses.

    Raises
    ------
    UnknownNameError
        If there is no such protocol.
    """
    known = plans()
    if name not in known:
        raise UnknownNameError(f"Unknown demo protocol '{name}'.{suggest(name, known)} Known: {', '.join(known)}.")
    plan = known[name]
    n_identities = N_FOLDS * IDENTITIES_PER_FOLD
    images = rendered(
        name,
        plan.first_identity + np.arange(n_identities, dtype=np.int64),
        (Group(conditions=plan.reference, count=IMAGES_PER_KIND), Group(conditions=plan.probe, count=IMAGES_PER_KIND)),
        seed=SEED,
        provenance={"variant": name, "n_images": n_identities * 2 * IMAGES_PER_KIND, "n_identities": n_identities},
    )
    folds = [_fold_pairs(fold, np.random.default_rng([SEED, plan.first_identity, fold])) for fold in range(N_FOLDS)]
    return images, _described(images, np.concatenate(folds))


def _fold_pairs(fold: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Rows (fold, reference image, probe image, is_genuine) of one fold, none of them twice."""
    count, kinds = IDENTITIES_PER_FOLD, IMAGES_PER_KIND
    everyone = np.stack(np.meshgrid(*[np.arange(n) for n in (count, kinds, count, kinds)], indexing="ij"), -1).reshape(
        -1, 4
    )
    same = everyone[:, 0] == everyone[:, 2]
    genuine = random.choice(everyone[same], N_GENUINE, replace=False)
    impostor = random.choice(everyone[~same], N_IMPOSTOR, replace=False)
    chosen = np.concatenate([genuine, impostor])
    first = fold * count
    reference = (first + chosen[:, 0]) * 2 * kinds + chosen[:, 1]
    probe = (first + chosen[:, 2]) * 2 * kinds + kinds + chosen[:, 3]
    truth = np.repeat([1, 0], [N_GENUINE, N_IMPOSTOR])
    return np.stack([np.full(len(chosen), fold), reference, probe, truth], axis=1)


def _described(images: FaceImages, rows: NDArray[np.int64]) -> pd.DataFrame:
    ids = np.asarray(images.image_ids)
    columns: dict[str, object] = {
        "fold": rows[:, 0], "reference_id": ids[rows[:, 1]], "probe_id": ids[rows[:, 2]], "is_genuine": rows[:, 3],
    }  # fmt: skip
    reader = images.read
    if not isinstance(reader, RenderedReader):  # pragma: no cover - `rendered` makes no other
        raise TypeError(f"{type(reader)} has no conditions")
    drawn = reader.drawn(np.arange(len(images)))
    facts = _facts(drawn)
    for side, index in (("reference", rows[:, 1]), ("probe", rows[:, 2])):
        columns |= {f"{side}_{fact}": values[index] for fact, values in facts.items()}
    return pd.DataFrame(columns)


def _facts(drawn: Drawn) -> dict[str, NDArray[np.generic]]:
    """What a slice may ask of an image."""
    covered = np.where(drawn["occluder"] > 1.5, "object", np.where(drawn["occluder"] > 0.5, "hand", "none"))
    return {
        "yaw_deg": np.round(drawn["yaw_deg"], 1),
        "age_years": np.round(drawn["age_years"], 1),
        "light": np.asarray(LIGHTS)[drawn["light_kind"].astype(np.int64)],
        "occluder": np.where(drawn["hat"] > 0, np.where(covered == "none", "hat", covered), covered),
        "glasses": np.asarray(GLASSES)[drawn["glasses"].astype(np.int64)],
    }
