"""Gradient descent, alike for all tasks and arms."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from workedpapers.lab import progress


class Budget(Protocol):
    """What a configuration says of its updates."""

    @property
    def learning_rate(self) -> float:
        """Of the first update."""

    @property
    def updates(self) -> int:
        """How many."""


@dataclass
class Descent:
    """What a run has seen.

    Attributes:
        losses: of every update.
        norms: of every gradient, before clipping.
        moments, measured: updates at about ten moments, and what was measured there.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The mean of the last 50 updates."""
        return sum(self.losses[-50:]) / len(self.losses[-50:])


def descend(
    model: nn.Module,
    loss: Callable[[], Tensor],
    config: Budget,
    label: str,
    measure: Callable[[], float] | None = None,
) -> Descent:
    """Train by Adam at a rate that falls linearly to zero; gradients are clipped at norm 1.

    An update whose gradient is not finite is left out: it would end the run.

    Args:
        model: in training.
        loss: of the next batch.
        config: rate and number of updates.
        label: of the progress bar.
        measure: called at about ten moments, if at all.
    """
    optimizer = torch.optim.Adam(model.parameters())
    run = Descent()
    for done in progress(range(1, config.updates + 1), label):
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - (done - 1) / config.updates)
        value = loss()
        optimizer.zero_grad()
        value.backward()
        run.norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        if math.isfinite(run.norms[-1]):
            optimizer.step()
        run.losses.append(value.item())
        if measure is not None and done % max(config.updates // 10, 1) == 0:
            run.moments.append(done)
            run.measured.append(measure())
    return run


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators from a seed, and as they were afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
