"""Processes that read or render images beside the one a user started."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.context import ForkServerContext


def fork_server() -> ForkServerContext:
    """Where processes come from: a fresh interpreter that copies neither threads nor GPU handles of the caller.

    It has loaded torch once, so that a process starts in an instant.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bnas_face.data.workers"])
    return context


def begin() -> None:
    """What a process does first: decode with one thread, and end when its parent is gone, killed without a word."""
    import cv2

    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, name="bnas_face parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
