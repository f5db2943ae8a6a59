"""Progressive network: a training step of the newest of K columns, ours, a loop, Doric 1.1.1, Avalanche 0.6.0.

One process, interleaved, one thread, float32; forward, cross-entropy and backward of the newest column, 784-256-256-10,
batch 128. `ours` has the features of the frozen columns at hand, `uncached` runs them; `adapter` and
`uncached_adapter` are the same with adapters, to be held against Avalanche. `loop` has a Linear for every lateral
connection and runs all columns with autograd, as published code does.
"""

import pandas as pd
import torch

from workedpapers.experiments.progressive_nets.cost import Cost, measure

GOALS = {"doric": 0.33, "avalanche": 0.25}
QUANTITIES = ("best_ratio", "seconds", "parameters", "ratio")

if __name__ == "__main__":
    print(__doc__)
    for columns in (1, 2, 4, 8):
        metrics = measure(Cost(columns), 0, torch.device("cpu"))
        rows = {}
        for key, value in metrics.items():
            quantity = next(name for name in QUANTITIES if key.endswith(f"_{name}"))
            rows.setdefault(key.removesuffix(f"_{quantity}"), {})[quantity] = value
        table = pd.DataFrame.from_dict(rows, orient="index")
        table = pd.DataFrame(
            {
                "ms": table["seconds"] * 1e3,
                "parameters": table["parameters"].astype(int),
                "ratio": table["ratio"],
                "best_ratio": table["best_ratio"],
                "goal": pd.Series(GOALS if columns == 8 else {}, dtype=float),
            }
        )
        print(f"K = {columns}\n{table.loc[list(rows)].round(3).to_string()}\n")
    print("ratio: the time of `ours` over the row's, median of the rounds; best_ratio: of the fastest rounds.")
    for name in GOALS.keys() - rows.keys():
        print(f"{name} does not import here: install it without its dependencies to compare with it.")
