"""Time of an update: ours against a recurrent model with everything in its loop, and its memories against `dnc`."""

from collections.abc import Callable, Mapping
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
from workedpapers.temporal_memory import (
    FLOOR,
    ONE,
    DifferentiableNeuralComputer,
    Introspection,
    LeastRecentlyUsed,
    NeuralTuring,
    Recurrent,
    TemporalGenerativeModel,
)


@dataclass(frozen=True)
class Cost:
    """Sizes of one batch and of the model: those of a known port of the VRNN, which sees an image row by row."""

    time: int = 28
    batch_size: int = 8
    observation: int = 28
    hidden_size: int = 100
    latent_size: int = 16
    code_size: int = 64
    repeats: int = 15


@dataclass(frozen=True)
class MemoryCost:
    """Sizes of the memories whose writes and reads are timed."""

    time: int = 20
    batch_size: int = 16
    hidden_size: int = 96
    width: int = 16
    slots: int = 16
    slot_width: int = 16
    reads: int = 2
    repeats: int = 9


class LoopedModel(nn.Module):
    """A variational recurrent network as it is usually written: encoder, prior, decoder, KL and controller in the loop.

    Args: model: of ours, `Recurrent` with `carry="both"` and binary frames; its layers are shared.
    Shape: input (time, batch, observation), noise (time, batch, latent_size) → the bound, summed over time, (batch,).
    """

    def __init__(self, model: TemporalGenerativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: Tensor, noise: Tensor) -> Tensor:
        """The bound on ln p(x) of every sequence, frame after frame."""
        model, batch = self.model, input.shape[1]
        hidden = cell = input.new_zeros(batch, model.memory.hidden_size)
        carried = input.new_zeros(batch, model.memory.width)
        bound = input.new_zeros(batch)
        for x, epsilon in zip(input, noise, strict=True):
            hidden, cell = model.controller(carried, (hidden, cell))
            code = model.encoder(x)
            prior_mean, prior_deviation = _two(model.prior(hidden))
            mean, deviation = _two(model.posterior(F.relu(model.belief(hidden) + model.evidence(code))))
            z = mean + deviation * epsilon
            logits = model.decoder(torch.cat((z, hidden), 1))
            likelihood = -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
            ratio, apart = deviation / prior_deviation, (mean - prior_mean) / prior_deviation
            kl = 0.5 * (ratio.square() + apart.square() - 1 - 2 * ratio.log()).sum(1)
            bound = bound + likelihood - kl
            carried = torch.cat((z, code), 1)
        return bound


def _two(raw: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = raw.chunk(2, 1)
    return mean, F.softplus(deviation + ONE) + FLOOR


def recurrent_model(config: Cost) -> TemporalGenerativeModel:
    """The model that both sides of the comparison share."""
    memory = Recurrent(config.hidden_size, config.latent_size + config.code_size)
    sizes = (config.observation, config.latent_size, memory)
    return TemporalGenerativeModel(*sizes, carry="both", code_size=config.code_size)


def measure(config: Cost, seed: int, device: torch.device) -> dict[str, object]:
    """Time forward and backward of the same bound, interleaved on one thread.

    Returns: `ours_seconds` and `loop_seconds` (medians over the rounds), `ours_bytes` and `loop_bytes` kept for the
        backward pass, `ours_ratio`, our time over the loop's (median of the rounds), `ours_best_ratio`, of the fastest.
    """
    torch.manual_seed(seed)
    model = recurrent_model(config).to(device)
    looped = LoopedModel(model)
    x = torch.rand(config.time, config.batch_size, config.observation).round().to(device)
    sizes = (config.time, config.batch_size, config.latent_size)
    losses: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: -model(x).total.sum(0).mean(),
        "loop": lambda: -looped(x, torch.randn(sizes, device=device)).mean(),
    }
    return _timed(losses, config.repeats, "loop")


def memories(config: MemoryCost) -> dict[str, Recurrent]:
    """The memories by name, of equal sizes; the rows of `introspection` are what is carried."""
    controller = (config.hidden_size, config.width)
    sizes = (config.slots, config.slot_width, config.reads)
    return {
        "dnc": DifferentiableNeuralComputer(*controller, *sizes),
        "ntm": NeuralTuring(*controller, *sizes),
        "lru": LeastRecentlyUsed(*controller, *sizes),
        "introspection": Introspection(*controller, config.slots, config.reads),
    }


def measure_memories(config: MemoryCost, seed: int, device: torch.device) -> dict[str, object]:
    """Time writes and reads of a sequence, forward and backward, the controller given, interleaved on one thread.

    Returns: `_seconds` and `_bytes` as `measure`, for our `dnc`, `ntm`, `lru` and `introspection` and for `package`,
        the memory of the package dnc, a Differentiable Neural Computer; where that is installed also `_ratio` and
        `_best_ratio` of ours, their time over the package's.
    """
    torch.manual_seed(seed)
    hidden = torch.randn(config.time, config.batch_size, config.hidden_size).to(device).requires_grad_()
    carried = torch.randn(config.time, config.batch_size, config.width).to(device)

    def run(memory: Recurrent) -> Tensor:
        state, reads = memory.reset(config.batch_size), []
        for h, v in zip(hidden, carried, strict=True):
            read, state = memory.read(memory.write(state, h, v), h)
            reads.append(read)
        return torch.stack(reads).square().mean()

    losses: dict[str, Callable[[], Tensor]] = {
        name: partial(run, memory.to(device)) for name, memory in memories(config).items()
    }
    package: Any = import_module("dnc") if find_spec("dnc") else None
    if hasattr(package, "Memory") and device.type == "cpu":
        inputs = config.hidden_size + config.width
        peer = package.Memory(inputs, config.slots, config.slot_width, config.reads, independent_linears=False)

        def run_package() -> Tensor:
            state, reads = peer.reset(config.batch_size), []
            for told in torch.cat((hidden, carried), 2):
                read, state = peer(told, state)
                reads.append(read)
            return torch.stack(reads).square().mean()

        losses["package"] = run_package
    return _timed(losses, config.repeats, "package")


def _timed(losses: Mapping[str, Callable[[], Tensor]], repeats: int, peer: str) -> dict[str, object]:
    """Seconds and bytes kept of a forward and a backward pass, and the ratios of ours to the peer's, if it is there."""

    def update(loss: Callable[[], Tensor]) -> None:
        loss().backward()

    order = sorted(losses, key=lambda name: name != peer)  # ratios are the first one's time over the others'
    timed = interleaved({name: partial(update, losses[name]) for name in order}, repeats)
    metrics: dict[str, object] = {}
    for name, loss in losses.items():
        metrics[f"{name}_seconds"] = timed[name].median_ms / 1e3
        metrics[f"{name}_bytes"] = saved_bytes(loss)
        if peer in losses and name != peer:
            metrics[f"{name}_ratio"] = 1 / timed[name].ratio
            metrics[f"{name}_best_ratio"] = timed[name].min_ms / timed[peer].min_ms
    return metrics


#: Best on an idle machine.
COST = Experiment(
    "temporal_memory_cost",
    Cost,
    measure,
    {"check": [Cost(3, 2, 4, 5, 2, 3, repeats=2)], "book": [Cost(), Cost(batch_size=128)]},
    {"check": range(1), "book": range(1)},
)
MEMORY_COST = Experiment(
    "temporal_memory_memory_cost",
    MemoryCost,
    measure_memories,
    {"check": [MemoryCost(3, 2, 5, 4, 3, 2, 1, repeats=2)], "book": [MemoryCost()]},
    {"check": range(1), "book": range(1)},
)
