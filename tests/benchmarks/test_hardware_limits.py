"""What the hardware can do at most, and where it is measured."""

from __future__ import annotations

import pytest
import torch

from benchmarks.errors import BenchmarkError
from benchmarks.fusion_work import Work
from benchmarks.hardware_limits import Limits, Precision, measure_limits
from benchmarks.place import Place, busy_note, find_place, load_average

HERE = Place("cpu", 1)
WORK = Work(operations=9_000, least_operations=6_000, weights=900, least_weights=500)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_measured_limits_are_rates_of_a_computer(precision: Precision) -> None:
    limits = measure_limits(HERE, precision, read_bytes=2**20, matrix=64)
    assert 0.01 < limits.bandwidth_gb_s < 1e5
    assert 0.001 < limits.peak_gflop_s < 1e7


def test_threads_are_as_before_after_measuring() -> None:
    before = torch.get_num_threads()
    measure_limits(Place("cpu", before + 1), read_bytes=2**20, matrix=64)
    assert torch.get_num_threads() == before


def test_the_slower_of_reading_and_multiplying_binds() -> None:
    # 500 weights are 2000 bytes.
    slow_memory = Limits(bandwidth_gb_s=1e-6, peak_gflop_s=1e-3)
    assert slow_memory.limit_ms(WORK, "fp32") == (pytest.approx(2000.0), "bandwidth")
    slow_arithmetic = Limits(bandwidth_gb_s=1.0, peak_gflop_s=1e-6)
    assert slow_arithmetic.limit_ms(WORK, "fp32") == (pytest.approx(6000.0), "operations")


def test_half_precision_reads_half_as_much() -> None:
    limits = Limits(bandwidth_gb_s=1e-6, peak_gflop_s=1.0)
    assert limits.bandwidth_ms(WORK, "fp16") == pytest.approx(limits.bandwidth_ms(WORK, "fp32") / 2)


def test_of_two_measurements_the_higher_rates_count() -> None:
    assert Limits(1.0, 9.0).best(Limits(2.0, 8.0)) == Limits(2.0, 9.0)


def test_a_device_that_is_not_there_is_said_so() -> None:
    with pytest.raises(BenchmarkError, match="'tpu' is not known: use cpu, cuda"):
        find_place("tpu", None)
    with pytest.raises(BenchmarkError, match="nothing can be measured on device 'cuda:99' here"):
        find_place("cuda:99", None)


def test_threads_are_those_asked_for_or_one_a_core() -> None:
    assert find_place("cpu", 3) == Place("cpu", 3)
    assert find_place("cpu", None).threads >= 1


def test_a_machine_that_was_busy_is_said_to_have_been() -> None:
    assert busy_note(None, 2) is None
    assert busy_note(0.4, 2) is None
    assert busy_note(3.5, 2) == (
        "the machine was busy before: load average 3.5 on 2 cores; times are longer than on an idle one"
    )


def test_load_and_free_memory_are_told_where_the_system_tells_them() -> None:
    load, free = load_average(), HERE.free_bytes()
    assert load is None or load >= 0
    assert free is None or free > 2**20
