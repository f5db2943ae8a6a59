"""What the layer costs, beside PyTorch's own."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import get_args

import torch
from torch import nn

from workedpapers.fractional_max_pooling import Draw, FractionalMaxPool2d, Overlap
from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved, saved_bytes


@dataclass(frozen=True)
class Cost:
    """One shape at which the layer is timed: images, channels, and the sides before and after."""

    batch_size: int
    channels: int
    n_in: int
    n_out: int
    repeats: int = 30


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward and backward passes beside torch's layer on one thread, drawing included, each rival in turn.

    Returns: `<overlap>_<draw>_ratio`: time over that of `torch.nn.FractionalMaxPool2d`, which draws squares for each
        channel, medians over the rounds;
        `halving_ratio`: of 2×2 max-pooling with stride two, whose output is smaller; `ours_bytes` and `torch_bytes`:
        kept for the backward pass, per number of the output, beside the input.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = config.batch_size, config.channels, config.n_in, config.n_in
    x = torch.randn(shape, generator=generator).to(device).requires_grad_()
    rivals: dict[str, nn.Module] = {
        f"{overlap}_{draw}": FractionalMaxPool2d(config.n_out, overlap=overlap, draw=draw)
        for overlap, draw in product(get_args(Overlap), get_args(Draw))
    }
    rivals["halving"] = nn.MaxPool2d(2)
    torchs = nn.FractionalMaxPool2d(2, config.n_out)

    def step(layer: nn.Module) -> object:
        y = layer(x)
        return torch.autograd.grad(y, x, torch.ones_like(y))

    found: dict[str, object] = {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for name, rival in rivals.items():
            timed = interleaved({"rival": partial(step, rival), "torch": partial(step, torchs)}, config.repeats)
            found[f"{name}_ratio"] = timed["torch"].ratio
        outputs = config.batch_size * config.channels * config.n_out**2
        for name, layer in (("ours", rivals["square_image"]), ("torch", torchs)):
            kept = saved_bytes(partial(layer, x))
            found[f"{name}_bytes"] = kept / outputs
    return found


#: Time and memory beside torch's layer: large planes, those of the experiments' last three poolings, one image.
COST = Experiment(
    "fractional_max_pooling_cost",
    Cost,
    measure,
    {
        "check": [Cost(2, 3, 10, 7, repeats=2)],
        "book": [
            *(Cost(100, 32, 35, 25), Cost(32, 64, 24, 17), Cost(20, 32, 93, 74)),
            *(Cost(50, 24, 10, 7, repeats=200), Cost(50, 30, 6, 4, repeats=200), Cost(50, 36, 3, 2, repeats=200)),
            Cost(1, 24, 10, 7, repeats=200),
        ],
    },
    {"check": range(1), "book": range(1)},
)
