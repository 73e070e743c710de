"""One network in one engine: its process, and what was measured of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from bnas_face.bench.model import Model
from bnas_face.bench.prepared import Prepared

LEAST_CALLS = 3
"""Of a turn."""
WAIT_POLICIES = ("passive", "default")
WORKER = ("-m", "bnas_face.bench.worker")


@dataclass
class Runner:
    """A network in an engine with a number of threads.

    Attributes
    ----------
    model : Model
    engine : str
    threads : int
    prepared : Prepared
    wait_policy : str
        One of `WAIT_POLICIES`: whether threads that wait for each other sleep, or do as their library pleases (spin for
        a while, mostly). Two kinds of threads that spin would slow each other down; torch alone may gain by it.
    seconds : dict of int to list of float
        Batch size → seconds of every call.
    failed : dict of int to str
        Batch size → why there are no numbers; 0 stands for all of them.
    peak_bytes : dict of int to int
        Batch size → largest memory of its process up to the end of the first turn of that size, with Python and the
        engine's libraries. Engines keep memory, so that turns must go from small batches to large ones.
    """

    model: Model
    engine: str
    threads: int
    prepared: Prepared
    wait_policy: str = WAIT_POLICIES[0]
    seconds: dict[int, list[float]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    peak_bytes: dict[int, int] = field(default_factory=dict)
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Open the engine in its process; a failure is kept."""
        job = {
            "engine": self.engine,
            "file": str(self.prepared.file),
            "threads": self.threads,
            "options": dict(self.prepared.options),
            "size_px": self.model.info["size_px"],
        }
        self._process = subprocess.Popen(
            [sys.executable, *WORKER, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment(),
        )
        self._answer(0)

    def _environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        waiting = {} if self.wait_policy == "default" else {"OMP_WAIT_POLICY": self.wait_policy}
        return given | waiting | {"OMP_NUM_THREADS": str(self.threads)}

    def turn(self, batch: int, seconds: float) -> None:
        """Measure some calls more, unless this batch size has failed."""
        if self.reason(batch) is not None or self._process is None or self._process.stdin is None:
            return
        try:
            print(json.dumps({"batch": batch, "seconds": seconds, "least": LEAST_CALLS}), file=self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            self.failed[0] = self._end()
            return
        if (answer := self._answer(batch)) is not None:
            self.seconds.setdefault(batch, []).extend(answer["seconds"])
            self.peak_bytes.setdefault(batch, answer["peak_bytes"])

    def reason(self, batch: int) -> str | None:
        """Why there are no numbers, or None."""
        return self.failed.get(0) or self._of_other_size(batch) or self.failed.get(batch)

    def _of_other_size(self, batch: int) -> str | None:
        """A file of a fixed size would compute more images than it is asked for."""
        size = self.prepared.images_at_once
        return f"its file computes {size} images at once" if size and batch % size else None

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def _answer(self, batch: int) -> dict[str, Any] | None:
        """The next line of the process; an error is kept for `batch`, a death for all."""
        line = self._process.stdout.readline() if self._process is not None and self._process.stdout is not None else ""
        if not line:
            self.failed[0] = self._end()
            return None
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.failed[batch] = str(answer["error"])
            return None
        return answer

    def _end(self) -> str:
        """How the process ended, in words."""
        code = self._process.wait() if self._process is not None else 0
        if code >= 0:
            return f"its process ended with code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its process was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
