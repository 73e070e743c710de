"""Networks in engines side by side: who runs what, what stands in the rows, and what becomes of a process that dies."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import write_run, write_twin

from bnas_face import export, files, machine, quantize
from bnas_face.bench import measure, output, runner
from bnas_face.bench.measure import Plan, bench
from bnas_face.errors import CheckpointError, ConfigError, UnknownNameError

QUICK: dict[str, Any] = {"threads": (1,), "batches": (1, 2), "rounds": 1, "seconds": 0.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "one_bit")
    write_twin(folder / "twin")
    return folder


@pytest.fixture(scope="module")
def measured(runs: Path) -> dict[str, Any]:
    specs = [str(runs / "one_bit"), str(runs / "twin")]
    return bench(
        specs, Plan(engines=("packed", "torch", "onnxruntime", "onnxruntime_int8"), calibrate="demo:4x2", **QUICK)
    )


def rows_of(found: dict[str, Any], model: str, engine: str) -> list[dict[str, Any]]:
    return [row for row in found["rows"] if (row["model"], row["engine"]) == (model, engine)]


def test_every_engine_that_runs_a_network_has_times_bytes_and_memory(measured: dict[str, Any]) -> None:
    ran = {(row["model"], row["engine"]) for row in measured["rows"] if row["reason"] is None}
    twin = {("twin", engine) for engine in ("torch", "onnxruntime", "onnxruntime_int8")}
    assert ran == twin | {("one_bit", "packed")}
    for row in measured["rows"]:
        if row["reason"] is None:
            assert 0 < row["p50_ms"] <= row["p95_ms"]
            assert row["images_per_s"] == pytest.approx(row["batch"] / row["p50_ms"] * 1e3)
            assert row["n_calls"] >= runner.LEAST_CALLS and row["peak_bytes"] > row["file_bytes"] > 0


def test_rows_are_one_for_each_model_engine_threads_and_batch(measured: dict[str, Any]) -> None:
    keys = [(row["model"], row["engine"], row["threads"], row["batch"]) for row in measured["rows"]]
    assert len(keys) == len(set(keys)) == 2 * 4 * 1 * 2


def test_a_one_bit_network_in_a_float_engine_is_simulated_and_has_no_speed(measured: dict[str, Any]) -> None:
    for engine in ("torch", "onnxruntime"):
        for row in rows_of(measured, "one_bit", engine):
            assert row["reason"].startswith("simulated: ")
            assert (row["p50_ms"], row["images_per_s"], row["file_bytes"]) == (None, None, None)


def test_bytes_are_those_of_the_file_that_is_shipped(measured: dict[str, Any], runs: Path, tmp_path: Path) -> None:
    made = export.export(runs / "one_bit", "packed", out=tmp_path / "model.bnn")
    (row, _) = rows_of(measured, "one_bit", "packed")
    assert row["file_bytes"] == made.file_bytes < (runs / "one_bit" / "weights.safetensors").stat().st_size
    assert row["file_sha256"] == files.sha256_file(made.path)
    int8, float32 = (rows_of(measured, "twin", engine)[0] for engine in ("onnxruntime_int8", "onnxruntime"))
    assert int8["file_bytes"] < float32["file_bytes"]
    assert (int8["is_quantised"], float32["is_quantised"]) == (True, False)


def test_a_one_bit_run_is_not_exported_to_eight_bits_and_its_twin_is(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 1-bit weights; 8 bits would make it larger"):
        quantize.export(str(runs / "one_bit"))
    made = quantize.export(str(runs / "twin"), out=tmp_path / "a.onnx", calibrate="demo:4x2@64")
    assert made.file_bytes < made.source_bytes and made.drift < 0.1
    (model,) = bench(["onnx:" + str(made.path)], Plan(engines=("torch",), **QUICK))["models"]
    twin = bench([str(runs / "twin")], Plan(engines=("packed",), **QUICK))["models"][0]
    assert (model["weight_bits"], model["activation_bits"]) == (8, 8)
    assert model["n_float_macs"] == twin["n_float_macs"]


def test_operations_are_counted_by_what_they_multiply(measured: dict[str, Any]) -> None:
    one_bit, twin = measured["models"]
    assert one_bit["n_binary_macs"] + one_bit["n_float_macs"] == twin["n_float_macs"]
    assert twin["n_binary_macs"] == 0 < one_bit["n_binary_macs"]
    assert one_bit["n_ops"] == -(-one_bit["n_binary_macs"] // 64) + one_bit["n_float_macs"]


def test_a_packed_file_is_measured_as_the_run_it_was_made_from(runs: Path, tmp_path: Path) -> None:
    export.export(runs / "one_bit", "packed", out=tmp_path / "small.bnn")
    found = bench([str(tmp_path / "small.bnn")], Plan(engines=("packed", "torch"), **QUICK))
    (model,) = found["models"]
    of_run = bench([str(runs / "one_bit")], Plan(engines=("torch",), **QUICK))["models"][0]
    for name in ("n_parameters", "n_binary_macs", "n_float_macs", "n_ops", "weight_bits", "activation_bits"):
        assert model[name] == of_run[name], name
    assert model["packed_from_sha256"] == of_run["weights_sha256"] != model["weights_sha256"]
    assert rows_of(found, "small-packed", "packed")[0]["reason"] is None
    assert rows_of(found, "small-packed", "torch")[0]["reason"] == "it is a packed file; name the run it was made from"


def test_networks_of_the_same_weights_are_packed_each_as_it_is(tmp_path: Path) -> None:
    specs = [str(write_run(tmp_path / name, activation_bits=bits)) for name, bits in (("a1", 1), ("a32", 32))]
    found = bench(specs, Plan(engines=("packed",), **QUICK))
    assert found["models"][0]["weights_sha256"] == found["models"][1]["weights_sha256"]
    hashes = {row["model"]: row["file_sha256"] for row in found["rows"]}
    assert hashes["a1"] != hashes["a32"]


def test_a_network_that_cannot_be_packed_says_which_layer(tmp_path: Path) -> None:
    write_run(tmp_path / "scaled", input_scale=True)
    found = bench([str(tmp_path / "scaled")], Plan(engines=("packed",), **QUICK))
    assert all(row["p50_ms"] is None and "input" in row["reason"] for row in found["rows"])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "its process was ended by SIGKILL, perhaps for want of memory"),
        ("raise SystemExit(3)", "its process ended with code 3"),
        (
            "raise SystemExit('no\\nlibgomp: out of threads\\n\\n')",
            "its process ended with code 1: libgomp: out of threads",
        ),
        ('print(\'{"error": "ValueError: no"}\')', "ValueError: no"),
        ("print('{\"ready\": true}', flush=True); input(); raise SystemExit(4)", "its process ended with code 4"),
        ("print('{\"ready\": true}', flush=True)", "its process ended with code 0"),
    ],
)
def test_a_process_that_dies_leaves_a_reason(
    code: str, reason: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "WORKER", ("-c", code))
    found = bench([str(runs / "twin")], Plan(engines=("torch",), **QUICK))
    assert [(row["reason"], row["p50_ms"], row["n_calls"]) for row in found["rows"]] == [(reason, None, 0)] * 2


def test_a_file_of_a_fixed_batch_is_not_charged_with_images_nobody_asked_for(tmp_path: Path) -> None:
    import onnx

    source = export.export(write_twin(tmp_path / "twin"), "onnx", out=tmp_path / "open.onnx").path
    model = onnx.load(source)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "two.onnx")
    found = bench(["onnx:" + str(tmp_path / "two.onnx")], Plan(engines=("onnxruntime",), **QUICK))
    one, two = found["rows"]
    assert (one["batch"], one["p50_ms"], one["reason"]) == (1, None, "its file computes 2 images at once")
    assert (two["batch"], two["reason"]) == (2, None) and two["p50_ms"] > 0


def test_an_engine_that_hangs_is_given_up(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PATIENCE_S", 0.3)
    monkeypatch.setattr(runner, "WORKER", ("-c", "import time; time.sleep(60)"))
    found = bench([str(runs / "twin")], Plan(engines=("torch",), **QUICK))
    assert {row["reason"] for row in found["rows"]} == {"it did not answer for 0.3 s"}


def test_an_exporter_that_fails_leaves_the_other_networks(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("opset 99\n  is unknown")

    monkeypatch.setattr(export, "export", fail)
    monkeypatch.setattr(runner, "WORKER", ("-c", "raise SystemExit(1)"))
    found = bench([str(runs / "twin")], Plan(engines=("torch", "onnxruntime"), **QUICK))
    assert {row["reason"] for row in rows_of(found, "twin", "onnxruntime")} == {"RuntimeError: opset 99 is unknown"}
    assert {row["reason"] for row in rows_of(found, "twin", "torch")} == {"its process ended with code 1"}


def test_an_error_at_one_batch_size_leaves_the_others(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import json, sys
print('{"ready": true}', flush=True)
for line in sys.stdin:
    batch = json.loads(line)["batch"]
    print(json.dumps({"error": "too large"} if batch == 2 else {"seconds": [0.25, 0.5], "peak_bytes": 7}), flush=True)
"""
    monkeypatch.setattr(runner, "WORKER", ("-c", code))
    one, two = bench([str(runs / "twin")], Plan(engines=("torch",), **QUICK | {"rounds": 3}))["rows"]
    assert (one["reason"], one["p50_ms"], one["images_per_s"], one["n_calls"]) == (None, 375.0, 1 / 0.375, 6)
    assert (two["reason"], two["p50_ms"]) == ("too large", None)


