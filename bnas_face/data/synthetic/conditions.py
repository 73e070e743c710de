"""How a picture was taken: everything that is new in every image and says nothing about the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnas_face.data.synthetic.hashing import Floats, Integers, normals, uniforms, words

Drawn = dict[str, Floats]

LIGHTS = ("soft", "side", "top", "dim", "warm")
GLASSES = ("none", "clear", "sun")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Ranges of the nuisances of a set of images. Shares are probabilities in [0, 1].

    Attributes
    ----------
    yaw_deg : (low, high) of |yaw|; the side is drawn
    wide_yaw_share, wide_yaw_deg : share of images whose |yaw| is drawn from another range
    pitch_sd_deg, roll_sd_deg : standard deviations
    jitter_px : standard deviation of each alignment landmark, at 112 px
    age_years : (low, high)
    expression : strength of the expressions, 0 for none
    glasses, sunglasses, hat, occluder : shares
    light : 0 for soft frontal light, 1 for the full range
    camera : 0 for a clean camera, 1 for the full range of blur, noise and compression
    """

    yaw_deg: tuple[float, float] = (0.0, 35.0)
    wide_yaw_share: float = 0.0
    wide_yaw_deg: tuple[float, float] = (35.0, 90.0)
    pitch_sd_deg: float = 7.0
    roll_sd_deg: float = 6.0
    jitter_px: float = 1.0
    age_years: tuple[float, float] = (25.0, 55.0)
    expression: float = 1.0
    glasses: float = 0.15
    sunglasses: float = 0.04
    hat: float = 0.08
    occluder: float = 0.06
    light: float = 1.0
    camera: float = 1.0


def draw(conditions: Conditions, seed: int, identity: Integers, index: Integers) -> Drawn:
    """Nuisances of images, as arrays of shape (n,) by name.

    Parameters
    ----------
    conditions : Conditions
    seed : int
    identity, index : ndarray of int64, shape (n,)
        Counters only: the distribution depends on neither.
    """
    uniform = _named(_UNIFORM, uniforms(seed, "picture", identity, index, len(_UNIFORM)))
    normal = _named(_NORMAL, normals(seed, "picture/normal", identity, index, len(_NORMAL)))
    return (
        {"seed": np.floor(uniform["seed"] * 2**24), **_pose(conditions, uniform, normal)}
        | _face(conditions, uniform, normal)
        | _worn(conditions, uniform)
        | _light(conditions, uniform, normal)
        | _camera(conditions, uniform, normal)
    )


_UNIFORM = words(
    "seed yaw yaw_wide yaw_side age open smile frown pucker brow knit blink worn hat hat_kind hat_r hat_g hat_b"
    " frame_kind frame_tone frame_size occluder hand_tone hand_x hand_y hand_angle hand_kind azimuth elevation fill"
    " softness light_kind blur noise jpeg jpeg_on motion motion_angle background make_up stubble hair_volume"
    " bg_a bg_b bg_c bg_d"
)
_NORMAL = words(
    "pitch roll zoom gaze_x gaze_y warm tint exposure contrast hair_top hair_flare distance"
    " jitter0 jitter1 jitter2 jitter3 jitter4 jitter5 jitter6 jitter7 jitter8 jitter9"
)
_WORN = words("hat_kind hat_r hat_g hat_b frame_kind frame_tone frame_size hand_tone hand_x hand_y hand_angle")


def _named(names: tuple[str, ...], values: Floats) -> Drawn:
    return {name: values[:, k] for k, name in enumerate(names)}


def _between(share: Floats, limits: tuple[float, float]) -> Floats:
    return limits[0] + share * (limits[1] - limits[0])


def _pose(conditions: Conditions, uniform: Drawn, normal: Drawn) -> Drawn:
    yaw = _between(uniform["yaw"], conditions.yaw_deg)
    wide = _between(uniform["yaw"], conditions.wide_yaw_deg)
    yaw = np.where(uniform["yaw_wide"] < conditions.wide_yaw_share, wide, yaw)
    jitter = {f"jitter{k}": conditions.jitter_px * normal[f"jitter{k}"] for k in range(10)}
    return {
        "yaw_deg": yaw * np.where(uniform["yaw_side"] < 0.5, -1.0, 1.0),
        "pitch_deg": conditions.pitch_sd_deg * normal["pitch"],
        "roll_deg": conditions.roll_sd_deg * normal["roll"],
        "zoom": 1.0 + 0.02 * conditions.jitter_px * normal["zoom"],
        "distance_mm": 900.0 * np.exp(0.35 * normal["distance"]),
        **jitter,
    }


