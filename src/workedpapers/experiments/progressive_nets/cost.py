"""Time of a step of the newest column: ours against a loop over laterals, and the packages Doric and Avalanche."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved
from workedpapers.progressive_nets import ProgressiveNetwork


@dataclass(frozen=True)
class Cost:
    """Sizes of one batch and of the network; two hidden layers in every column."""

    columns: int = 8
    batch_size: int = 128
    input_size: int = 784
    hidden_size: int = 256
    output_size: int = 10
    repeats: int = 31


class LoopedNetwork(nn.Module):
    """Columns in the shape of published code: a Linear for every lateral connection, all columns with autograd on.

    Args: config: sizes.
    Shape: input (batch, input_size) → output of the last column (batch, output_size).
    """

    def __init__(self, config: Cost) -> None:
        super().__init__()
        sizes = [config.input_size, config.hidden_size, config.hidden_size, config.output_size]
        pairs = list(pairwise(sizes))
        self.own, self.lateral = nn.ModuleList(), nn.ModuleList()
        for k in range(config.columns):
            self.requires_grad_(False)
            self.own.extend(nn.Linear(*pair) for pair in pairs)
            self.lateral.extend(nn.Linear(*pair) for pair in pairs[1:] for _ in range(k))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of the last column."""
        own, lateral = iter(self.own), iter(self.lateral)
        stored: list[list[Tensor]] = [[], [], []]  # by layer, of all columns
        for _ in range(len(self.own) // 3):
            h = x
            for i in range(3):
                z = next(own)(h)
                for other in stored[i - 1][:-1] if i else []:
                    z = z + next(lateral)(other)
                h = F.relu(z) if i < 2 else z
                stored[i].append(h)
        return h


def networks(config: Cost, x: Tensor) -> dict[str, tuple[Callable[[], Tensor], nn.Module]]:
    """What is compared by name: how to compute the outputs at x, and the network; packages only where they import.

    `ours` has features at hand, `uncached` has not; so have `adapter` and `uncached_adapter`. `avalanche` has no
    laterals to the output layer, but such from the input; `doric` creates those from the input and does not run them.
    """
    compared: dict[str, tuple[Callable[[], Tensor], nn.Module]] = {}

    def column(_: int) -> nn.Sequential:
        inputs, width = config.input_size, config.hidden_size
        return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    for name, other, network in (
        ("ours", "uncached", ProgressiveNetwork(column)),
        ("adapter", "uncached_adapter", ProgressiveNetwork(column, lateral="adapter")),
    ):
        for k in range(config.columns):
            network.add_column(f"{k}", config.output_size)
        network.to(x.device)
        task = network.tasks[-1]
        compared[name] = (partial(network, x, task, network.features(x, task)), network)
        compared[other] = (partial(network, x, task), network)
    loop = LoopedNetwork(config).to(x.device)
    compared["loop"] = (partial(loop, x), loop)
    for name, build in {"doric": _doric, "avalanche": _avalanche}.items():
        try:
            compared[name] = build(config, x)
        except (ImportError, RuntimeError):
            continue  # not installed, or not for this version of torch
    return compared


def _doric(config: Cost, x: Tensor) -> tuple[Callable[[], Tensor], nn.Module]:
    doric: Any = import_module("Doric")
    sizes = [config.input_size, config.hidden_size, config.hidden_size, config.output_size]

    class Generator(doric.ProgColumnGenerator):  # type: ignore[misc]
        def generateColumn(self, parents: list[Any], _: object = None) -> Any:
            activations = [nn.ReLU(), nn.ReLU(), None]
            blocks = [
                doric.ProgDenseBlock(*pair, len(parents), activation=activation)
                for *pair, activation in zip(sizes, sizes[1:], activations, strict=False)
            ]
            return doric.ProgColumn(f"{len(parents)}", blocks, parentCols=parents)

    network = doric.ProgNet(colGen=Generator())
    for _ in range(config.columns):
        network.freezeAllColumns()
        last = network.addColumn()
    network.to(x.device)
    return partial(network, last, x), network


def _avalanche(config: Cost, x: Tensor) -> tuple[Callable[[], Tensor], nn.Module]:
    models: Any = import_module("avalanche.models")
    sizes = [config.input_size, config.hidden_size, config.hidden_size]
    layers: Any = nn.ModuleList(models.PNNLayer(*pair) for pair in pairwise(sizes))
    for layer in layers:
        layer.task_to_module_idx = {k: k for k in range(config.columns)}
        for _ in range(config.columns - 1):
            layer._add_column()
    head: Any = nn.Linear(config.hidden_size, config.output_size)
    network = nn.ModuleList([layers, head]).to(x.device)

    def outputs() -> Tensor:
        hidden = [x] * config.columns
        for layer in layers:
            hidden = [F.relu(h) for h in layer.forward_single_task(hidden, config.columns - 1)]
        result: Tensor = head(hidden[-1])
        return result

    return outputs, network


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward, cross-entropy and backward of the newest column, interleaved on one thread.

    Returns: for each of `networks`: `_seconds` (median over the rounds), `_ratio`, ours over theirs (median of the
        rounds), `_best_ratio`, of the fastest rounds, and `_parameters`, all of the network's.
    """
    torch.manual_seed(seed)
    x = torch.rand(config.batch_size, config.input_size).to(device)
    y = torch.randint(config.output_size, (config.batch_size,)).to(device)
    compared = networks(config, x)

    def step(outputs: Callable[[], Tensor], network: nn.Module) -> None:
        network.zero_grad()
        F.cross_entropy(outputs(), y).backward()

    timed = interleaved({name: partial(step, *pair) for name, pair in compared.items()}, config.repeats)
    metrics: dict[str, object] = {}
    for name, timing in timed.items():
        metrics[f"{name}_seconds"] = timing.median_ms / 1e3
        metrics[f"{name}_parameters"] = sum(parameter.numel() for parameter in compared[name][1].parameters())
        if name != "ours":
            metrics[f"{name}_ratio"] = timing.ratio
            metrics[f"{name}_best_ratio"] = timed["ours"].min_ms / timing.min_ms
    return metrics


#: Best on an idle machine.
COST = Experiment(
    "progressive_nets_cost",
    Cost,
    measure,
    {"check": [Cost(3, 4, 6, 5, 3, repeats=2)], "book": [Cost(k) for k in (1, 2, 4, 8)]},
    {"check": range(1), "book": range(1)},
)
