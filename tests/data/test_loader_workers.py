"""Batches made by processes: the same as any others, and a clear end when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bnas_face.data import loader
from bnas_face.data.augment import LEVELS
from bnas_face.data.formats import encoded, record_sets, recordio
from bnas_face.data.images import FaceImages
from bnas_face.data.sources import Cached, Decoded, Streamed
from bnas_face.data.workers import MOST, default_workers
from bnas_face.errors import DatasetError


@pytest.fixture
def records(tmp_path: Path) -> record_sets.RecordReader:
    """Forty JPEG images of 32 px in a record file, of which the fourth is cut off."""
    pixels = np.random.default_rng(2).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    contents = [encoded.encode_jpeg(image) for image in pixels]
    contents[3] = contents[3][:200]
    recordio.write(
        tmp_path / "x.rec",
        ((key, recordio.Record(label=float(key // 4), id=key, payload=image)) for key, image in enumerate(contents)),
    )
    return record_sets.RecordReader(recordio.RecordFile(tmp_path / "x.rec"), np.arange(40), 32)


def _batches(source, *, workers=0, **more):
    order = loader.Order(
        **{"batch_size": 8, "seed": 3, "epoch": 1, "shift_px": 2, "augmenter": LEVELS["strong"]} | more
    )
    return list(loader.batches(source, np.arange(40) // 4, order, workers=workers, skip_corrupt=True))


def _same(batch: loader.Batch, other: loader.Batch) -> bool:
    arrays = zip((batch.pixels, batch.labels, batch.indices), (other.pixels, other.labels, other.indices), strict=True)
    return all(np.array_equal(one, two) for one, two in arrays) and batch.left_out == other.left_out


def test_batches_are_the_same_from_memory_a_file_and_records_by_any_number_of_workers(
    records: record_sets.RecordReader, tmp_path: Path
) -> None:
    streamed = Streamed("x", records, 40, 24)
    pixels, reasons = streamed.read(np.arange(40))
    np.save(tmp_path / "x.npy", pixels)
    memory, cached = Decoded("x", pixels, reasons), Cached("x", tmp_path / "x.npy", reasons)
    expected = _batches(memory)
    assert [sorted(batch.left_out) for batch in expected].count([3]) == 1
    for source, workers in ((memory, 2), (cached, 0), (cached, 1), (streamed, 0), (streamed, 1), (streamed, 3)):
        found = _batches(source, workers=workers)
        assert len(found) == 5 and all(map(_same, found, expected)), (type(source), workers)
    assert all(map(_same, _batches(streamed, workers=2, skip=3), expected[3:]))


def test_a_corrupt_record_is_named_by_number_byte_and_reason(records: record_sets.RecordReader) -> None:
    order = loader.Order(batch_size=40, seed=0, epoch=0)
    with pytest.raises(DatasetError) as error:
        next(loader.batches(Streamed("x", records, 40, 32), np.zeros(40), order, workers=1))
    place = f"record 3 at byte {records.file.offsets[3]} of '{records.file.path}'"
    assert str(error.value).startswith("Training set 'x': Image '3' cannot be decoded: the JPEG ends at byte 200")
    assert place in str(error.value) and "--on-corrupt skip" in str(error.value)


class _Killer:
    """A reader whose process is killed."""

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((len(indices), 8, 8, 3), np.uint8)


def test_a_process_that_dies_ends_the_epoch_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter as Iterator

    monkeypatch.setattr(Iterator._try_get_data, "__defaults__", (0.2,))  # instead of 5 s
    order = loader.Order(batch_size=4, seed=0, epoch=0)
    with pytest.raises(DatasetError, match=r"A process that loads images of 'x' died .*--resume and fewer --workers"):
        list(loader.batches(Streamed("x", _Killer(), 8, 8), np.zeros(8, np.int64), order, workers=1))


def test_leaving_early_ends_the_processes(records: record_sets.RecordReader) -> None:
    import multiprocessing

    before = {child.pid for child in multiprocessing.active_children()}
    order = loader.Order(batch_size=4, seed=0, epoch=0)
    batches = loader.batches(Streamed("x", records, 40, 32), np.zeros(40), order, workers=1, skip_corrupt=True)
    next(batches)
    assert len(multiprocessing.active_children()) > len(before)
    batches.close()
    assert {child.pid for child in multiprocessing.active_children()} <= before


def test_workers_by_default_are_the_cores_but_one_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, n_ranks, expected in ((1, 1, 1), (2, 1, 1), (4, 1, 3), (16, 4, 3), (256, 8, MOST), (8, 8, 1)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        assert default_workers(n_ranks) == expected


def test_a_reader_of_a_selection_travels_to_processes(records: record_sets.RecordReader) -> None:
    images = FaceImages(
        name="x",
        image_ids=tuple(map(str, range(40))),
        labels=np.arange(40) // 4,
        identity_names=tuple(map(str, range(10))),
        content_hash="h",
        size_px=32,
        read=records,
    ).select_identities(np.arange(10) % 2 == 1)
    order = loader.Order(batch_size=10, seed=0, epoch=0)
    here, there = (
        list(loader.batches(Streamed.of(images, 32), images.labels, order, workers=workers)) for workers in (0, 1)
    )
    assert len(here) == 2 and all(map(_same, here, there))


def test_processes_end_when_the_training_is_killed(records: record_sets.RecordReader, tmp_path: Path) -> None:
    code = f"""
import os, pathlib, numpy as np
from bnas_face.data import loader
from bnas_face.data.formats import record_sets, recordio
from bnas_face.data.sources import Streamed

if __name__ == "__main__":
    reader = record_sets.RecordReader(recordio.RecordFile(pathlib.Path({str(records.file.path)!r})), np.arange(40), 32)
    order = loader.Order(batch_size=2, seed=0, epoch=0)
    batches = loader.batches(Streamed("x", reader, 40, 32), np.zeros(40), order, workers=1, skip_corrupt=True)
    next(batches)
    import multiprocessing
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), 9)
"""
    script = tmp_path / "killed.py"
    script.write_text(code)
    killed = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False, timeout=100)
    (worker,) = map(int, killed.stdout.split())
    assert killed.returncode == -signal.SIGKILL
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the process outlived the training")
