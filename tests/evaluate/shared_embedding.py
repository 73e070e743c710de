"""Run by torchrun: ``bnasface eval`` on the small protocol; who embeds how many images is written beside the report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import small_protocol

from bnas_face.cli import cli
from bnas_face.evaluate import embed, plan

EMBEDDED = []


class Counting(small_protocol.Network):
    def __call__(self, pixels):
        EMBEDDED.append(len(pixels))
        return super().__call__(pixels)


def open_embedder(spec, **options):
    return small_protocol.embedder("fine", Counting())


def main():
    one = small_protocol.protocol(frozenset({3, 50}))
    with (
        mock.patch.object(plan.protocol, "load", lambda name: one),
        mock.patch.object(plan.protocol, "kind_of", lambda name: "pairs"),
        mock.patch.object(plan, "open_embedder", open_embedder),
        mock.patch.object(embed, "KEPT_EVERY", 20),
    ):
        arguments = ["eval", "--protocol", "small", "--model", "runs/fine", "--out", "out", "--batch-size", "8"]
        cli(arguments, standalone_mode=False)
    Path(f"embedded_{os.environ.get('RANK', '0')}.json").write_text(json.dumps(EMBEDDED))


if __name__ == "__main__":
    main()
