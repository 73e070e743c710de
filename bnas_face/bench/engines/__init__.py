"""What runs a network: one module each, named as users type it.

A module defines

``TITLE``
    Its name in reports.
``prepare(model: Model, folder: Path, calibrate: str) -> Prepared``
    In the parent: the file to run, made in `folder` if it must be; raises `BenchError` where this engine does not run
    this model, with the reason. ``calibrate`` names the images on which 8-bit ranges are measured.
``open(file: Path, threads: int, options: dict) -> Callable[[uint8 (n, size_px, size_px, 3)], float32 (n, dim)]``
    In a process of its own, which imports nothing else: its peak memory is the engine's.
"""
