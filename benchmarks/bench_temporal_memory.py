"""A variational recurrent network: ours against one with all in its loop; our memories against the package dnc 1.1.0.

One process, interleaved, one thread, float32, forward and backward. First the bound on 28 rows of 28 pixels, LSTM of
100 units, 16 latents, 64 units elsewhere: `loop` shares our layers and computes the same numbers, but runs encoder,
prior, decoder and KL frame by frame. Then 20 writes and reads of each memory alone, 16 slots of 16, 2 read heads,
batches of 16: `package` is the memory of dnc, a Differentiable Neural Computer.
"""

import pandas as pd
import torch

from workedpapers.experiments.temporal_memory.cost import (
    Cost,
    LoopedModel,
    MemoryCost,
    measure,
    measure_memories,
    recurrent_model,
)

CPU = torch.device("cpu")
GOALS = {8: 0.5, 128: 0.8}


def same_numbers(config: Cost) -> None:
    """Refuse to time what does not compute the same bound and the same gradients from the same noise and weights."""
    torch.manual_seed(0)
    model = recurrent_model(config)
    x = torch.rand(config.time, config.batch_size, config.observation).round()
    torch.manual_seed(1)
    ours = model(x).total.sum(0)
    torch.manual_seed(1)
    theirs = LoopedModel(model)(x, torch.randn(config.time, config.batch_size, config.latent_size))
    torch.testing.assert_close(ours, theirs)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(bound.mean(), parameters) for bound in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def table(metrics: dict[str, object]) -> pd.DataFrame:
    rows: dict[str, dict[str, object]] = {}
    for key, value in metrics.items():
        name, quantity = key.split("_", 1)
        rows.setdefault(name, {})[quantity] = value
    frame = pd.DataFrame.from_dict(rows, orient="index").rename(columns={"seconds": "ms", "bytes": "saved_mb"})
    return frame.assign(ms=frame["ms"] * 1e3, saved_mb=frame["saved_mb"] / 1e6).round(3)


if __name__ == "__main__":
    print(__doc__)
    for batch_size, goal in GOALS.items():
        config = Cost(batch_size=batch_size)
        same_numbers(config)
        print(f"{batch_size} sequences, goal {goal}")
        print(table(measure(config, 0, CPU)).to_string(), end="\n\n")
    metrics = measure_memories(MemoryCost(), 0, CPU)
    print("memories alone")
    print(table(metrics).to_string())
    print(
        "\nratio: the row's time over that of loop or package, median of the rounds; best_ratio: of the fastest rounds."
    )
    if "package_seconds" not in metrics:
        print("dnc is not installed: pip install --no-deps dnc==1.1.0 to compare with it.")
