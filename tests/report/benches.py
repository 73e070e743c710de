"""A made-up bench.json: of the models of `studies` a twin and a packed network, and one that is only simulated."""

from __future__ import annotations

from typing import Any

FLOAT_HASH, BINARY_HASH, INT8_HASH = "aa" * 32, "bb" * 32, "cc" * 32
TIMES = {"torch": 60.0, "onnxruntime": 40.0, "onnxruntime_int8": 20.0, "packed": 2.0}
TITLES = {"torch": "torch float32", "onnxruntime": "onnxruntime float32", "onnxruntime_int8": "onnxruntime int8"}
BYTES = {"torch": 8_421_376, "onnxruntime": 8_400_000, "onnxruntime_int8": 2_200_000, "packed": 400_000}


def network(name: str, weight_bits: int, activation_bits: int, sha256: str) -> dict[str, Any]:
    """An entry of ``models``."""
    n_binary = 1_990_000 if weight_bits == 1 else 0
    binary = 500_000_000 if (weight_bits, activation_bits) == (1, 1) else 0
    return {
        "id": name, "weight_bits": weight_bits, "activation_bits": activation_bits, "n_parameters": 2_101_440,
        "n_binary_parameters": n_binary, "n_float_parameters": 2_101_440 - n_binary, "n_binary_macs": binary,
        "n_float_macs": 530_000_000 - binary, "n_ops": binary // 64 + 530_000_000 - binary,
        "weights_sha256": sha256, "packed_from_sha256": None,
    }  # fmt: skip


def row(model: str, engine: str, threads: int, batch: int, reason: str | None = None) -> dict[str, Any]:
    """An entry of ``rows``; two threads are 1.5 times as fast, 32 images take 20 times as long as one."""
    p50 = TIMES[engine] / (1.5 if threads == 2 else 1) * (20 if batch == 32 else 1)
    found = {
        "model": model, "engine": engine, "title": TITLES.get(engine, engine), "threads": threads, "batch": batch,
        "file_bytes": BYTES[engine], "file_format": engine, "file_sha256": f"{TIMES[engine]:02.0f}" * 32,
        "is_quantised": engine == "onnxruntime_int8", "floats": "fp16" if engine == "packed" else None,
        "reason": reason, "p50_ms": p50, "p95_ms": 1.2 * p50,
        "images_per_s": 1e3 * batch / p50, "n_calls": 15, "peak_bytes": 90_000_000,
    }  # fmt: skip
    if reason is not None:
        absent = ("file_bytes", "file_format", "file_sha256", "p50_ms", "p95_ms", "images_per_s", "peak_bytes")
        found |= dict.fromkeys(absent) | {"n_calls": 0}
    return found


def build_bench() -> dict[str, Any]:
    """The content of bench.json."""
    ran = [("lfw-float", engine) for engine in ("torch", "onnxruntime", "onnxruntime_int8")]
    ran.append(("lfw-xnor-w1a1", "packed"))
    settings = [(threads, batch) for threads in (2, 1) for batch in (32, 1)]
    return {
        "schema": "bnas_face.bench/1",
        "created": "2026-11-23T08:15:00+00:00",
        "environment": {"cpu": "AMD EPYC", "cores": 64, "usable_cores": 2, "platform": "Linux"},
        "versions": {"bnas_face": "0.1.0", "torch": "2.13.0"},
        "kernels": "avx512-vpopcntdq",
        "calibration": "demo:50x4",
        "rounds": 5,
        "seconds": 0.4,
        "models": [
            network("lfw-float", 32, 32, FLOAT_HASH),
            network("lfw-xnor-w1a1", 1, 1, BINARY_HASH),
            network("odd", 1, 1, "dd" * 32),
        ],
        "rows": [row(model, engine, *setting) for model, engine in ran for setting in settings]
        + [row("odd", "packed", *setting, reason="layer 'gate' is not known") for setting in settings]
        + [row("odd", "torch", *setting, reason="simulated: floats") for setting in settings],
    }


def hashed(content: dict[str, Any]) -> dict[str, Any]:
    """A result.json whose models have the weights of the bench; its 1-bit networks are simulated."""
    hashes = {"lfw-float": FLOAT_HASH, "lfw-xnor-w1a1": BINARY_HASH}
    for model in content["models"]:
        model["weights_sha256"] = hashes.get(model["id"], "ee" * 32)
        if model["weight_bits"] == 1:
            model |= {"file_format": "float32 safetensors (simulated)", "packed_bytes": 690_000}
    return content
