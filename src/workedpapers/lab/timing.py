"""Timings that can be compared: interleaved, one thread, in one process."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

import torch


class Timing(NamedTuple):
    """Median and minimum over the rounds, and `ratio`: the median of the first function's time over this one's."""

    median_ms: float
    min_ms: float
    ratio: float


def interleaved(functions: Mapping[str, Callable[[], object]], repeats: int = 20) -> dict[str, Timing]:
    """Time functions in turn, so that a slow moment of the machine hits all of them.

    Args:
        functions: what to time, by name; ratios are the first one's time over that of each.
        repeats: rounds, after one that is not counted.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [{name: _milliseconds(function) for name, function in functions.items()} for _ in range(repeats + 1)]
    finally:
        torch.set_num_threads(threads)
    first = next(iter(functions))
    return {
        name: Timing(
            median(times[name] for times in rounds[1:]),
            min(times[name] for times in rounds[1:]),
            median(times[first] / times[name] for times in rounds[1:]),
        )
        for name in functions
    }


def saved_bytes(function: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the backward pass of what `function` computes, each storage counted once."""
    storages: dict[int, int] = {}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)  # a storage that is freed could give its address to another
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(storages.values())


def _milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1e3 * (time.perf_counter() - start)
