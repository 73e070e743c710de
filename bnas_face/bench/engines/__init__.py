"""What runs a network: one module each, named as users type it.

A module defines

``TITLE``
    Its name in reports.
``prepare(model: Model, threads: int) -> Prepared``
    In the parent: the file to run, made in the cache if it must be; raises `BenchError` where this engine does not run
    this model, with the reason.
``open(file: Path, threads: int, options: dict) -> Callable[[uint8 (n, size_px, size_px, 3)], float32 (n, dim)]``
    In a process of its own, which imports nothing else: its peak memory is the engine's.
"""
