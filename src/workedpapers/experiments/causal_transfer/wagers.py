"""A Δ of two values: where gradient descent on γ settles when the mean of Δ is above zero and the belief is not one."""

from dataclasses import dataclass

import torch

from workedpapers.lab import Experiment

from .beliefs import summary


@dataclass(frozen=True)
class Wager:
    """Δ is `gain` with the probability `chance`, else -`loss`.

    Args:
        gain, loss, chance: of Δ.
        structural_rate: of plain gradient descent on γ.
        episodes, paths: how many.
    """

    gain: float = 1.0
    loss: float = 5.0
    chance: float = 0.9
    structural_rate: float = 0.1
    episodes: int = 10_000
    paths: int = 100


def bet(config: Wager, seed: int, device: torch.device) -> dict[str, object]:
    """Descent on γ from 0; returns `beliefs.summary`, a path in the place of a world."""
    generator = torch.Generator().manual_seed(seed)
    wins = torch.rand(config.paths, config.episodes, generator=generator, dtype=torch.float64) < config.chance
    deltas = torch.where(wins, config.gain, -config.loss).double()
    return summary(deltas, "sgd", config.structural_rate)


#: Two rates for what is settled on, and a Δ whose mean is above zero but of which no value is below: it goes to one.
WAGERS = Experiment(
    "causal_transfer_wager",
    Wager,
    bet,
    {
        "check": [Wager(episodes=200, paths=5)],
        "book": [*(Wager(structural_rate=rate) for rate in (0.01, 0.1, 1.0)), Wager(loss=0.0, structural_rate=0.1)],
    },
    {"check": range(1), "book": range(3)},
)
