"""Time and memory of an update: ours against a Turing machine that loops over examples, and against the package dnc."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workedpapers.lab import Experiment
from workedpapers.lab.timing import interleaved, saved_bytes
from workedpapers.memory_augmented import Addressing, MemoryAugmentedNetwork


@dataclass(frozen=True)
class Cost:
    """Sizes of one batch of episodes and of the network; the paper's, with images of 20 × 20 pixels and five labels."""

    time: int = 50
    batch_size: int = 16
    slots: int = 128
    width: int = 40
    reads: int = 4
    hidden_size: int = 200
    input_size: int = 405
    output_size: int = 5
    repeats: int = 9


class LoopedTuringMachine(nn.Module):
    """A Neural Turing Machine in the shape of published code: a head at a time, shifts an example at a time.

    Args: config: sizes; one write head.
    Shape: input (time, batch, input_size) → output (time, batch, output_size).
    """

    def __init__(self, config: Cost) -> None:
        super().__init__()
        self.config, width = config, config.width
        read = config.reads * width
        self.controller = nn.LSTMCell(config.input_size + read, config.hidden_size)
        emitted = [width + 6] * config.reads + [3 * width + 6]  # key, strength, gate, shifts, power; erase and contents
        self.heads = nn.ModuleList(nn.Linear(config.hidden_size, size) for size in emitted)
        self.output = nn.Linear(config.hidden_size + read, config.output_size)

    def address(self, told: Tensor, before: Tensor, memory: Tensor) -> Tensor:
        """Weights (batch, slots) of one head, from what it is told, (batch, width + 6)."""
        key, strength, gate, shift, power = told.split((self.config.width, 1, 1, 3, 1), 1)
        similarity = F.cosine_similarity(memory + 1e-16, key.tanh().unsqueeze(1) + 1e-16, dim=-1)
        content = (F.softplus(strength) * similarity).softmax(1)
        mixed = gate.sigmoid() * content + (1 - gate.sigmoid()) * before
        moved = torch.stack([_turn(*example) for example in zip(mixed, shift.softmax(1), strict=True)])
        powered = moved ** (1 + F.softplus(power))
        return powered / (powered.sum(1, keepdim=True) + 1e-16)

    def forward(self, input: Tensor) -> Tensor:
        """The outputs of a sequence from an empty memory."""
        config, batch = self.config, input.shape[1]
        memory = input.new_zeros(batch, config.slots, config.width)
        before = [F.one_hot(torch.zeros_like(input[0, :, 0], dtype=torch.int64), config.slots).to(input)] * len(
            self.heads
        )
        read, state, outputs = input.new_zeros(batch, config.reads * config.width), None, []
        for x in input:
            state = self.controller(torch.cat((x, read), 1), state)
            hidden, vectors = state[0], []
            for i, head in enumerate(self.heads):
                told = head(hidden)
                before[i] = self.address(told[:, : config.width + 6], before[i], memory)
                if i < config.reads:
                    vectors.append(torch.bmm(before[i].unsqueeze(1), memory).squeeze(1))
                else:
                    erase, contents = told[:, config.width + 6 :].chunk(2, 1)
                    kept = 1 - before[i].unsqueeze(2) * erase.sigmoid().unsqueeze(1)
                    memory = memory * kept + before[i].unsqueeze(2) * contents.tanh().unsqueeze(1)
            read = torch.cat(vectors, 1)
            outputs.append(self.output(torch.cat((hidden, read), 1)))
        return torch.stack(outputs)


def _turn(weights: Tensor, shift: Tensor) -> Tensor:
    """Circular convolution of one example's weights, (slots,), with its distribution over shifts by −1, 0 and 1."""
    around = torch.cat((weights[-1:], weights, weights[:1]))
    return F.conv1d(around.view(1, 1, -1), shift.flip(0).view(1, 1, -1)).view(-1)


def networks(config: Cost, device: torch.device) -> dict[str, Callable[[Tensor], Tensor]]:
    """The networks to compare by name, from (time, batch, input_size) to outputs; `dnc` only where it is installed."""

    def ours(addressing: Addressing) -> Callable[[Tensor], Tensor]:
        network = MemoryAugmentedNetwork(
            config.input_size,
            config.output_size,
            hidden_size=config.hidden_size,
            slots=config.slots,
            width=config.width,
            reads=config.reads,
            addressing=addressing,
            device=device,
        )
        return lambda x: network(x)[0]

    compared: dict[str, Callable[[Tensor], Tensor]] = {
        "ours": ours("lru"),
        "ntm": ours("ntm"),
        "loop": LoopedTuringMachine(config).to(device),
    }
    package: Any = import_module("dnc") if find_spec("dnc") else None
    if hasattr(package, "DNC") and device.type == "cpu":
        peer = package.DNC(
            input_size=config.input_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=1,
            nr_cells=config.slots,
            cell_size=config.width,
            read_heads=config.reads,
            batch_first=False,
            gpu_id=-1,
        )
        compared["dnc"] = lambda x: peer(x, reset_experience=True)[0][..., : config.output_size]
    return compared


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward, cross-entropy and backward, interleaved on one thread.

    Returns: for `ours`, ours with `ntm` addressing, the `loop` and `dnc`: `_seconds` (median over the rounds),
        `_ratio`, ours over theirs (median of the rounds), `_best_ratio`, of the fastest rounds, and `_bytes` kept for
        the backward pass.
    """
    torch.manual_seed(seed)
    x = torch.rand(config.time, config.batch_size, config.input_size).to(device)
    y = torch.randint(config.output_size, (config.time, config.batch_size)).to(device)
    compared = networks(config, device)

    def loss(network: Callable[[Tensor], Tensor]) -> Tensor:
        return F.cross_entropy(network(x).flatten(0, 1), y.flatten())

    losses = {name: partial(loss, network) for name, network in compared.items()}

    def update(name: str) -> None:
        losses[name]().backward()

    timed = interleaved({name: partial(update, name) for name in compared}, config.repeats)
    metrics: dict[str, object] = {}
    for name, timing in timed.items():
        metrics[f"{name}_seconds"] = timing.median_ms / 1e3
        metrics[f"{name}_bytes"] = saved_bytes(losses[name])
        if name != "ours":
            metrics[f"{name}_ratio"] = timing.ratio
            metrics[f"{name}_best_ratio"] = timed["ours"].min_ms / timing.min_ms
    return metrics


#: Best on an idle machine.
COST = Experiment(
    "memory_augmented_cost",
    Cost,
    measure,
    {"check": [Cost(3, 2, 8, 4, 2, 6, 7, 3, repeats=2)], "book": [Cost()]},
    {"check": range(1), "book": range(1)},
)
