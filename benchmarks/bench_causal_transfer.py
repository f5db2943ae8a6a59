"""Causal transfer: all runs in one tensor and closed form, against one pair of modules at a time under autograd.

One process, interleaved, one thread, float64, both directions, single examples, learning rate 1. The others: logits as
parameters, autograd, torch.optim.SGD. `published` has the shape of the published code, which gathers the row of every
example and normalises each; `tables` normalises every table once. `evaluation`: the expected log-likelihood on the
transfer distribution at every step, exact on our side, on 10,000 samples on theirs.
"""

import dataclasses

import pandas as pd
import torch

from workedpapers.experiments.causal_transfer import COST, measure

GOAL = 500

if __name__ == "__main__":
    print(__doc__)
    torch.set_num_threads(1)
    rows = [dataclasses.asdict(c) | measure(c, 0, torch.device("cpu")) for c in COST.configs("book")]
    table = pd.DataFrame(rows).set_index(["values", "evaluation", "peer"])[
        ["ours_seconds", "autograd_seconds", "ratio"]
    ]
    print((table * [1e6, 1e6, 1]).sort_index().round(2).to_string())
    print(f"\nTimes in microseconds per run and step. Goal: {GOAL} times the published shape, with evaluation.")
