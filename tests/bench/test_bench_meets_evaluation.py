"""What is evaluated meets what was measured: a run, its packed file, and neither for a network of other weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_runs import write_run, write_twin

from bnas_face import export, quantize
from bnas_face.bench import output
from bnas_face.bench.measure import Plan
from bnas_face.bench.measure import bench as measure
from bnas_face.evaluate.embedders import open_embedder
from bnas_face.report import bench
from bnas_face.report.records import Measured, Model

QUICK = {"threads": (1,), "batches": (1,), "rounds": 1, "seconds": 0.0}


def evaluated(spec: str) -> Model:
    """The entry of a result.json, as the report reads it."""
    info = json.loads(json.dumps(dict(open_embedder(spec, device="cpu").info)))
    bits = {name: info[name] for name in ("weight_bits", "activation_bits", "n_parameters", "file_bytes")}
    return Model(id=info["id"], twin=None, raw=info, **bits)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bench.Bench]:
    """Two runs, an 8-bit file of one, and the bench of all three."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "mine")
    quantize.export(str(write_twin(folder / "twin")), calibrate="demo:4x2@64")
    specs = [str(folder / "mine"), str(folder / "twin"), f"onnx:{folder}/twin/model_int8.onnx"]
    output.save(measure(specs, Plan(engines=("packed", "onnxruntime", "onnxruntime_int8"), **QUICK)), folder)
    loaded = bench.load(folder)
    assert loaded is not None
    return folder, loaded


def measured(spec: str, found: bench.Bench) -> Measured:
    known = bench.measured_of(evaluated(spec), found)
    assert known is not None
    return known


def test_a_one_bit_run_and_its_packed_file_have_the_time_of_the_packed_engine(
    found: tuple[Path, bench.Bench],
) -> None:
    folder, loaded = found
    made = export.export(folder / "mine", "packed")
    own = measured(str(folder / "mine"), loaded)
    assert (own.engine, own.file_bytes) == ("packed fp16", made.file_bytes)
    assert measured(str(made.path), loaded) == own


def test_a_float_run_has_the_time_of_a_float_engine_and_its_eight_bits_their_own(
    found: tuple[Path, bench.Bench],
) -> None:
    folder, loaded = found
    assert measured(str(folder / "twin"), loaded).engine == "onnxruntime float32"
    int8 = folder / "twin" / "model_int8.onnx"
    own = measured(f"onnx:{int8}", loaded)
    assert (own.engine, own.file_bytes) == ("onnxruntime int8", int8.stat().st_size)


def test_a_run_and_its_packed_files_have_each_the_bytes_of_their_own_numbers(tmp_path: Path) -> None:
    run = write_run(tmp_path / "mine")
    made = {floats: tmp_path / f"{floats}.bnn" for floats in ("int8", "fp16", "fp32")}
    for floats, path in made.items():
        export.export(run, "packed", out=path, floats=floats)
    plan = Plan(engines=("packed",), **QUICK)
    small = [str(made["int8"]), str(made["fp32"])]
    output.save(measure(small, plan), tmp_path)
    only_others = bench.load(tmp_path)
    assert only_others is not None and bench.measured_of(evaluated(str(run)), only_others) is None
    output.save(measure([*small, str(made["fp16"]), str(run)], plan), tmp_path)
    loaded = bench.load(tmp_path)
    assert loaded is not None
    assert [row.label for row in loaded.rows] == ["packed int8", "packed fp32", "packed fp16", "packed fp16"]
    assert measured(str(run), loaded).file_bytes == made["fp16"].stat().st_size
    for path in made.values():
        assert measured(str(path), loaded).file_bytes == path.stat().st_size


def test_other_weights_of_the_same_name_meet_nothing(found: tuple[Path, bench.Bench], tmp_path: Path) -> None:
    assert bench.measured_of(evaluated(str(write_run(tmp_path / "mine", embedding_dim=8))), found[1]) is None
