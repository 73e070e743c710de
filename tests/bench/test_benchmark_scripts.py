"""The scripts of benchmarks/: what they make of what they measure."""

from __future__ import annotations

from benchmark_scripts import script


def test_the_share_of_one_threads_limit_is_that_of_one_thread() -> None:
    packed_conv = script("packed_conv")
    rows = [{"threads": 2, "gops": 3000}, {"threads": 1, "gops": 1500}, {"threads": 1, "gops": 1600}]
    assert packed_conv.best_gops(rows) == 1600
    assert packed_conv.best_gops(rows[:1]) is None, "two threads reach more than one thread can"


def test_the_control_is_the_same_layer_in_torch_alone() -> None:
    """Its process inherits everything but the wait policy; rows keep their order."""
    packed_conv = script("packed_conv")
    row = packed_conv.layer(7, 512, 1, 1, 1, 0.0, alone=True)
    assert list(row) == ["torch_default_wait_ms"] and row["torch_default_wait_ms"] > 0
    rows = [{"threads": 2, "gops": 1, "speedup": 8.0, "packed_ms": 1.0, "torch_ms": 8.0}]
    plain, found = packed_conv.summary(rows, ()), packed_conv.summary(rows, (2.0,))
    assert "geomean_speedup_default_wait" not in plain and plain["rows"] == rows
    assert (found["geomean_speedup"], found["geomean_speedup_default_wait"]) == (8.0, 2.0)


def test_the_control_of_a_network_joins_the_row_of_its_setting() -> None:
    packed_network = script("packed_network")
    settings = [{"threads": 1, "batch": batch, "best_float": "onnxruntime"} for batch in (1, 32)]
    rows = [row | {"onnxruntime_ms": 8.0, "packed_ms": 2.0} for row in ({"network": "before"}, *settings)]
    measured = [{"engine": "torch", "threads": 1, "batch": b, "p50_ms": ms} for b, ms in ((32, 4.0), (1, 9.0))]
    packed_network.add_control(rows, {"rows": measured})
    assert "torch_default_wait_ms" not in rows[0]
    assert [row["torch_default_wait_ms"] for row in rows[1:]] == [9.0, 4.0]
    assert [row["speedup_vs_best_float_default_wait"] for row in rows[1:]] == [4.0, 2.0]
