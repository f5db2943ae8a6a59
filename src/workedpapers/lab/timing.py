"""Timings that can be compared: interleaved, one thread, in one process."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import pandas as pd
import torch


def interleaved(functions: Mapping[str, Callable[[], object]], repeats: int = 20) -> pd.DataFrame:
    """Time functions in turn, so that a slow moment of the machine hits all of them.

    Args:
        functions: what to time, by name; the first is the one that ratios compare with the others.
        repeats: rounds after one that is not counted.
    Returns: one row a function, in order: `median_ms`, `min_ms`, and `ratio`, the median over the rounds of the
        first function's time divided by this one's.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [{name: _milliseconds(function) for name, function in functions.items()} for _ in range(repeats + 1)]
    finally:
        torch.set_num_threads(threads)
    first = next(iter(functions))
    return pd.DataFrame(
        [
            {
                "median_ms": median(r[name] for r in rounds[1:]),
                "min_ms": min(r[name] for r in rounds[1:]),
                "ratio": median(r[first] / r[name] for r in rounds[1:]),
            }
            for name in functions
        ],
        index=list(functions),
    )


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
