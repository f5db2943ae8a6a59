"""Fast weights: attention form against the explicit matrix and torch's LSTM, forward and backward, float32.

One process, interleaved, one thread, batch 128, 11 steps (four pairs), 100 input features.
"""

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from workedpapers.fast_weights import FastWeights
from workedpapers.lab.timing import Timing, interleaved, saved_bytes

BATCH, TIME, INPUT = 128, 11, 100


def peak_bytes(step) -> int:
    """The most that tensors made by `step` hold at once, by the profiler's record of allocations."""
    step()  # gradients are there from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    held = peak = 0
    for event in sorted(recorded.events(), key=lambda event: event.time_range.start):
        held += event.self_cpu_memory_usage  # what this operation took, less what it gave back
        peak = max(peak, held)
    return peak


def compare(hidden_size: int) -> pd.DataFrame:
    torch.manual_seed(0)
    layers = {
        "attention": FastWeights(INPUT, hidden_size, decay=0.9),
        "matrix": FastWeights(INPUT, hidden_size, decay=0.9, form="matrix"),
        "torch.nn.LSTM": torch.nn.LSTM(INPUT, hidden_size, batch_first=True),
    }
    x = torch.randn(BATCH, TIME, INPUT)
    steps = {name: lambda layer=layer: layer(x)[0].sum().backward() for name, layer in layers.items()}
    table = pd.DataFrame.from_dict(interleaved(steps, 50), orient="index", columns=Timing._fields)
    table["saved_mb"] = [saved_bytes(lambda layer=layer: layer(x)) / 1e6 for layer in layers.values()]
    table["peak_mb"] = [peak_bytes(step) / 1e6 for step in steps.values()]
    return table.assign(hidden_size=hidden_size).set_index("hidden_size", append=True).swaplevel()


if __name__ == "__main__":
    print(__doc__)
    print(pd.concat([compare(size) for size in (20, 50, 100)]).round(3).to_string())
    print("\nsaved: kept for the backward pass; peak: the most at once, forward and backward.")
    print("ratio: the attention form's time over the row's. Goal: at most 0.25 of the matrix form at 50 and 100 units.")
