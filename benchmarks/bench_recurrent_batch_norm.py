"""Batch-normalised LSTM against its loop over torch's batch norm, and torch's LSTM, forward and backward, float32.

One process, interleaved, one thread, training. The loop is what public ports do: three `batch_norm` a time step.
"""

import pandas as pd
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from workedpapers.experiments.recurrent_batch_norm import stepwise
from workedpapers.lab.timing import Timing, interleaved, saved_bytes
from workedpapers.recurrent_batch_norm import BatchNormLSTM

SIZES = {(784, 100, 1, 100): 0.6, (100, 64, 50, 128): 0.8}  # time, batch, input, hidden, and the goal


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


class Loop(BatchNormLSTM):
    """The same layer by torch's operations, a step at a time, without its bookkeeping."""

    def forward(self, input):
        return stepwise(self, input), None


def compare(time: int, batch: int, input_size: int, hidden_size: int) -> pd.DataFrame:
    torch.manual_seed(0)
    layers = {
        "BatchNormLSTM": BatchNormLSTM(input_size, hidden_size, max_length=time),
        "loop": Loop(input_size, hidden_size, max_length=time),
        "torch.nn.LSTM": nn.LSTM(input_size, hidden_size),
    }
    x, weight = torch.randn(time, batch, input_size), torch.randn(time, batch, hidden_size)
    steps = {name: lambda layer=layer: (layer(x)[0] * weight).sum().backward() for name, layer in layers.items()}
    table = pd.DataFrame.from_dict(interleaved(steps, 8), orient="index", columns=Timing._fields)
    table["saved_mb"] = [saved_bytes(lambda layer=layer: layer(x)) / 1e6 for layer in layers.values()]
    table["peak_mb"] = [peak_bytes(step) / 1e6 for step in steps.values()]
    return table.assign(sizes=str((time, batch, input_size, hidden_size))).set_index("sizes", append=True).swaplevel()


if __name__ == "__main__":
    print(__doc__)
    print(pd.concat([compare(*sizes) for sizes in SIZES]).round(3).to_string())
    print("\nsizes: time, batch, input, hidden. saved: kept for the backward pass; peak: the most at once.")
    goals = ", ".join(f"{goal} of the loop at {sizes}" for sizes, goal in SIZES.items())
    print(f"ratio: BatchNormLSTM's time over the row's. Goal: at most {goals}.")
