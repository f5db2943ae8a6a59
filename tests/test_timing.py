"""Interleaved timing and the count of what autograd keeps."""

import pytest
import torch

from workedpapers.lab.timing import interleaved, saved_bytes


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a function turns it on."""
    now = [0.0]
    monkeypatch.setattr("workedpapers.lab.timing.time.perf_counter", lambda: now[0])

    def turn(seconds):
        now[0] += seconds

    return turn


def test_ratios_are_the_first_functions_time_over_the_others(clock):
    lengths = iter([9.0, 9.0, 0.002, 0.008, 0.002, 0.016, 0.004, 0.012])  # the first round does not count
    timed = interleaved({"a": lambda: clock(next(lengths)), "b": lambda: clock(next(lengths))}, repeats=3)
    assert timed["a"] == pytest.approx((2.0, 2.0, 1.0))
    assert timed["b"] == pytest.approx((12.0, 8.0, 0.25))


def test_functions_run_in_turn_on_one_thread(clock):
    threads, calls = torch.get_num_threads(), []

    def note(name):
        clock(1)
        calls.append((name, torch.get_num_threads()))

    torch.set_num_threads(2)
    try:
        interleaved({"a": lambda: note("a"), "b": lambda: note("b")}, repeats=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert calls == 3 * [("a", 1), ("b", 1)]


def test_saved_bytes_counts_each_storage_once():
    x, y = torch.ones(100, requires_grad=True), torch.ones(100, requires_grad=True)
    assert saved_bytes(lambda: x * y) == 800
    assert saved_bytes(lambda: x * x) == 400
    assert saved_bytes(lambda: x[:50] * y[50:]) == 800  # views keep the whole storage
    assert saved_bytes(lambda: x + y) == 0
