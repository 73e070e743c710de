"""What this machine has for bnas_face, and what is broken: packages, processor, GPU, data, disk."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bnas_face import __version__, machine
from bnas_face.config import cache_root, data_root
from bnas_face.errors import BnasFaceError

NEEDED = {
    # distribution → module
    "torch": "torch",
    "torchvision": "torchvision",
    "facenet-pytorch": "facenet_pytorch",
    "lightning-fabric": "lightning_fabric",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "scikit-learn": "sklearn",
    "opencv-python-headless": "cv2",
    "safetensors": "safetensors",
    "jinja2": "jinja2",
}
EXTRAS = {"onnxruntime": "onnx", "faiss-cpu": "faiss", "resvg-py": "figures", "tensorboard": "tensorboard"}
"""Distribution → the extra of this package that brings it."""
LEAST_FREE_GB = 2.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
_FEATURES = ("avx2", "avx512_vpopcntdq", "asimd")
"""What 1-bit kernels can use."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that was looked at.

    Attributes
    ----------
    topic, text : str
    problem : bool
        Whether something will fail because of it.
    """

    topic: str
    text: str
    problem: bool = False


def examine() -> list[Line]:
    """Look at everything; never raises, a check that fails is a line."""
    return [
        Line(topic="bnas_face", text=f"{__version__}, Python {platform.python_version()}, {platform.platform()}"),
        _processor(),
        _guarded("threads", _threads),
        _guarded("packed kernels", _kernels),
        _gpu(),
        *(_package(name, module) for name, module in NEEDED.items()),
        *(_extra(name, extra) for name, extra in EXTRAS.items()),
        *_data(),
        _disk(),
    ]


def _processor() -> Line:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        flags = ""
    known = [name for name in _FEATURES if f" {name}" in flags]
    features = ", ".join(known) or "none of the instructions that 1-bit kernels use"
    return Line(topic="processor", text=f"{machine.cpu_name()}, {machine.processors()} cores usable; {features}")


def _threads() -> str:
    """How many threads torch computes with, and what the environment says of them."""
    torch = importlib.import_module("torch")
    said = [f"{name}={os.environ[name]}" for name in _THREAD_VARIABLES if name in os.environ]
    return f"{torch.get_num_threads()} by torch's choice" + (f" ({', '.join(said)})" if said else "")


def _kernels() -> str:
    """Implementations of the packed engine that run here."""
    kernels = importlib.import_module("bnas_face.packed.kernels")
    best, *others = kernels.available()
    if not others:
        return "numpy only, exact but slow: install again where there is a C compiler"
    forced = os.environ.get("BNASFACE_KERNELS")
    return f"{forced + ' (BNASFACE_KERNELS)' if forced else best}; also {', '.join(others)}"


def _gpu() -> Line:
    def look() -> str:
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            return "none that torch can use; everything runs on the processor"
        names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return ", ".join(names)

    return _guarded("GPU", look)


def _package(name: str, module: str) -> Line:
    def look() -> str:
        if module in ("torchvision", "facenet_pytorch"):
            importlib.import_module("bnas_face.torchvision_compat").ensure_torchvision()
            extension = importlib.import_module("torchvision.extension")
            if module == "torchvision" and extension.__dict__["_has_ops"].__module__ != "torchvision.extension":
                return f"{metadata.version(name)}, its own operators cannot be loaded beside this torch; ours stand in"
        importlib.import_module(module)
        return metadata.version(name)

    return _guarded(name, look)


def _extra(name: str, extra: str) -> Line:
    try:
        return Line(topic=name, text=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Line(topic=name, text=f"not installed (optional): pip install 'bnas_face[{extra}]'")


def _guarded(topic: str, look: Callable[[], str]) -> Line:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Line(topic=topic, text=look())
    except Exception as error:  # whatever a broken installation throws is what is asked for
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "install again with -c constraints.txt"
        return Line(topic=topic, text=f"broken: {reason[:200]} ({advice})", problem=True)


def _data() -> list[Line]:
    from bnas_face.data import datasets, library

    lines = []
    for name in datasets.names():
        if library.is_imported(name):
            try:
                found = library.manifest(name)
                text = f"{found.n_images:,} images of {found.n_identities:,} identities ({found.variant})"
                lines.append(Line(topic=f"data {name}", text=text))
            except BnasFaceError as error:
                lines.append(Line(topic=f"data {name}", text=str(error), problem=True))
    where = data_root().resolve()
    if not lines:
        text = f"nothing imported in '{where}'; demo needs nothing, others: bnasface data where lfw"
        lines.append(Line(topic="data", text=text))
    return lines


def _disk() -> Line:
    """Free space where data, caches and runs go."""
    places = {"runs": Path(), "data": data_root(), "cache": cache_root()}
    found = {name: _free_gb(path) for name, path in places.items()}
    text = ", ".join(f"{free:.1f} GB free for {name}" for name, free in found.items())
    few = [name for name, free in found.items() if free < LEAST_FREE_GB]
    return Line(topic="disk", text=text + (f"; fewer than {LEAST_FREE_GB:g} GB" if few else ""), problem=bool(few))


def _free_gb(path: Path) -> float:
    """Of the nearest folder above `path` that exists."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free / 1e9
