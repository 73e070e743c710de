"""One network in one engine: its process, and what was measured of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from typing import IO, Any

from bnas_face.bench.model import Model
from bnas_face.bench.prepared import Prepared

LEAST_CALLS = 3
"""Of a turn."""
PATIENCE_S = 900.0
"""For an answer, beside the time that was asked for: an engine may compile first."""
LONGEST = 300
"""Characters of what a process said last."""
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
    _said: IO[bytes] | None = None
    _is_late: bool = False

    def start(self) -> None:
        """Open the engine in its process; a failure is kept."""
        job = {
            "engine": self.engine,
            "file": str(self.prepared.file),
            "threads": self.threads,
            "options": dict(self.prepared.options),
            "size_px": self.model.info["size_px"],
        }
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by stop
        self._process = subprocess.Popen(
            [sys.executable, *WORKER, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=self._environment(),
        )
        self._answer(0, 0.0)

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
        if (answer := self._answer(batch, seconds)) is not None:
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
        if self._said is not None:
            self._said.close()

    def _answer(self, batch: int, seconds: float) -> dict[str, Any] | None:
        """The process's next line, for which `seconds` were asked; an error is kept for `batch`, a death for all."""
        if self._process is None or self._process.stdout is None:
            return None
        patience = threading.Timer(PATIENCE_S + seconds, self._give_up)
        patience.start()
        line = self._process.stdout.readline()
        patience.cancel()
        if not line:
            self.failed[0] = self._end()
            return None
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.failed[batch] = str(answer["error"])
            return None
        return answer

    def _give_up(self) -> None:
        self._is_late = True
        if self._process is not None:
            self._process.kill()

    def _end(self) -> str:
        """How the process ended, in words, and what it said last."""
        code = self._process.wait() if self._process is not None else 0
        return _ending(code, self._is_late) + (f": {last}" if (last := self._last_line()) else "")

    def _last_line(self) -> str:
        """Of what the process wrote where errors go."""
        if self._said is None:
            return ""
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 4 * LONGEST))
        lines = self._said.read().decode("utf-8", "replace").split("\n")
        shown = [text for line in lines if (text := "".join(c for c in line if c.isprintable()).strip())]
        return shown[-1][-LONGEST:] if shown else ""


def _ending(code: int, is_late: bool) -> str:
    if is_late:
        return f"it did not answer for {PATIENCE_S:g} s"
    if code >= 0:
        return f"its process ended with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"its process was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