def _face(conditions: Conditions, uniform: Drawn, normal: Drawn) -> Drawn:
    strength = conditions.expression

    def sometimes(name: str, share: float) -> Floats:
        return strength * np.maximum(uniform[name] - (1 - share), 0.0) / share

    return {
        "age_years": _between(uniform["age"], conditions.age_years),
        "mouth_open": 0.75 * sometimes("open", 0.30),
        "smile": 1.0 * sometimes("smile", 0.55),
        "frown": 0.8 * sometimes("frown", 0.15),
        "pucker": 0.8 * sometimes("pucker", 0.10),
        "brow_raise": 0.9 * sometimes("brow", 0.30),
        "brow_knit": 0.9 * sometimes("knit", 0.25),
        "blink": np.where(uniform["blink"] < 0.04 * strength, 0.95, 0.25 * uniform["blink"]),
        "gaze_x_mm": 1.3 * strength * normal["gaze_x"],
        "gaze_y_mm": 0.6 * strength * normal["gaze_y"],
        "make_up": np.where(uniform["make_up"] < 0.2, 1.0, 0.0),
        "stubble": uniform["stubble"],
        "hair_volume": 0.7 + 0.6 * uniform["hair_volume"],
        "hair_top": normal["hair_top"],
        "hair_flare": normal["hair_flare"],
    }


def _worn(conditions: Conditions, uniform: Drawn) -> Drawn:
    worn, plain = uniform["worn"], conditions.glasses
    sun = (worn >= plain) & (worn < plain + conditions.sunglasses)
    chosen = uniform["occluder"] < conditions.occluder
    return {
        "glasses": np.where(worn < plain, 1.0, np.where(sun, 2.0, 0.0)),
        "hat": (uniform["hat"] < conditions.hat).astype(np.float64),
        "occluder": np.where(chosen, np.where(uniform["hand_kind"] < 0.6, 1.0, 2.0), 0.0),
        **{name: uniform[name] for name in _WORN},
    }


def _light(conditions: Conditions, uniform: Drawn, normal: Drawn) -> Drawn:
    amount = conditions.light
    pick = (uniform["light_kind"] * len(LIGHTS)).astype(np.int64)
    side, top, dim, warm = (pick == k for k in (1, 2, 3, 4))
    azimuth = (uniform["azimuth"] - 0.5) * np.where(side, 2.5, 1.4) * amount
    azimuth = np.where(side, azimuth + 0.45 * amount * np.sign(azimuth), azimuth)
    elevation = 0.35 + (uniform["elevation"] - 0.45) * 0.7 * amount + np.where(top, 0.45 * amount, 0.0)
    return {
        "light_kind": pick.astype(np.float64),
        "light_x": np.sin(azimuth) * np.cos(elevation),
        "light_y": -np.sin(elevation),
        "light_z": np.cos(azimuth) * np.cos(elevation),
        "key": np.where(dim, 0.55, 0.95) - 0.25 * amount * (uniform["softness"] - 0.5),
        "ambient": 0.34 - 0.12 * amount * np.where(side | top, 1.0, 0.0) + 0.10 * amount * (uniform["softness"] - 0.3),
        "fill": 0.28 * uniform["fill"] * amount,
        "warm": amount * (0.10 * normal["warm"] + np.where(warm, 0.20, 0.0)),
        "tint": amount * 0.035 * normal["tint"],
    }


def _camera(conditions: Conditions, uniform: Drawn, normal: Drawn) -> Drawn:
    amount = conditions.camera
    return {
        "exposure": np.exp(amount * (0.20 * normal["exposure"])),
        "contrast": 1.0 + 0.13 * amount * normal["contrast"],
        "blur_px": 0.45 + amount * 1.2 * np.maximum(uniform["blur"] - 0.55, 0.0) / 0.45,
        "motion_px": amount * 3.0 * np.maximum(uniform["motion"] - 0.80, 0.0) / 0.20,
        "motion_angle": np.pi * uniform["motion_angle"],
        "noise": 0.006 + amount * 0.045 * uniform["noise"] ** 2.5,
        "jpeg_quality": np.where(uniform["jpeg_on"] < 0.8, 95 - 60 * amount * uniform["jpeg"] ** 1.5, 96.0),
        **{name: uniform[name] for name in ("background", "bg_a", "bg_b", "bg_c", "bg_d")},
    }
