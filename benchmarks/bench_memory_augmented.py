"""Memory-augmented network: ours against a Neural Turing Machine that loops over examples, and the package dnc 1.1.0.

One process, interleaved, one thread, float32; forward, cross-entropy and backward of 16 episodes of 50 steps: 405
inputs, 5 outputs, LSTM of 200 units, 128 slots of 40, 4 read heads and 1 write head. `loop` turns the weights of one
example and one head at a time, as published code does.
"""

import pandas as pd
import torch

from workedpapers.experiments.memory_augmented.cost import Cost, measure

GOALS = {"loop": 0.4, "dnc": 0.2}

if __name__ == "__main__":
    print(__doc__)
    metrics = measure(Cost(), 0, torch.device("cpu"))
    rows = {}
    for key, value in metrics.items():
        name, quantity = key.split("_", 1)
        rows.setdefault(name, {})[quantity] = value
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = pd.DataFrame(
        {
            "ms": table["seconds"] * 1e3,
            "saved_mb": table["bytes"] / 1e6,
            "ratio": table["ratio"],
            "best_ratio": table["best_ratio"],
            "goal": pd.Series(GOALS),
        }
    )
    print(table.loc[list(rows)].round(3).to_string())
    print("\nratio: our time over the row's, median of the rounds; best_ratio: of the fastest rounds.")
    if "dnc" not in rows:
        print("dnc is not installed: pip install --no-deps dnc==1.1.0 to compare with it.")