def test_memory_is_that_of_a_process_which_computed_no_larger_batch(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Engines keep what they took: the later rounds of a small batch would tell the memory of the large one."""
    code = """
import json, sys
print('{"ready": true}', flush=True)
peak = 0
for line in sys.stdin:
    peak = max(peak, 1000 * json.loads(line)["batch"])
    print(json.dumps({"seconds": [0.25], "peak_bytes": peak}), flush=True)
"""
    monkeypatch.setattr(runner, "WORKER", ("-c", code))
    plan = Plan(engines=("torch",), **QUICK | {"rounds": 2, "batches": (32, 1, 8)})
    rows = bench([str(runs / "twin")], plan)["rows"]
    assert [(row["batch"], row["peak_bytes"]) for row in rows] == [(32, 32_000), (1, 1000), (8, 8000)]


def test_every_engine_gets_its_turn_in_every_round(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []
    monkeypatch.setattr(runner.Runner, "start", lambda self: None)

    def turn(self: runner.Runner, batch: int, seconds: float) -> None:
        turns.append((self.engine, batch))
        self.seconds.setdefault(batch, []).append(1.0)
        self.peak_bytes.setdefault(batch, 1)

    monkeypatch.setattr(runner.Runner, "turn", turn)
    bench([str(runs / "twin")], Plan(engines=("torch", "torch_compile"), **QUICK | {"rounds": 2}))
    assert turns == [("torch", 1), ("torch_compile", 1), ("torch", 2), ("torch_compile", 2)] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": (0,)}, "--threads 0; expected whole numbers from 1 to "),
        ({"threads": (1, 10_000)}, "--threads 1,10000; expected whole numbers from 1 to "),
        ({"batches": (-1,)}, "--batch -1; expected whole numbers from 1 to 4096."),
        ({"batches": (1, 1)}, "--batch 1,1; expected different numbers. Name each once."),
        ({"rounds": 0}, "--rounds 0; expected whole numbers from 1 to 1000."),
        ({"seconds": float("nan")}, "--seconds nan; expected 0 to 600 for a turn."),
    ],
)
def test_nonsense_is_refused_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Plan(**settings)
    assert str(refused.value).startswith(message)


def test_threads_are_those_of_the_processors_that_may_be_used(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine, "processors", lambda: 1)
    assert Plan().threads == (1,)
    with pytest.raises(
        ConfigError, match="--threads 1,2; expected whole numbers from 1 to 1, the processors that this"
    ):
        Plan(threads=(1, 2))
    monkeypatch.setattr(runner, "WORKER", ("-c", "raise SystemExit(1)"))
    environment = bench([str(runs / "twin")], Plan(engines=("torch",)))["environment"]
    assert (environment["cores"], environment["usable_cores"]) == (64, 1)
    monkeypatch.setattr(machine, "processors", lambda: 5)
    assert Plan().threads == (1, 2)


def test_threads_wait_as_the_plan_says(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import json, os; print(json.dumps({'error': str(os.environ.get('OMP_WAIT_POLICY'))}))"
    monkeypatch.setattr(runner, "WORKER", ("-c", code))
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    for policy, seen in (("passive", "passive"), ("default", "None")):
        found = bench([str(runs / "twin")], Plan(engines=("torch",), wait_policy=policy, **QUICK))
        assert found["wait_policy"] == policy and {row["reason"] for row in found["rows"]} == {seen}
    with pytest.raises(ConfigError, match="Wait policy 'spin'; expected one of passive, default"):
        Plan(wait_policy="spin")


def test_an_engine_named_twice_is_measured_once() -> None:
    assert Plan(engines=("torch", "packed", "torch")).all_engines == ("torch", "packed")
    assert set(Plan().all_engines) == {"torch", "torch_compile", "onnxruntime", "onnxruntime_int8", "packed"}


def test_an_unknown_engine_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown engine 'tocrh'\. Did you mean 'torch'\?"):
        Plan(engines=("tocrh",))


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("nothing", UnknownNameError, "'nothing' is no run folder. Expected"),
        ("a.onnx", UnknownNameError, "Did you mean 'onnx:a.onnx'?"),
        ("onnx:a.onnx", CheckpointError, "ONNX file 'a.onnx' does not exist."),
        ("a.bnn", CheckpointError, "Packed model 'a.bnn' does not exist."),
    ],
)
def test_an_unknown_model_is_refused_in_one_sentence(spec: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as refused:
        bench([spec], Plan())
    assert message in str(refused.value)


def test_a_model_named_twice_is_refused_and_two_of_one_name_are_told_apart(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is named twice"):
        bench([str(runs / "twin"), f"{runs}/../{runs.name}/twin"], Plan())
    write_twin(tmp_path / "twin")
    models = measure._distinct([measure.open_model(str(folder / "twin")) for folder in (runs, tmp_path)])
    assert [model.info["id"] for model in models] == ["twin", "twin-2"]


def test_the_csv_has_a_line_for_each_row_with_columns_of_its_model(measured: dict[str, Any], tmp_path: Path) -> None:
    output.save(measured, tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8")) == measured
    with (tmp_path / "bench.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(measured["rows"])
    by_id = {model["id"]: model for model in measured["models"]}
    for line, row in zip(lines, measured["rows"], strict=True):
        assert line["n_ops"] == str(by_id[row["model"]]["n_ops"])
        assert line["p50_ms"] == ("" if row["p50_ms"] is None else str(row["p50_ms"]))


def test_progress_is_told_in_lines(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "WORKER", ("-c", "raise SystemExit(1)"))
    lines: list[str] = []
    tell: Callable[[str], None] = lines.append
    bench([str(runs / "twin")], Plan(engines=("torch",), **QUICK), progress=tell)
    assert lines == ["twin: preparing torch", "1 thread: starting torch with twin", "1 thread: round 1 of 1"]
