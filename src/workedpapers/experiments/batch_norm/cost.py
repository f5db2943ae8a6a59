"""What the layer costs, beside torch's kernel and the plain formula."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from workedpapers.batch_norm import batch_norm
from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved


@dataclass(frozen=True)
class Cost:
    """What to time: an input of `batch_size` images of `side` × `side` sites; with side 0, of plain features.

    With `compiled`, ours under torch.compile, too, which needs a compiler.
    """

    batch_size: int = 32
    channels: int = 64
    side: int = 32
    compiled: bool = True
    repeats: int = 30


def readable(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The formula of the paper as one would write it, for autograd to differentiate."""
    axes = [0, *range(2, x.dim())]
    mean = x.mean(axes, keepdim=True)
    var = ((x - mean) ** 2).mean(axes, keepdim=True)
    x_hat = (x - mean) / torch.sqrt(var + 1e-5)
    shape = (1, -1, *[1] * (x.dim() - 2))
    return weight.view(shape) * x_hat + bias.view(shape)


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward and backward passes, each rival in turn with torch's kernel, on one thread.

    Returns: `ours_ratio`, `readable_ratio` and, if asked for, `compiled_ratio`: the rival's time over that of
        `torch.nn.functional.batch_norm`, medians over the rounds.
    """
    generator = torch.Generator().manual_seed(seed)
    sites = (config.side, config.side) if config.side else ()
    x, grad_output = torch.randn(2, config.batch_size, config.channels, *sites, generator=generator).to(device)
    weight, bias = (torch.ones(config.channels, device=device, requires_grad=True) for _ in range(2))
    leaves = [x.requires_grad_(), weight, bias]

    def step(layer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(layer(*leaves), leaves, grad_output)

    def torchs(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, weight, bias, training=True)

    rivals: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"ours": batch_norm, "readable": readable}
    if config.compiled:
        rivals["compiled"] = torch.compile(batch_norm)
    ratios: dict[str, object] = {}
    for name, rival in rivals.items():
        timed = interleaved({"rival": step(rival), "torch": step(torchs)}, config.repeats)
        ratios[f"{name}_ratio"] = timed["torch"].ratio
    return ratios


#: Time of a forward and a backward pass beside torch's kernel.
COST = Experiment(
    "batch_norm_cost",
    Cost,
    measure,
    {
        "check": [Cost(4, 3, 5, compiled=False, repeats=2)],
        "book": [Cost(60, 100, 0), Cost(256, 1024, 0), Cost(32, 64, 32), Cost(64, 128, 16), Cost(64, 16, 64)],
    },
    {"check": range(1), "book": range(1)},
)
